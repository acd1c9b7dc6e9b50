package controller

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
)

const shop = `
apiVersion: v1
kind: ConfigMap
metadata: {name: settings}
data: {COLOR: blue, SIZE: "3"}
---
apiVersion: v1
kind: Secret
metadata: {name: login}
stringData: {password: hunter2}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  selector: {app: web}
  ports: [{name: http, port: 80, targetPort: http}, {name: admin, port: 81, targetPort: 9999}]
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web, version: v1}}
    spec:
      serviceAccountName: webby
      containers:
      - name: web
        command: [./serve, "--pod=$(POD)", "$(NOPE)", "$$(POD)"]
        args: ["--color=$(COLOR)"]
        ports: [{name: http, containerPort: 8080}]
        envFrom: [{configMapRef: {name: settings}}]
        env:
        - {name: POD, valueFrom: {fieldRef: {fieldPath: metadata.name}}}
        - {name: PASSWORD, valueFrom: {secretKeyRef: {name: login, key: password}}}
        - {name: BOTH, value: "$(COLOR)-$(POD)"}
`

func load(t *testing.T, text string) config.Set {
	t.Helper()
	var set config.Set
	objects, found := config.Decode("shop.yaml", []byte(text))
	if len(found) > 0 {
		t.Fatal(found)
	}
	for _, o := range objects {
		set = set.With(o)
	}
	return set
}

func webPod(t *testing.T, set config.Set) *corev1.Pod {
	t.Helper()
	w := workloads(set)["default/web"]
	if w == nil || w.replicas != 2 {
		t.Fatalf("workloads: %+v", workloads(set))
	}
	return w.pod([]netip.Addr{netip.MustParseAddr("10.244.0.9"), netip.MustParseAddr("fd00:10:244::9")})
}

func TestAppsEnvironmentAndCommand(t *testing.T) {
	set := load(t, shop)
	p := webPod(t, set)
	got, err := apps(p, surroundings{set: set, options: Options{Dir: "/shop", Env: []string{"PATH=/bin"}}})
	if err != nil {
		t.Fatal(err)
	}
	wantArgv := []string{"./serve", "--pod=" + p.Name, "$(NOPE)", "$(POD)", "--color=blue"}
	wantEnv := []string{"PATH=/bin", "HOSTNAME=" + p.Name, "COLOR=blue", "SIZE=3", "POD=" + p.Name, "PASSWORD=hunter2", "BOTH=blue-" + p.Name}
	if !slices.Equal(got[0].Argv, wantArgv) || !slices.Equal(got[0].Env, wantEnv) || got[0].Dir != "/shop" {
		t.Fatalf("got %v in %s with %v", got[0].Argv, got[0].Dir, got[0].Env)
	}
}

// TestOneValueOfEachVariable: a container's own value is the only one.
func TestOneValueOfEachVariable(t *testing.T) {
	got := processEnv(&corev1.Pod{}, surroundings{options: Options{Env: []string{"PATH=/bin", "HOME=/"}}}, []variable{{"PATH", "/opt"}, {"HOSTNAME", "me"}})
	if want := []string{"HOME=/", "PATH=/opt", "HOSTNAME=me"}; !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestAppsThatCannotRunSayWhy(t *testing.T) {
	for name, c := range map[string]struct{ from, to, want string }{
		"only an image":      {`command: [./serve, "--pod=$(POD)", "$(NOPE)", "$$(POD)"]`, "image: web:1", "weft.mesh/local-command"},
		"no such ConfigMap":  {"configMapRef: {name: settings}", "configMapRef: {name: gone}", "ConfigMap default/gone does not exist"},
		"no such key":        {"key: password", "key: user", `Secret default/login has no key "user"`},
		"unknown field path": {"fieldPath: metadata.name", "fieldPath: metadata.colour", "metadata.colour"},
	} {
		t.Run(name, func(t *testing.T) {
			set := load(t, strings.Replace(shop, c.from, c.to, 1))
			_, err := apps(webPod(t, set), surroundings{set: set})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Fatalf("got %v, want %q", err, c.want)
			}
		})
	}
}

func TestTemplateHashFollowsWhatPodsSee(t *testing.T) {
	hash := func(text string) string { return workloads(load(t, text))["default/web"].hash }
	was := hash(shop)
	for _, change := range []string{"COLOR: blue", "hunter2", "./serve", "version: v1"} {
		if hash(strings.Replace(shop, change, change+"x", 1)) == was {
			t.Errorf("a change of %q made no new pods", change)
		}
	}
	if hash(strings.Replace(shop, "replicas: 2", "replicas: 5", 1)) != was {
		t.Error("scaling made new pods")
	}
}

func TestEndpointSlices(t *testing.T) {
	set := load(t, shop)
	o, _ := set.Of(config.Service).Get("default/web")
	svc := o.Spec.(*corev1.Service)
	ready, leaving, starting := webPod(t, set), webPod(t, set), webPod(t, set)
	out := endpointSlices(svc, []podFacts{{pod: ready, ready: true}, {pod: leaving, ready: true, terminating: true}, {pod: starting}})
	if len(out) != 1 || out[0].AddressType != "IPv4" {
		t.Fatalf("a single-stack Service got %d slices", len(out))
	}
	both := corev1.IPFamilyPolicyPreferDualStack
	svc.Spec.IPFamilyPolicy = &both
	out = endpointSlices(svc, []podFacts{{pod: ready, ready: true}, {pod: leaving, ready: true, terminating: true}, {pod: starting}})
	if len(out) != 2 || out[0].AddressType == out[1].AddressType {
		t.Fatalf("got %d slices, want one for each family", len(out))
	}
	for _, s := range out {
		if len(s.Endpoints) != 3 || *s.Ports[0].Port != 8080 || *s.Ports[1].Port != 9999 {
			t.Fatalf("got %+v", s)
		}
		for _, e := range s.Endpoints {
			got := [3]bool{*e.Conditions.Ready, *e.Conditions.Serving, *e.Conditions.Terminating}
			want := map[string][3]bool{ready.Name: {true, true, false}, leaving.Name: {false, true, true}, starting.Name: {false, false, false}}[e.TargetRef.Name]
			if got != want {
				t.Errorf("pod %s: ready, serving, terminating = %v, want %v", e.TargetRef.Name, got, want)
			}
		}
	}
}

func TestAddressesAreStableAndApart(t *testing.T) {
	v4 := netip.MustParsePrefix("10.96.0.0/12")
	var a, b addresses
	seen := map[string]bool{}
	for _, key := range []string{"x/a", "x/b", "x/c", "y/a"} {
		ip := a.of(key, v4)
		if seen[ip] || !v4.Contains(netip.MustParseAddr(ip)) || b.of(key, v4) != ip {
			t.Errorf("%s got %s", key, ip)
		}
		seen[ip] = true
	}
}

func TestSplitWords(t *testing.T) {
	for text, want := range map[string][]string{
		`a b`: {"a", "b"}, ` a  "b c" d'e f' `: {"a", "b c", "de f"}, `a\ b ""`: {"a b", ""}, `sh -c 'echo "x"'`: {"sh", "-c", `echo "x"`},
	} {
		if got, err := splitWords(text); err != nil || !slices.Equal(got, want) {
			t.Errorf("%q: got %q, %v", text, got, err)
		}
	}
	for _, text := range []string{`a "b`, `a\`, ``, `  `} {
		if got, err := splitWords(text); err == nil {
			t.Errorf("%q was split into %q", text, got)
		}
	}
}

func FuzzSplitWords(f *testing.F) {
	f.Add(`sh -c 'echo "x"' \\`)
	f.Fuzz(func(t *testing.T, text string) {
		if words, err := splitWords(text); err == nil && len(words) == 0 {
			t.Fatal("no words and no error")
		}
	})
}

func FuzzExpand(f *testing.F) {
	f.Add("$(A)$$(A)$(B", "A", "x")
	f.Fuzz(func(_ *testing.T, text, name, value string) { expand(text, []variable{{name, value}}) })
}

// TestDNSListensInThePodsFamilies: a redirected IPv6 query arrives at ::1.
func TestDNSListensInThePodsFamilies(t *testing.T) {
	dual := webPod(t, load(t, shop))
	alone := dual.DeepCopy()
	alone.Status.PodIPs = alone.Status.PodIPs[:1]
	for sockets, c := range map[string]struct {
		pod    *corev1.Pod
		listen []string
	}{"--dns-sockets=4": {dual, []string{"127.0.0.1:15053", "[::1]:15053"}}, "--dns-sockets=2": {alone, []string{"127.0.0.1:15053"}}} {
		if got := proxy(c.pod, roleApp, surroundings{}); !slices.Equal(got.Listen, c.listen) || !slices.Contains(got.Argv, sockets) {
			t.Errorf("the agent of a pod at %v listens at %q, not at %q, with no %s: %q", c.pod.Status.PodIPs, got.Listen, c.listen, sockets, got.Argv)
		}
	}
}
