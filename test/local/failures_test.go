package local

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/weftcli"
)

// curls sends some requests from a pod, one after the other, and wants each to
// have this status.
func (m *running) curls(t *testing.T, from string, n int, url, want string) {
	t.Helper()
	pods, err := m.PodsOf(t.Context(), from)
	if err != nil {
		t.Fatal(err)
	}
	loop := fmt.Sprintf("for i in $(seq %d); do curl -s -m 60 -o /dev/null -w '%%{http_code} ' %s; done", n, url)
	out, err := m.Exec(t.Context(), pods[0].Namespace+"/"+pods[0].Name, "sh", "-c", loop)
	if got := strings.TrimSpace(string(out)); err != nil || got != strings.TrimSpace(strings.Repeat(want+" ", n)) {
		t.Fatalf("%s: %s, want %d of %s: %v", url, got, n, want, err)
	}
}

// How many requests each kind of end has in this test.
const (
	ejectAfter, noneLeft = 3, 7 // of flaky
	overflowed           = 4    // of slow
	denied, allowed      = 5, 2 // of details
	refused              = 4    // of dead
	toBare, fromLegacy   = 6, 8
)

// TestFailuresAreCounted: what fails, is denied, overflows or meets no host is
// counted once on each side that has a proxy, and nowhere else.
func TestFailuresAreCounted(t *testing.T) {
	dir := folder(t)
	text, err := os.ReadFile(filepath.Join("testdata", "failures.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, "failures.yaml"), strings.ReplaceAll(string(text), "BIN", binaries(t)))
	m := up(t, dir)
	bookshop := filepath.Join(binaries(t), "bookshop")
	began := time.Now()
	for _, order := range [][]string{{"flaky", "fail", "on"}, {"slow", "delay", "20s"}} {
		if err := execIn(t.Context(), m, order[0], append([]string{bookshop, "ctl"}, order[1:]...)...); err != nil {
			t.Fatal(err)
		}
	}
	held := make(chan error, 1)
	go func() { held <- execIn(t.Context(), m, "front", "curl", "-sf", "-m", "60", "http://slow/") }()
	eventually(t, patience, "a request is held by slow", func() error {
		page, err := m.agentPage(t, "front")
		if err != nil || !strings.Contains(page, `envoy_cluster_upstream_cx_active{cluster_name="outbound|80||slow.default.svc.cluster.local"} 1`) {
			return fmt.Errorf("no connection; %v", err)
		}
		return nil
	})
	m.curls(t, "front", overflowed, "http://slow/", "503")
	m.overflowIsSeen(t, began)
	m.curls(t, "front", ejectAfter, "http://flaky/", "503")
	m.curls(t, "front", noneLeft, "http://flaky/", "503")
	m.curls(t, "front", denied, "http://details/denied", "403")
	m.curls(t, "front", allowed, "http://details/", "200")
	m.curls(t, "front", refused, "http://dead/", "503")
	m.curls(t, "front", toBare, "http://bare/", "200")
	m.curls(t, "legacy", fromLegacy, "http://open/", "200")
	if err := <-held; err != nil {
		t.Fatal(err)
	}
	for _, s := range failureSeries() {
		eventually(t, patience, "it is counted", func() error {
			return m.seen(t, s)
		})
	}
	m.ejectionIsSeen(t, began)
	m.logsTell(t)
}

// agentPage is the merged page of a Deployment's first pod.
func (m *running) agentPage(t *testing.T, of string) (string, error) {
	pods, err := m.PodsOf(t.Context(), of)
	if err != nil {
		return "", err
	}
	out, err := m.Exec(t.Context(), pods[0].Namespace+"/"+pods[0].Name, "curl", "-s", "127.0.0.1:15020/stats/prometheus")
	return string(out), err
}

func failureSeries() []series {
	ended := func(code, flags string) labels {
		return labels{"request_protocol": "http", "response_code": code, "response_flags": flags}
	}
	source := labels{"reporter": "source", "connection_security_policy": "unknown"}
	destination := labels{"reporter": "destination", "connection_security_policy": "mutual_tls"}
	fromFront, unknown := end("source", "front", "default", "v1"), end("destination", "unknown", "", "")
	to := func(name string) labels { return joined(end("destination", name, "default", "v1"), service(name)) }
	const requests = "istio_requests_total"
	both := func(name, code string, n float64) []series {
		return []series{
			{"front", requests, joined(source, fromFront, to(name), ended(code, "-")), n},
			{name, requests, joined(destination, fromFront, to(name), ended(code, "-")), n},
		}
	}
	nobody := labels{"destination_principal": "unknown"} // no certificate was shown
	return slices.Concat(both("flaky", "503", ejectAfter), both("details", "403", denied), both("details", "200", allowed), both("slow", "200", 1), []series{
		{"front", requests, joined(source, fromFront, service("flaky"), unknown, ended("503", "UH")), noneLeft},
		{"front", requests, joined(source, fromFront, to("slow"), nobody, ended("503", "UO")), overflowed},
		{"front", requests, joined(source, fromFront, to("dead"), nobody, ended("503", "UF")), refused},
		{"front", requests, joined(source, fromFront, to("bare"), nobody, ended("200", "-")), toBare},
		{"open", requests, joined(destination, end("source", "unknown", "", ""), to("open"), ended("200", "-"), labels{"connection_security_policy": "none"}), fromLegacy},
	})
}

// ejectionIsSeen: which host, by whom, why and since when; and what met no host.
func (m *running) ejectionIsSeen(t *testing.T, began time.Time) {
	t.Helper()
	pods, err := m.PodsOf(t.Context(), "flaky")
	callers, more := m.PodsOf(t.Context(), "front")
	if err != nil || more != nil {
		t.Fatal(err, more)
	}
	bad, front := pods[0], callers[0]
	where := `address="` + bad.IP + `:8080",destination_pod="default/` + bad.Name + `",destination_port="80",destination_service="flaky.default.svc.cluster.local",destination_subset="",reason="consecutive_5xx"}`
	eventually(t, patience, "the ejection is seen", func() error {
		page, err := m.agentPage(t, "front")
		for _, line := range []string{"weft_upstream_ejected{" + where + " 1", `weft_upstream_ejections_total{` + where[strings.Index(where, "destination_port="):] + " 1"} {
			if !strings.Contains(page, line+"\n") {
				return fmt.Errorf("no %s; %v", line, err)
			}
		}
		return m.endpointsSay(t, bad, front, began)
	})
}

func (m *running) endpointsSay(t *testing.T, bad, front weftcli.Pod, began time.Time) error {
	var got struct {
		Endpoints []struct {
			Pod       string
			EjectedBy []struct {
				Pod, Reason    string
				Since          time.Time
				FailedRequests int
			}
		}
		Rejected []struct {
			Caller, Service           string
			Overflowed, NoHealthyHost float64
		}
	}
	if err := told(t, m, &got, "endpoints", "--ejected"); err != nil {
		return err
	}
	if len(got.Endpoints) != 1 || len(got.Endpoints[0].EjectedBy) != 1 || got.Endpoints[0].Pod != "default/"+bad.Name {
		return fmt.Errorf("ejected: %+v", got.Endpoints)
	}
	by := got.Endpoints[0].EjectedBy[0]
	if by.Pod != "default/"+front.Name || by.Reason != "consecutive_5xx" || by.FailedRequests != ejectAfter || by.Since.Before(began) || by.Since.After(time.Now()) {
		return fmt.Errorf("by %+v", by)
	}
	want := fmt.Sprintf("[{default/%s flaky.default 0 %d} {default/%s slow.default %d 0}]", front.Name, noneLeft, front.Name, overflowed)
	if have := fmt.Sprint(got.Rejected); have != want {
		return fmt.Errorf("rejected %s, want %s", have, want)
	}
	return nil
}
