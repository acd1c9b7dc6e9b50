package hostile

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// looked is what the stranger's program, run on a node, says of one pod.
type looked struct {
	UID       string
	Processes []process
}

// ports are those of Weft's own programs.
func (l looked) ports() (out []string) {
	for _, p := range l.Processes {
		if slices.Contains([]string{"pilot", "ca", "injector", "agent", "envoy"}, p.Name) {
			out = append(out, p.Ports...)
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// process has sizes in KiB.
type process struct {
	PID             int
	Name            string
	RSS, Anon, Peak int
	Ports           []string
}

// look looks into all pods of the cluster, by UID.
func (b *bench) look() map[string]looked {
	b.Helper()
	out := map[string]looked{}
	for n := range b.Nodes() {
		text, err := b.Node(n+1).Exec(b.Context(), b.stranger, "look")
		if err != nil {
			b.Fatal(err)
		}
		var all []looked
		if err := json.Unmarshal([]byte(text), &all); err != nil {
			b.Fatalf("%v: %.300s", err, text)
		}
		for _, p := range all {
			out[p.UID] = p
		}
	}
	return out
}

// victim is one pod of each kind that has something of Weft in it.
type victim struct {
	kind string // of the table in docs/ports.md: pilot, ca, injector, gateway, sidecar
	pod  corev1.Pod
}

// victims are one pod of each kind.
func (b *bench) victims() (out []victim) {
	b.Helper()
	for _, of := range [][3]string{
		{"pilot", "weft-system", "app=istiod"}, {"ca", "weft-system", "app=weft-ca"}, {"injector", "weft-system", "app=weft-injector"},
		{"gateway", "weft-system", "istio=ingressgateway"}, {"sidecar", "shop", "app=reviews,version=v1"},
	} {
		list, err := b.API.CoreV1().Pods(of[1]).List(b.Context(), metav1.ListOptions{LabelSelector: of[2], FieldSelector: "status.phase=Running"})
		if err != nil || len(list.Items) == 0 {
			b.Fatalf("no pod %s: %v", of[2], err)
		}
		out = append(out, victim{of[0], list.Items[0]})
	}
	return out
}

// seen is what came of the attack on one port.
type seen struct {
	Opened, Refused, Longest int
	Answers                  map[string]map[int]int
}

// closed is nil if no request was answered.
func (s seen) closed() error {
	for way, answers := range s.Answers {
		for status, n := range answers {
			if status != 0 && n > 0 {
				return fmt.Errorf("%s was answered with %d", way, status)
			}
		}
	}
	if s.Opened == 0 {
		return fmt.Errorf("no connection was opened: %+v", s)
	}
	return nil
}

// attackTime is longer than a kubelet needs to give a pod up (three probes), and
// than a port keeps a silent connection.
const attackTime = 9 * time.Second

// attacked: a stranger at every port changes nothing but the bill for CPU.
func (b *bench) attacked() {
	watch := b.watchReady()
	all := b.victims()
	b.attackedTogether(all[:1]...)
	b.attackedTogether(all[1:3]...)
	b.attackedTogether(all[3:]...)
	watch()
	b.soonSays("check", 0, "ok    proxies: 5 connected, and in sync")
	if err := b.all("v1"); err != nil {
		b.Error(err)
	}
}

// attackedTogether: every port of some pods at once, each in every way.
func (b *bench) attackedTogether(victims ...victim) {
	before := b.look()
	urls := map[string]victim{} // a port may listen by both families
	for _, v := range victims {
		for _, at := range before[string(v.pod.UID)].ports() {
			if url := urlOf(v, at); url != "" {
				urls[url] = v
			}
		}
	}
	var sent, flood map[string]seen
	list := slices.Sorted(maps.Keys(urls))
	b.asStranger(&sent, append([]string{"send"}, slices.DeleteFunc(slices.Clone(list), func(url string) bool { return strings.HasPrefix(url, "tcp:") })...)...)
	var during sync.WaitGroup
	for _, v := range victims {
		during.Go(func() { b.stillGuarded(v.kind) })
	}
	b.asStranger(&flood, append([]string{"attack", "--for", attackTime.String()}, list...)...)
	during.Wait()
	for _, url := range list {
		b.Logf("%s %s: %+v; in a flood %+v", urls[url].kind, url, sent[url].Answers, flood[url])
		b.refused(url, sent[url], flood[url])
	}
	after := b.look()
	for _, v := range victims {
		b.bounded(v, before[string(v.pod.UID)], after[string(v.pod.UID)])
	}
}

// bounded compares what a pod's processes held before and after.
func (b *bench) bounded(v victim, before, after looked) {
	for _, p := range after.Processes {
		i := slices.IndexFunc(before.Processes, func(was process) bool { return was.PID == p.PID })
		if i < 0 || p.Name == "pause" {
			continue // one that is new: its container was restarted, which is seen elsewhere
		}
		was := before.Processes[i]
		b.Logf("%s %s: RSS %d, anonymous %d MiB before; %d, %d after; at most %d", v.kind, p.Name, was.RSS>>10, was.Anon>>10, p.RSS>>10, p.Anon>>10, p.Peak>>10)
		if p.Peak-was.RSS > mayGrow {
			b.Errorf("%s: %s grew by %d MiB, over %d", v.kind, p.Name, (p.Peak-was.RSS)>>10, mayGrow>>10)
		}
	}
}

// mayGrow is by how much any process may grow under attack, in KiB.
const mayGrow = 160 << 10

// urlOf says how to attack a port that is open; "" for one that no other pod
// reaches.
func urlOf(v victim, at string) string {
	protocol, address, _ := strings.Cut(at, " ")
	where, err := netip.ParseAddrPort(address)
	if err != nil || protocol != "tcp" || where.Addr().IsLoopback() {
		return ""
	}
	to := netip.AddrPortFrom(netip.MustParseAddr(v.pod.Status.PodIP), where.Port())
	switch {
	case where.Port() == 15012:
		return "tcp://" + to.String()
	case where.Port() == 15017 && v.kind == "injector":
		return "https://" + to.String() + "/inject"
	case where.Port() == 15017:
		return "https://" + to.String() + "/validate"
	}
	return "http://" + to.String()
}

// refusals are the answers of a webhook to what it refuses; only a review that is
// as costly as any may be is looked into.
var refusals = map[string]int{"deep": 400, "large": 400, "too large": 413, "headers": 431, "full": 200}

// refused holds answers to what an attacker may be told: sent one by one they
// are exact; in a flood many connections are only closed.
func (b *bench) refused(url string, sent, flood seen) {
	if flood.Opened < 100 {
		b.Errorf("%s: no flood came about: %+v", url, flood)
	}
	webhook := strings.HasPrefix(url, "https:")
	for way, want := range refusals {
		if webhook && sent.Answers[way][want] != 1 {
			b.Errorf("%s: %s is answered %v, want %d", url, way, sent.Answers[way], want)
		}
		if (!webhook || want != 200) && sent.Answers[way][200]+flood.Answers[way][200] > 0 {
			b.Errorf("%s: %s is taken", url, way)
		}
	}
}

// stillGuarded: while a webhook is attacked the API server still gets answers.
func (b *bench) stillGuarded(kind string) {
	switch kind {
	case "pilot":
		for range 5 {
			if _, err := b.Kubectl(mistaken, "apply", "--dry-run=server", "-f", "-"); err == nil {
				b.Error("while the pilot is attacked a mistake passes its webhook")
			}
		}
	case "injector":
		const pod = `{apiVersion: v1, kind: Pod, metadata: {name: late, namespace: shop}, spec: {containers: [{name: a, image: "localhost/weft/bookshop:v0.0.0-e2e"}]}}`
		for range 5 {
			out, err := b.Kubectl(pod, "create", "--dry-run=server", "-o", "yaml", "-f", "-")
			if err != nil || !strings.Contains(out, "name: istio-proxy") {
				b.Errorf("while the injector is attacked a pod gets no sidecar: %v", err)
			}
		}
	}
}

// health is what went wrong with pods while they were watched.
type health struct {
	unready map[string]string // pods that were not Ready, and why
	before  map[string]int32  // restarts of containers at first
	again   map[string]bool   // containers that were restarted
}

// watchReady watches the pods of Weft and of the app until the function that it
// returns is called: none may be unready or restarted.
func (b *bench) watchReady() (end func()) {
	ctx, cancel := context.WithCancel(b.Context())
	h := &health{unready: map[string]string{}, before: map[string]int32{}, again: map[string]bool{}}
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(500 * time.Millisecond)
		defer tick.Stop()
		for {
			for _, ns := range []string{"weft-system", "shop"} {
				if list, err := b.API.CoreV1().Pods(ns).List(ctx, metav1.ListOptions{}); err == nil {
					h.note(list.Items)
				}
			}
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
		}
	})
	return func() {
		cancel()
		watching.Wait()
		for pod, why := range h.unready {
			b.Errorf("pod %s was not Ready: %s", pod, why)
		}
		for container := range h.again {
			b.Errorf("container %s was restarted", container)
		}
	}
}

func (h *health) note(pods []corev1.Pod) {
	for _, p := range pods {
		for _, c := range p.Status.Conditions {
			if c.Type == corev1.PodReady && c.Status != corev1.ConditionTrue {
				h.unready[p.Name] = c.Message
			}
		}
		for _, c := range slices.Concat(p.Status.InitContainerStatuses, p.Status.ContainerStatuses) {
			name := fmt.Sprintf("%s/%s", p.Name, c.Name)
			if was, known := h.before[name]; !known {
				h.before[name] = c.RestartCount
			} else if c.RestartCount > was {
				h.again[name] = true
			}
		}
	}
}
