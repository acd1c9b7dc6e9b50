package scrape

import (
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/agent/counts"
)

var help = regexp.MustCompile("(?m)^# HELP .*\n")

// What the agent counted is in the sum of the series that Envoy has, and beside
// those of the metrics that it has.
func TestCountedIsAdded(t *testing.T) {
	const one, two = "istio_tcp_sent_bytes_total", "istio_request_messages_total"
	text := "# TYPE envoy_istio_requests_total counter\nenvoy_istio_requests_total{a=\"1\"} 9\n" +
		"# TYPE envoy_istio_tcp_sent_bytes_total counter\nenvoy_istio_tcp_sent_bytes_total{b=\"x\\\",c=\\\"\",a=\"\"} 5\nenvoy_istio_tcp_sent_bytes_total{a=\"2\"} 7\nenvoy_istio_tcp_sent_bytes_total{a=\"3\"} 8\n" +
		"# TYPE envoy_last counter\nenvoy_last{} 1\n"
	fails := false
	envoy := part(t, func(w http.ResponseWriter, _ *http.Request) {
		if fails {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		_, _ = io.WriteString(w, text)
	})
	registry := prometheus.NewRegistry()
	page := httptest.NewServer(New(Options{
		Own: registry, Metrics: registry, Ours: prometheus.WrapRegistererWithPrefix("weft_", registry), Log: slog.New(slog.DiscardHandler), Envoy: envoy,
		Counted: func() counts.Counted {
			return counts.Counted{
				one:              {`a="",b="x\",c=\""`: 10, `a="2"`: 20, `a="4"`: 40},
				two:              {`a="9"`: 90, `a="8"`: 80},
				"istio_not_here": {},
			}
		},
	}))
	defer page.Close()
	get := func(query string) string {
		response, err := http.Get(page.URL + query)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		_, mine, _ := strings.Cut(string(body), "# TYPE istio_requests_total")
		return help.ReplaceAllString(mine, "")
	}
	sums := "# TYPE " + one + " counter\n" + one + `{b="x\",c=\"",a="unknown"} 15` + "\n" + one + `{a="2"} 27` + "\n" + one + `{a="3"} 8` + "\n" + one + `{a="4"} 40` + "\n"
	rest := "# TYPE " + two + " counter\n" + two + `{a="8"} 80` + "\n" + two + `{a="9"} 90` + "\n"
	first, last := " counter\nistio_requests_total{a=\"1\"} 9\n", "# TYPE envoy_last counter\nenvoy_last{} 1\n"
	alone := strings.ReplaceAll(strings.ReplaceAll(text[strings.Index(text, "# TYPE envoy_istio_tcp"):], "envoy_istio", "istio"), `a=""`, `a="unknown"`)
	for query, want := range map[string]string{
		"": first + sums + last + rest, "?filter=%5Eistio": first + sums + last + rest, "?filter=requests_total": first + alone, // of which Envoy would send the first
	} {
		if got := get(query); got != want {
			t.Errorf("%s\n%s\nnot\n%s", query, got, want)
		}
	}
	fails = true
	if got := get(""); strings.Contains(got, "istio_") {
		t.Errorf("Envoy does not answer, and its counters are there without its part:\n%s", got)
	}
}

func labelsOf(text string) (string, bool) { return seriesOf([]byte("m{" + text + "} 1")).labels() }

func FuzzLabels(f *testing.F) {
	f.Add(`a="b",c="\"\\"`)
	f.Fuzz(func(t *testing.T, text string) {
		once, ok := labelsOf(text)
		if !ok {
			return
		}
		if twice, ok := labelsOf(once); !ok || twice != once {
			t.Fatalf("%q is %q, and then %q", text, once, twice)
		}
	})
}
