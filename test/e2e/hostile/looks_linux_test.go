package hostile

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
)

// Two VirtualServices for one host, a subset that is not there and one that no
// pod is in.
const dangling = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews, namespace: shop},
 spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}, {name: v3, labels: {version: v3}}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: reviews, namespace: shop},
 spec: {hosts: [reviews], http: [{match: [{uri: {prefix: /new}}], route: [{destination: {host: reviews, subset: v4}}]}, {route: [{destination: {host: reviews, subset: v1}}]}]}}
---
{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: twice, namespace: shop},
 spec: {hosts: [reviews.shop.svc.cluster.local], http: [{route: [{destination: {host: reviews, subset: v2}}]}]}}
---
{apiVersion: security.istio.io/v1, kind: PeerAuthentication, metadata: {name: default, namespace: shop}, spec: {mtls: {mode: STRICT}}}`

// What is said of them.
var danglingFindings = []string{
	`error IST0101 VirtualService shop/reviews spec.http[0].route[0].destination.subset: subset "v4" of reviews.shop.svc.cluster.local not found`,
	`error IST0109 VirtualService shop/twice spec.hosts: host "reviews.shop.svc.cluster.local" is claimed by the older VirtualService shop/reviews`,
	`warning IST0173 DestinationRule shop/reviews spec.subsets[2].labels: no pod of reviews.shop.svc.cluster.local has the labels version=v3`,
}

// looks: analyze and describe say what holds in the cluster and what is wrong.
func (b *bench) looks() {
	b.says(b.Weft("", "analyze", "-n", "shop"), 0, "nothing is wrong")
	// What other objects may cure is stored: kubectl shows it as a warning.
	b.Must(dangling, "apply", "-f", "-")
	b.says(b.Weft("", "analyze", "-n", "shop"), 1, danglingFindings...)
	b.says(b.Weft("", "analyze", "-n", "outside"), 0, "nothing is wrong")
	b.analyzeJSON()
	b.filesOnTop()
	b.described()
	b.Must("", "-n", "shop", "delete", "virtualservice/twice", "peerauthentication/default")
	b.Must(subsets, "apply", "-f", "-")
	b.Must(route("v1"), "apply", "-f", "-")
	b.do("wait", "vs/reviews", "-n", "shop")
}

func (b *bench) analyzeJSON() {
	b.Helper()
	s := b.Weft("", "analyze", "-A", "-o", "json")
	var found []struct {
		Code, Severity, Path string
		Object               struct{ Kind, Namespace, Name string }
	}
	if err := json.Unmarshal([]byte(s.Out), &found); err != nil || s.Code != 1 {
		b.Fatalf("%v: %v", err, s)
	}
	codes := map[string]int{}
	for _, f := range found {
		codes[f.Code+" "+f.Object.Kind+" "+f.Object.Namespace+"/"+f.Object.Name]++
	}
	for _, want := range []string{"IST0101 VirtualService shop/reviews", "IST0109 VirtualService shop/twice", "IST0173 DestinationRule shop/reviews"} {
		if codes[want] != 1 {
			b.Errorf("analyze -o json has %q %d times: %v", want, codes[want], codes)
		}
	}
}

// filesOnTop: a file is judged as if it were applied, and not the cluster's
// object that it takes the place of.
func (b *bench) filesOnTop() {
	b.Helper()
	file := filepath.Join(b.TempDir(), "mended.yaml")
	if err := os.WriteFile(file, []byte(route("v2")), 0o600); err != nil {
		b.Fatal(err)
	}
	s := b.Weft("", "analyze", "-n", "shop", file)
	b.says(s, 1, danglingFindings[1:]...)
	if strings.Contains(s.Out, "v4") {
		b.Errorf("the cluster's object is judged, not the file's: %v", s)
	}
	b.says(b.Weft(route("v9"), "analyze", "-n", "shop", "-"), 1, `standard input:1: error IST0101 VirtualService shop/reviews`, `subset "v9"`)
	// Alone the file names what is not there.
	b.says(b.Weft("", "analyze", file), 1, "mended.yaml:1: error IST0101 VirtualService shop/reviews", "host \"reviews.shop.svc.cluster.local\" not found")
}

func (b *bench) described() {
	b.Helper()
	b.says(b.Weft("", "describe", "service", "reviews", "-n", "shop"), 0, append([]string{
		"Service shop/reviews", "host reviews.shop.svc.cluster.local", "endpoints: 2, 2 of them take the mesh's mTLS",
		"80    http  http    http      the port's name: http  STRICT", "subset v1 of shop/reviews: 1 endpoint\n", "subset v3 of shop/reviews: 0 endpoints",
		"DestinationRule shop/reviews", "PeerAuthentication shop/default", "VirtualService shop/reviews\n", "VirtualService shop/twice\n",
	}, danglingFindings...)...)
	pod := b.Must("", "-n", "shop", "get", "pod", "-l", "app=reviews,version=v1", "-o", "jsonpath={.items[0].metadata.name}")
	b.says(b.Weft("", "describe", "pod", pod, "-n", "shop"), 0,
		"Pod shop/"+pod, "identity spiffe://cluster.local/ns/shop/sa/reviews", "services: reviews.shop.svc.cluster.local", "STRICT", "PeerAuthentication shop/default")
	// A caller without a sidecar is told what STRICT means for it, and so it is.
	b.says(b.Weft("", "describe", "pod", "outside/stranger"), 0, "it has no sidecar", "pods whose mTLS is STRICT refuse it")
	b.Eventually("a caller without a sidecar is refused", func() error {
		var got map[string]seen
		b.asStranger(&got, "send", "http://reviews.shop/")
		return got["http://reviews.shop/"].closed()
	})
	s := b.Weft("", "describe", "service", "shop/reviews", "-o", "json")
	var d struct {
		Host                     string
		Endpoints, MTLSEndpoints int
		Ports                    []struct{ Protocol, MTLS string }
		Subsets                  []struct{ Name string }
		Findings                 []struct{ Code string }
	}
	if err := json.Unmarshal([]byte(s.Out), &d); err != nil || s.Code != 0 {
		b.Fatalf("%v: %v", err, s)
	}
	if d.Endpoints != 2 || d.MTLSEndpoints != 2 || len(d.Ports) != 1 || d.Ports[0].MTLS != "STRICT" || len(d.Subsets) != 3 || len(d.Findings) != 3 {
		b.Errorf("%+v", d)
	}
	b.says(b.Weft("", "describe", "service", "none", "-n", "shop"), 1, "service shop/none: there is none; kubectl get services -n shop")
	b.says(b.Weft("", "describe", "pod"), 2, "usage: weft describe pod")
}
