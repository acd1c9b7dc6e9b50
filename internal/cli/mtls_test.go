package cli

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/pilot"
)

// A page as an Envoy 1.40 wrote it.
const plainPage = `# TYPE envoy_weft_plaintext_calls_total counter
envoy_weft_plaintext_calls_total{source_address="10.244.0.7",destination_port="8080",wire="plaintext"} 12
envoy_weft_plaintext_calls_total{source_address="fd00::7",destination_port="9000",wire="tls"} 1
# TYPE envoy_weft_plaintext_last_call_timestamp_seconds gauge
envoy_weft_plaintext_last_call_timestamp_seconds{source_address="10.244.0.7",destination_port="8080",wire="plaintext"} 1795397970
envoy_weft_plaintext_calls_total{source_address="` + "\x1b[2J" + `",destination_port="8080",wire="plaintext"} 12
envoy_weft_plaintext_calls_total{destination_port="8080",wire="plaintext"} 12
envoy_other{source_address="10.244.0.7"} 1
`

func TestPlainCallsOfAPage(t *testing.T) {
	got, err := callsOf("shop", "a", []byte(plainPage))
	want := []pilot.PlainCalls{
		{Namespace: "shop", Pod: "a", Port: 8080, Address: "10.244.0.7", Wire: "plaintext", Calls: 12, Last: time.Unix(1795397970, 0)},
		{Namespace: "shop", Pod: "a", Port: 9000, Address: "fd00::7", Wire: "tls", Calls: 1},
	}
	if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
		t.Errorf("%+v, %v", got, err)
	}
	if left := recent(got, time.Hour, time.Unix(1795397970, 0).Add(time.Minute)); len(left) != 2 {
		t.Errorf("recent: %+v", left)
	}
	if left := recent(got, time.Hour, time.Unix(1795397970, 0).Add(2*time.Hour)); len(left) != 1 || left[0].Port != 9000 {
		t.Errorf("those that were not recent, or nobody knows: %+v", left)
	}
	odd := strings.NewReplacer("} 12\n", "} NaN\n", " 1795397970", " -5").Replace(plainPage)
	if got, err := callsOf("shop", "a", []byte(odd)); err != nil || len(got) != 2 || got[0].Calls != 0 || !got[0].Last.IsZero() {
		t.Errorf("numbers that nobody counts: %+v, %v", got, err)
	}
}

// What people read, and the exit codes: 3 where something would break.
func TestMTLSForPeople(t *testing.T) {
	broken := pilot.MTLSStatus{Bare: []string{"shop/old"}, Workloads: []pilot.MTLSWorkload{{
		Namespace: "shop", Name: "web", Ports: []pilot.MTLSPort{{Mode: "PERMISSIVE", Then: "STRICT"}, {Port: 80, Mode: "PERMISSIVE", Then: "STRICT"}},
		Breaks: []pilot.MTLSBreak{{Port: 80, What: "shop/old calls", Cure: "cure it", Seen: &pilot.PlainCalls{Calls: 2, Last: time.Unix(0, 0)}}},
	}}}
	var out bytes.Buffer
	a := &app{out: &out}
	if err := a.printMTLS(broken, &mtlsStatus{}); a.code(err) != 3 {
		t.Error(err)
	}
	for _, want := range []string{
		"shop/web  other  PERMISSIVE  -        fine\n", "shop/web  80     PERMISSIVE  -        breaks 1\n", "without a sidecar, so that every STRICT port refuses them: shop/old\n",
		"would be refused:\n  shop/web, port 80: shop/old calls: 2 times, last at 1970-01-01T00:00:00Z\n      cure it\n",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, out.String())
		}
	}
	out.Reset()
	broken.Workloads[0].Breaks = nil
	if err := a.printMTLS(broken, &mtlsStatus{}); err != nil || !strings.Contains(out.String(), "shop/web  all   PERMISSIVE  -        fine\n") || !strings.Contains(out.String(), "STRICT would break nothing") {
		t.Errorf("%v\n%s", err, out.String())
	}
	out.Reset()
	broken.Unanswered = []string{"shop/web-1"}
	if err := a.printMTLS(broken, &mtlsStatus{}); a.code(err) != 1 || !strings.Contains(out.String(), "is not known: shop/web-1\n") || strings.Contains(out.String(), "would break nothing") {
		t.Errorf("%v\n%s", err, out.String())
	}
}

// Only a proxy that answers is known of.
func TestWhoAnswersIsCounted(t *testing.T) {
	from := asker{pods: []controller.PodStatus{{Namespace: "n", Name: "a", Synced: "yes"}, {Namespace: "n", Name: "gone", Synced: "yes"}, {Namespace: "n", Name: "bare"}, {Namespace: "n", Name: "odd", Synced: "yes"}}}
	from.get = func(_ context.Context, p controller.PodStatus, _ int, _ string) ([]byte, error) {
		switch p.Name {
		case "a":
			return []byte(plainPage), nil
		case "odd":
			return []byte(plainPage + "{{{\n"), nil
		}
		return nil, errors.New("away\x1b[2J")
	}
	var problems bytes.Buffer
	calls, answered, err := from.counted(t.Context(), &mtlsStatus{}, &problems)
	if err != nil || len(calls) != 2 || !slices.Equal(answered, []string{"n/a"}) {
		t.Errorf("%v of %v, %v", calls, answered, err)
	}
	if !strings.Contains(problems.String(), "pod n/odd: who called it is not known: ") || !strings.Contains(problems.String(), "n/gone: who called it is not known: away") || strings.Contains(problems.String(), "\x1b") {
		t.Errorf("%q", problems.String())
	}
}
