package controller

import (
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
)

func TestPlan(t *testing.T) {
	pod := func(key, hash string, ready bool, born int64) member { return member{key, hash, ready, born} }
	for name, c := range map[string]struct {
		members  []member
		replicas int
		start    int
		stop     []string
	}{
		"from nothing":                    {nil, 3, 3, nil},
		"all there":                       {[]member{pod("a", "new", true, 1), pod("b", "new", false, 2)}, 2, 0, nil},
		"too many: the unready goes":      {[]member{pod("a", "new", true, 1), pod("b", "new", false, 2)}, 1, 0, []string{"b"}},
		"too many: the youngest goes":     {[]member{pod("a", "new", true, 1), pod("b", "new", true, 2)}, 1, 0, []string{"b"}},
		"changed: new ones first":         {[]member{pod("a", "old", true, 1), pod("b", "old", true, 2)}, 2, 2, nil},
		"changed: one new is ready":       {[]member{pod("a", "old", true, 1), pod("b", "old", true, 2), pod("c", "new", true, 3), pod("d", "new", false, 4)}, 2, 0, []string{"b"}},
		"changed: all new are ready":      {[]member{pod("a", "old", true, 1), pod("c", "new", true, 3)}, 1, 0, []string{"a"}},
		"scaled to nothing":               {[]member{pod("a", "new", true, 1), pod("b", "old", true, 1)}, 0, 0, []string{"b", "a"}},
		"changed: the broken old go soon": {[]member{pod("a", "old", false, 1), pod("b", "old", true, 2), pod("c", "new", true, 3), pod("d", "new", false, 4)}, 2, 0, []string{"a"}},
	} {
		t.Run(name, func(t *testing.T) {
			start, stop := plan(c.members, c.replicas, "new")
			if start != c.start || !slices.Equal(stop, c.stop) {
				t.Fatalf("start %d, stop %v; want %d, %v", start, stop, c.start, c.stop)
			}
		})
	}
}

// However pods become ready, a roll-out ends, and never has fewer ready pods
// than it shall have once it had them.
func TestPlanRollsOutWithoutLoss(t *testing.T) {
	rnd := rand.New(rand.NewPCG(7, 8))
	for range 300 {
		replicas := 1 + rnd.IntN(5)
		var pods []member
		for i := range replicas {
			pods = append(pods, member{key: "old" + strconv.Itoa(i), hash: "old", ready: true, born: int64(i)})
		}
		for step := 0; ; step++ {
			if step > 100 {
				t.Fatalf("the roll-out does not end: %v", pods)
			}
			start, stop := plan(pods, replicas, "new")
			pods = slices.DeleteFunc(pods, func(m member) bool { return slices.Contains(stop, m.key) })
			if ready := count(pods, func(m member) bool { return m.ready }); ready < replicas {
				t.Fatalf("%d of %d ready after stopping %v", ready, replicas, stop)
			}
			for i := range start {
				pods = append(pods, member{key: "new" + strconv.Itoa(step) + "-" + strconv.Itoa(i), hash: "new", born: int64(100 + step)})
			}
			if count(pods, func(m member) bool { return m.hash == "new" && m.ready }) == replicas && len(pods) == replicas {
				break
			}
			if i := slices.IndexFunc(pods, func(m member) bool { return !m.ready }); i >= 0 {
				pods[i].ready = true
			}
		}
	}
}

func count(ms []member, is func(member) bool) (n int) {
	for _, m := range ms {
		if is(m) {
			n++
		}
	}
	return n
}

func TestHostAddress(t *testing.T) {
	publish := map[uint32]string{80: "127.0.0.1:9999"}
	for port, want := range map[uint32]string{80: "127.0.0.1:9999", 443: "127.0.0.1:8443", 22: "127.0.0.1:10022", 5000: "127.0.0.1:5000"} {
		if got := HostAddress(port, publish); got != want {
			t.Errorf("port %d is published at %s, want %s", port, got, want)
		}
	}
	if got := HostAddress(80, nil); got != "127.0.0.1:8080" {
		t.Errorf("port 80 is published at %s", got)
	}
}
