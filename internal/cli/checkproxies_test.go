package cli

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/install"
	"github.com/weftmesh/weft/pilot"
)

const clusterType = "type.googleapis.com/envoy.config.cluster.v3.Cluster"

// said reads what pilots answer at /debug/sync.
func said(t *testing.T, pages ...string) (out []pilot.Sync) {
	t.Helper()
	for _, text := range pages {
		var s pilot.Sync
		if err := json.Unmarshal([]byte(strings.ReplaceAll(text, "CDS", clusterType)), &s); err != nil {
			t.Fatal(err)
		}
		out = append(out, s)
	}
	return out
}

func TestProxyFindings(t *testing.T) {
	const synced = `{"streams": [
		{"proxy": {"Name": "a", "Namespace": "shop"}, "types": [{"type": "CDS", "synced": true}]},
		{"proxy": {"Name": "a", "Namespace": "shop"}, "types": [{"type": "type.googleapis.com/envoy.data.dns.v3.DnsTable.DnsVirtualDomain", "synced": true}]}]}`
	const refusing = `{"streams": [
		{"proxy": {"Name": "b", "Namespace": "shop"}, "types": [{"type": "CDS", "synced": false, "refused": [
			{"name": "outbound|80||r", "message": "Invalid path: /no", "objects": ["Service/shop/r", "DestinationRule/shop/r"]}]}]},
		{"proxy": {"Name": "c", "Namespace": "shop"}, "types": [{"type": "CDS", "synced": false, "refused": [
			{"name": "outbound|80||r", "message": "Invalid path: /no", "objects": ["Service/shop/r", "DestinationRule/shop/r"]}]}]}]}`
	const late = `{"streams": [{"proxy": {"Name": "d", "Namespace": "shop"}, "types": [{"type": "CDS", "synced": false}]}],
		"objects": [{"object": "VirtualService/shop/v", "proxies": 2, "live": 1}, {"object": "Service/shop/s", "proxies": 2, "live": 1}]}`
	for name, c := range map[string]struct {
		pages   []string
		outcome install.Outcome
		says    []string
	}{
		"in sync": {[]string{synced}, install.OK, []string{"proxies: 1 connected, and in sync"}},
		"refused": {[]string{synced, refusing}, install.Failed, []string{
			"DestinationRule shop/r: 2 proxies (b.shop, c.shop) refuse outbound|80||r: Invalid path: /no", "kubectl get destinationrule -n shop r"}},
		"late": {[]string{synced, late}, install.Warning, []string{
			"proxies: proxy d.shop has not acknowledged what was sent; not live everywhere: VirtualService shop/v"}},
	} {
		found := standOf(said(t, c.pages...)).findings()
		if len(found) != 1 || found[0].Outcome != c.outcome {
			t.Errorf("%s: %+v", name, found)
			continue
		}
		text := found[0].Subject + ": " + found[0].Text + " " + found[0].Cure
		for _, want := range c.says {
			if !strings.Contains(text, want) {
				t.Errorf("%s: it says %q, want %q", name, text, want)
			}
		}
	}
}

// TestLostProxies: pods that start, end, or have another mesh's proxy are not lost.
func TestLostProxies(t *testing.T) {
	now := time.Now()
	pod := func(name string, age time.Duration, arg string) corev1.Pod {
		started := metav1.NewTime(now.Add(-age))
		return corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "shop"},
			Spec:       corev1.PodSpec{InitContainers: []corev1.Container{{Name: "istio-proxy", Args: []string{"proxy", "sidecar", arg}}}},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &started},
		}
	}
	const ours = "--pilot=weft-pilot.weft-system.svc:15012"
	ending := pod("ending", time.Hour, ours)
	ending.DeletionTimestamp = &metav1.Time{Time: now}
	s := standOf(said(t, `{"streams": [{"proxy": {"Name": "known", "Namespace": "shop"}, "types": [{"type": "CDS", "synced": true}]}]}`))
	s.note([]corev1.Pod{
		pod("known", time.Hour, ours), pod("new", time.Second, ours), pod("foreign", time.Hour, "--discovery=istiod.istio-system.svc:15012"),
		pod("lost", time.Hour, ours), ending,
	}, "weft-system", now)
	if !slices.Equal(s.lost, []string{"lost.shop"}) {
		t.Errorf("lost: %v", s.lost)
	}
	if f := s.findings(); f[0].Outcome != install.Failed || !strings.Contains(f[0].Text, "proxy lost.shop is not connected to any pilot") {
		t.Errorf("%+v", f)
	}
}
