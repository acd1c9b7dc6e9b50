package traffic

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// tapShows: requests are seen live by way of the API server, on both sides, with
// no restart.
func (b *bench) tapShows() {
	const shown = 60 // they come in batches, one of each direction
	for of, want := range map[string]struct{ direction, from, to string }{
		"deploy/frontend": {"inbound", "istio-ingressgateway", "frontend"},
		"deploy/details":  {"inbound", "frontend", "details"},
	} {
		said := make(chan string, 1)
		go func() {
			s := b.Weft("", "tap", of, "-n", "shop", "--max", fmt.Sprint(shown), "-o", "json")
			said <- s.String()
		}()
		steady := b.knocks(20, request{path: "/"})
		text := <-said
		steady.stop()
		n := 0
		for line := range strings.Lines(text) {
			var e struct {
				Direction, Method, Path string
				From, To                struct{ Workload, Namespace, Principal string }
				Status                  int
				DurationMs              float64
			}
			if json.Unmarshal([]byte(line), &e) != nil || e.Direction != want.direction {
				continue // the exit code, what is said of pods, or the pod's own calls
			}
			n++
			if e.Status != 200 || e.Method != "GET" || e.From.Workload != want.from || e.To.Workload != want.to || e.DurationMs <= 0 || !strings.HasPrefix(e.From.Principal, "spiffe://") {
				b.Errorf("weft tap %s: %s", of, line)
			}
		}
		if n == 0 || !strings.HasPrefix(text, "exit code 0\n") {
			b.Errorf("weft tap %s: %s", of, text)
		}
	}
}

// ends are services of which every call ends in one way.
const ends = `
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: no-entry}
spec:
  selector: {matchLabels: {app: details}}
  action: DENY
  rules: [{to: [{operation: {paths: [/denied]}}]}]
---
apiVersion: v1
kind: Service
metadata: {name: dead}
spec:
  selector: {app: legacy}
  ports: [{name: http, port: 80, targetPort: 9}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: dead}
spec: {hosts: [dead], http: [{route: [{destination: {host: dead}}], retries: {attempts: 0}}]}
`

// failuresCounted: what is denied is counted once on each side, what reaches nobody
// once by its caller.
func (b *bench) failuresCounted() {
	b.apply("shop", ends)
	b.Cleanup(func() { _, _ = b.Kubectl(ends, "delete", "-n", "shop", "-f", "-") })
	b.MustWeft("", "wait", "authorizationpolicy/no-entry", "-n", "shop")
	b.MustWeft("", "wait", "virtualservice/dead", "-n", "shop")
	before := map[string]float64{}
	kinds := map[string][]string{ // of whose pods, and labels
		"denied, by the caller":  {"frontend", `reporter="source"`, `destination_service_name="details"`, `response_code="403"`, `response_flags="-"`},
		"denied, by the server":  {"details", `reporter="destination"`, `source_workload="frontend"`, `response_code="403"`, `response_flags="-"`},
		"refused, by the caller": {"frontend", `reporter="source"`, `destination_service_name="dead"`, `response_code="503"`, `response_flags="UF"`},
	}
	for name, k := range kinds {
		before[name] = b.requests(k[0], k[1:]...)
	}
	ended := func(url, status string) (n float64) {
		for _, l := range b.fromPod("shop", "frontend", "load", "--url", url, "--requests", "9").wait() {
			if l.Status == status {
				n++
			}
		}
		return n
	}
	// Envoy lets connections that are there already have one more answer by the old
	// policy: the client's word is what counts.
	denied, refused := ended("http://details/denied", "403"), ended("http://dead/", "503")
	if denied == 0 || refused != 9 {
		b.Errorf("%v denied, %v refused", denied, refused)
	}
	for name, k := range kinds {
		want := denied
		if strings.HasPrefix(name, "refused") {
			want = refused
		}
		b.Eventually(name, func() error {
			if n := b.requests(k[0], k[1:]...) - before[name]; n != want {
				return fmt.Errorf("%v counted, want %v", n, want)
			}
			return nil
		})
	}
}

// requests are those with all of these labels that an app's pods have counted.
func (b *bench) requests(app string, labels ...string) (sum float64) {
	for name := range b.pods("shop", "app="+app) {
		sum += b.metric(name, "istio_requests_total", labels...)
	}
	return sum
}

// metric is what a pod's page has of a metric, with all of these labels.
func (b *bench) metric(pod, metric string, labels ...string) (sum float64) {
	page := b.Must("", "get", "--raw", "/api/v1/namespaces/shop/pods/"+pod+":15020/proxy/stats/prometheus")
	for line := range strings.Lines(page) {
		lacks := func(label string) bool { return !strings.Contains(line, label) }
		if !strings.HasPrefix(line, metric+"{") || slices.ContainsFunc(labels, lacks) {
			continue
		}
		n, err := strconv.ParseFloat(line[strings.LastIndexByte(line, ' ')+1:len(line)-1], 64)
		if err != nil {
			b.Fatal(err)
		}
		sum += n
	}
	return sum
}

// ejectionTold: the pod has Events, which say by whom and why, and that it is over;
// its own proxy counts its failures to the last one, and who ejected it counts that.
func (b *bench) ejectionTold(pod string) {
	for reason, says := range map[string][]string{
		"Ejected": {"The proxy of shop/frontend-", "reviews.shop.svc.cluster.local:80", "consecutive 5xx"}, "TakenBack": {"The proxy of shop/frontend-", "reviews.shop.svc.cluster.local:80"},
	} {
		b.Eventually("an Event "+reason, func() error {
			out, err := b.Kubectl("", "get", "events", "-n", "shop", "--field-selector", "reason="+reason+",involvedObject.name="+pod, "-o", "jsonpath={range .items[*]}{.message}{\"\\n\"}{end}")
			if err == nil && slices.ContainsFunc(says, func(text string) bool { return !strings.Contains(out, text) }) {
				err = fmt.Errorf("events: %q, want %q", out, says)
			}
			return err
		})
	}
	b.Eventually("the failures and the ejection are counted", func() error {
		failed := float64(b.counts("shop", pod).Failed)
		if n := b.metric(pod, "istio_requests_total", `reporter="destination"`, `response_code="503"`, `source_workload="frontend"`); n != failed || n == 0 {
			return fmt.Errorf("%v of %v failures at the server", n, failed)
		}
		ejections := 0.0
		for frontend := range b.pods("shop", "app=frontend") {
			ejections += b.metric(frontend, "weft_upstream_ejections_total", `destination_service="reviews.shop.svc.cluster.local"`, `destination_subset="v1"`, `reason="consecutive_5xx"`)
		}
		if ejections < 1 {
			return errors.New("no proxy has counted an ejection")
		}
		return nil
	})
	if out := b.Must("", "describe", "pod", "-n", "shop", pod); !strings.Contains(out, "Ejected") {
		b.Errorf("kubectl describe does not show it:\n%s", out)
	}
}
