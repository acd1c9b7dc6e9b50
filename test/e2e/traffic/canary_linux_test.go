package traffic

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/samples/bookshop/shop"
	"github.com/weftmesh/weft/test/stat"
)

// doors are routes of the gateway to services of the bookshop, beside that of
// its page.
const doors = `
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: reviews-door}
spec:
  hosts: [reviews.example.com]
  gateways: [bookshop]
  http:
  - match: [{headers: {end-user: {exact: jason}}}]
    route: [{destination: {host: reviews, subset: v2}}]
  - match: [{uri: {prefix: /mirrored}}]
    route: [{destination: {host: reviews, subset: v1}}]
    mirror: {host: reviews, subset: v2}
    mirrorPercentage: {value: 50}
  - route:
    - {destination: {host: reviews, subset: v1}, weight: 90}
    - {destination: {host: reviews, subset: v2}, weight: 10}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details-door}
spec:
  hosts: [details.example.com]
  gateways: [bookshop]
  http: [{route: [{destination: {host: details}}], retries: {attempts: 0}}] # a handshake that fails shall be seen
---
# A new connection, and so a new handshake, every ten requests.
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: details}
spec:
  host: details
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 10}}}
`

// canary are the parts that change routes of the bookshop, one after another.
func (b *bench) canary() {
	b.part("split", false, (*bench).split)
	b.part("weights edited", false, (*bench).weightsEdited)
	b.part("header", false, (*bench).header)
	b.part("mirror", false, (*bench).mirror)
	b.part("ejection", false, (*bench).ejection)
}

// split: 90 of 100 by the sample's VirtualService, which holds at the frontend's
// sidecar, and by one that holds at the gateway itself.
func (b *bench) split() {
	for _, host := range []string{"", "reviews.example.com"} {
		lines := b.door(1000, request{host: host, path: "/"})
		b.well("requests of "+host+"/", lines)
		b.share("v1 of "+host+"/", lines, 0.9, reviewsOf("v1"))
		b.share("v2 of "+host+"/", lines, 0.1, reviewsOf("v2"))
	}
}

// weightsEdited: kubectl apply of other weights while requests run. Each holds
// soon, within a second where the machine does not stand still, for so many
// requests in a row, and no request fails.
func (b *bench) weightsEdited() {
	const perEdit = 200
	route := b.file("bookshop/reviews-route.yaml")
	steady := b.knocks(100, request{path: "/"})
	before := 0.1
	for _, v2 := range []int{50, 90, 0, 100, 10} {
		b.apply("shop", b.replaced(route, "weight: 90", fmt.Sprintf("weight: %d", 100-v2), "weight: 10", fmt.Sprintf("weight: %d", v2)))
		applied := time.Now()
		after := float64(v2) / 100
		from := applied.Add(time.Second)
		var lines []load.Line
		b.Eventually(fmt.Sprintf("the weights are %d : %d", 100-v2, v2), func() error {
			lines = steady.since(from, perEdit)
			want, got := stat.Binomial(perEdit, after), count(lines, reviewsOf("v2"))
			if want.Contains(got) {
				return nil
			}
			from = from.Add(time.Second)
			return fmt.Errorf("v2 had %d of %d, want %v", got, perEdit, want)
		})
		b.share(fmt.Sprintf("v2 %v after %d : %d", from.Sub(applied), 100-v2, v2), lines, after, reviewsOf("v2"))
		if 0 < before && before < 1 && 0 < after && after < 1 {
			b.Logf("the weights held %v after kubectl apply had ended", liveAfter(steady.seen(), applied, before, after))
		}
		before = after
	}
	b.Logf("%d requests, none failed around five edits", len(steady.stop()))
}

// liveAfter estimates when the chance of v2 went from before to after.
func liveAfter(lines []load.Line, applied time.Time, before, after float64) time.Duration {
	lines = sentFrom(lines, applied.Add(-time.Second))
	hits := make([]bool, len(lines))
	for i, l := range lines {
		hits[i] = reviewsOf("v2")(l)
	}
	at := stat.ChangePoint(hits, before, after)
	if at == len(lines) {
		return 0
	}
	return max(0, lines[at].Start.Sub(applied)).Round(time.Millisecond)
}

// header: one user gets the new version, others their share.
func (b *bench) header() {
	for value, p := range map[string]float64{"jason": 1, "jasonx": 0.1} {
		lines := b.door(200, request{host: "reviews.example.com", path: "/", header: "end-user=" + value})
		b.well("requests of "+value, lines)
		b.share("v2 for "+value, lines, p, reviewsOf("v2"))
	}
}

// mirror: half of the requests reach v2 too, which nobody notices.
func (b *bench) mirror() {
	const requests = 400
	calls := func() (n int64) {
		for _, pod := range names(b.pods("shop", "app=reviews,version=v2")) {
			n += b.counts("shop", pod).Answered
		}
		return n
	}
	before := calls()
	lines := b.door(requests, request{host: "reviews.example.com", path: "/mirrored"})
	b.well("mirrored requests", lines)
	b.share("v1 of mirrored requests", lines, 1, reviewsOf("v1"))
	last := int64(-1)
	b.Eventually("all mirrored requests have arrived", func() error {
		now := calls()
		if now != last {
			last = now
			return fmt.Errorf("%d until now", now-before)
		}
		return nil
	})
	want := stat.Binomial(requests, 0.5)
	b.Logf("mirrored to v2: %d of %d, want %v", last-before, requests, want)
	if !want.Contains(int(last - before)) {
		b.Errorf("%d of %d were mirrored, want %v", last-before, requests, want)
	}
}

// switched turns the switch of a pod: fail on, delay 2s.
func (b *bench) switched(namespace, pod string, order ...string) shop.Status {
	b.Helper()
	var status shop.Status
	out, err := b.Printed(append([]string{"-n", namespace, pod, "--", bookshop, "ctl"}, order...)...)
	if err == nil {
		err = json.Unmarshal([]byte(out), &status)
	}
	if err != nil {
		b.Fatalf("%s: %v", out, err)
	}
	return status
}

// counts are those of a pod's switch.
func (b *bench) counts(namespace, pod string) shop.Status {
	b.Helper()
	return b.switched(namespace, pod, "status")
}

// ejection: a pod that fails is left out, which its callers do not notice, and
// taken back when it is well.
func (b *bench) ejection() {
	b.apply("shop", b.file("bookshop/reviews-route.yaml"))
	replicas := b.pods("shop", "app=reviews,version=v1")
	steady := b.knocks(60, request{path: "/"})
	bad := b.near(b.pods("shop", "app=frontend"), replicas)
	answers := func(l load.Line) bool { return answerOf(l, "reviews").Pod == bad.Name }
	steady.until("the pod answers", func(lines []load.Line) error { return some(lines, answers) })
	began := time.Now()
	b.switched("shop", bad.Name, "fail", "on")
	b.Eventually("the frontend's proxy ejects it", func() error { return b.ejected(bad.Status.PodIP, true) })
	failures := b.counts("shop", bad.Name).Failed
	b.Logf("ejected, as weft proxy-config says, %v and %d failures after it began to fail", time.Since(began).Round(time.Millisecond), failures)
	if failures < 3 {
		b.Errorf("ejected after %d failures, want 3 in a row", failures)
	}
	b.Eventually("it is spared for 60 requests", func() error { // the first ejection is short, each further one longer
		before := b.counts("shop", bad.Name).Failed
		steady.since(time.Now(), 60)
		if n := b.counts("shop", bad.Name).Failed - before; n > 0 {
			return fmt.Errorf("%d calls reached it", n)
		}
		return nil
	})
	b.switched("shop", bad.Name, "fail", "off")
	well := time.Now()
	b.Eventually("it is taken back", func() error { return b.ejected(bad.Status.PodIP, false) })
	steady.until("it answers again", func(lines []load.Line) error { return some(sentFrom(lines, well), answers) })
	b.Logf("it answers again %v after it is well", time.Since(well).Round(time.Millisecond))
	b.Logf("%d requests, none failed", len(steady.stop()))
	b.ejectionTold(bad.Name)
}

// near is a pod that a caller prefers while it is well: with outlierDetection
// calls keep to the caller's zone, and each node is a zone.
func (b *bench) near(caller, pods map[string]corev1.Pod) corev1.Pod {
	zone := caller[names(caller)[0]].Spec.NodeName
	for _, name := range names(pods) {
		if pods[name].Spec.NodeName == zone {
			return pods[name]
		}
	}
	return pods[names(pods)[0]]
}

func some(lines []load.Line, is func(load.Line) bool) error {
	if count(lines, is) == 0 {
		return fmt.Errorf("none of %d", len(lines))
	}
	return nil
}

// ejected asks the frontend's Envoy whether it has a pod of reviews v1 ejected.
func (b *bench) ejected(address string, want bool) error {
	out := b.MustWeft("", "proxy-config", "endpoints", "-n", "shop", "frontend")
	found := slices.IndexFunc(strings.Split(out, "\n"), func(line string) bool {
		return strings.HasPrefix(line, address+":") && strings.Contains(line, "|v1|reviews.shop") && strings.Contains(line, "EJECTED")
	})
	if (found >= 0) != want {
		return fmt.Errorf("ejected %t, want %t:\n%s", found >= 0, want, out)
	}
	return nil
}
