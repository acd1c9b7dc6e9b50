package traffic

import (
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
)

// fieldRoutes are one field of HTTPRoute each, told by the path. The service has
// two pods.
const fieldRoutes = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: fields}
spec:
  hosts: [fields.example.com]
  gateways: [shop/bookshop]
  http:
  - match: [{uri: {prefix: /delayed}}]
    fault: {delay: {percentage: {value: 50}, fixedDelay: 1s}}
    route: [{destination: {host: details}}]
  - match: [{uri: {prefix: /aborted}}]
    fault: {abort: {percentage: {value: 30}, httpStatus: 418}}
    route: [{destination: {host: details}}]
  - match: [{uri: {prefix: /bounded}}]
    timeout: 300ms
    retries: {attempts: 0}
    route: [{destination: {host: details}}]
  - match: [{uri: {prefix: /repeated}}]
    retries: {attempts: 2, retryOn: 5xx}
    route: [{destination: {host: details}}]
  - match: [{uri: {prefix: /once}}]
    retries: {attempts: 0}
    route: [{destination: {host: details}}]
  - route: [{destination: {host: details}}]
`

// fields: each field of the route does to real requests what it says.
func (b *bench) fields() {
	b.part("fault", false, (*bench).fault)
	b.part("timeout", false, (*bench).timeout)
	b.part("retry", false, (*bench).retry)
}

func at(path string, workers int) request {
	return request{host: "fields.example.com", path: path, workers: workers}
}

func (b *bench) fault() {
	lines := b.door(400, at("/aborted", 0))
	b.share("aborted with 418", lines, 0.3, status("418"))
	b.share("answered", lines, 0.7, status("200"))
	lines = b.door(400, at("/delayed", 50))
	b.well("delayed requests", lines)
	b.share("delayed by a second", lines, 0.5, func(l load.Line) bool { return l.Took >= 900 })
}

// timeout: a request that takes longer is given up; one without a bound is not.
func (b *bench) timeout() {
	const delay = 2 * time.Second
	b.everyPod("delay", delay.String())
	defer b.everyPod("delay", "0")
	for _, l := range b.door(10, at("/bounded", 10)) { // the status tells it from one that was not given up
		if l.Status != "504" || l.Took < 250 {
			b.Errorf("bounded to 300 ms: %s after %.0f ms", l.Status, l.Took)
		}
	}
	for _, l := range b.door(10, at("/", 10)) {
		if l.Status != "200" || l.Took < float64(delay.Milliseconds())-100 { // clocks of two processes
			b.Errorf("without a bound: %s after %.0f ms", l.Status, l.Took)
		}
	}
}

// everyPod turns the switch of both pods.
func (b *bench) everyPod(order ...string) {
	b.Helper()
	for _, pod := range names(b.pods("fields", "app=details")) {
		b.switched("fields", pod, order...)
	}
}

// retry: where one of two pods fails, a request that may be repeated goes to
// the other one; where both fail, it is sent three times in all.
func (b *bench) retry() {
	pods := names(b.pods("fields", "app=details"))
	b.switched("fields", pods[0], "fail", "on")
	defer b.everyPod("fail", "off")
	b.share("failed without retries", b.door(300, at("/once", 1)), 0.5, status("503"))
	b.well("requests with retries", b.door(300, at("/repeated", 1)))

	b.switched("fields", pods[1], "fail", "on")
	failures := func() (n int64) {
		for _, pod := range pods {
			n += b.counts("fields", pod).Failed
		}
		return n
	}
	before := failures()
	lines := b.door(20, at("/repeated", 1))
	b.share("failed where all pods fail", lines, 1, status("503"))
	if got := failures() - before; got != 3*20 {
		b.Errorf("20 requests were sent %d times, want 60: once, and two retries", got)
	}
}
