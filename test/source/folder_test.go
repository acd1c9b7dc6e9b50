// Package source holds sources of configuration against each other: the same
// objects must mean the same, read from a folder or from an API server.
//
// In: the samples, and the golden cases of the pilot. Out: what differs
// between the two states, and between what proxies get of them.
package source

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot"
	"github.com/weftmesh/weft/test/golden"
)

const root = "../.."

func TestSamplesMeanTheSame(t *testing.T) {
	c := newCluster(t)
	for _, name := range []string{"bookshop", "canary", "grpc", "tls-gateway"} {
		t.Run(name, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(root, "samples", name, "*.yaml"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no sample: %v", err)
			}
			var text strings.Builder
			for _, f := range files {
				content, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				fmt.Fprintf(&text, "---\n%s\n", content)
			}
			c.compare(t, text.String())
		})
	}
}

func TestGoldenCasesMeanTheSame(t *testing.T) {
	c := newCluster(t)
	world, err := os.ReadFile(filepath.Join(root, "pilot/testdata/world.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.apply(t, string(world))
	files, err := filepath.Glob(filepath.Join(root, "pilot/testdata/*.txtar"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range files {
		f, err := golden.Load(path)
		if err != nil {
			t.Fatal(err)
		}
		text, ok := f.Get("config.yaml")
		if !ok {
			continue
		}
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			c.compare(t, text)
		})
	}
	t.Logf("%d objects were compared; %d the API server refused", c.taken, c.refused)
	if c.taken < 100 || c.taken < 10*c.refused {
		t.Errorf("the API server took %d objects and refused %d: too little is compared", c.taken, c.refused)
	}
}

// compare applies objects to the API server and waits until its source says
// what a folder with the same objects says.
func (c *cluster) compare(t *testing.T, text string) {
	t.Helper()
	c.apply(t, text)
	folder := c.exported(t)
	var why string
	for {
		live, more := c.state(t)
		if why = differs(folder, live); why == "" {
			break
		}
		if !more {
			t.Fatal(why)
		}
	}
	written, _ := config.Decode("folder.yaml", []byte(text))
	for _, o := range written {
		if live, ok := c.last.Set.Of(o.Kind).Get(o.Key()); ok && !equalSpec(o, live) {
			t.Errorf("%s %s: the folder's spec differs from the API server's", o.Kind, o.Key())
		}
	}
}

// equalSpec compares what a user wrote of Istio's kinds; Kubernetes' own get
// defaults from the API server.
func equalSpec(a, b *config.Object) bool {
	m, ok := a.Spec.(proto.Message)
	if !ok {
		return true
	}
	n, ok := b.Spec.(proto.Message)
	return ok && proto.Equal(m, n)
}

// differs says in what two sets differ that should be equal; "" if in nothing.
func differs(folder, live config.Set) string {
	for _, k := range followed {
		for key, o := range folder.Of(k).All() {
			l, ok := live.Of(k).Get(key)
			switch {
			case !ok && k != config.Secret:
				return fmt.Sprintf("%s %s is missing", k, key)
			case ok && !equalSpec(o, l):
				return fmt.Sprintf("%s %s has another spec", k, key)
			}
		}
		for key := range live.Of(k).All() {
			if _, ok := folder.Of(k).Get(key); !ok && k != config.MeshConfig {
				return fmt.Sprintf("%s %s should not be there", k, key)
			}
		}
	}
	for _, p := range proxies(folder) {
		if why := translated(folder, live, p); why != "" {
			return why
		}
	}
	return said(folder, live)
}

// proxies are those whose configuration is compared: every pod as a sidecar
// and as a gateway, and a sidecar and a gateway that nobody knows.
func proxies(set config.Set) (out []model.Proxy) {
	add := func(p model.Proxy) {
		for _, p.Sidecar = range []bool{true, false} {
			out = append(out, p)
		}
	}
	for _, o := range set.Of(config.Pod).All() {
		add(model.Proxy{Proven: true, Name: o.Name, Namespace: o.Namespace, Labels: o.Labels})
	}
	add(model.Proxy{Proven: true, Namespace: "default"})
	add(model.Proxy{Proven: true, Namespace: "weft-system", Labels: map[string]string{"istio": "ingressgateway"}})
	return out
}

func translated(folder, live config.Set, p model.Proxy) string {
	want, got := byName(folder, p), byName(live, p)
	for name, text := range want {
		if got[name] != text {
			return fmt.Sprintf("proxy %s/%s (sidecar: %t): resource %s differs: from the folder\n%s\nfrom the API server\n%s", p.Namespace, p.Name, p.Sidecar, name, text, got[name])
		}
	}
	for name := range got {
		if _, ok := want[name]; !ok {
			return fmt.Sprintf("proxy %s/%s (sidecar: %t): resource %s should not be there", p.Namespace, p.Name, p.Sidecar, name)
		}
	}
	return ""
}

func byName(set config.Set, p model.Proxy) map[string]string {
	out := map[string]string{}
	for _, r := range pilot.Translate(set, p) {
		out[r.Type+" "+r.Name] = string(pilot.JSON(r))
	}
	return out
}

// said compares the findings, without the places in files.
func said(folder, live config.Set) string {
	of := func(set config.Set) string {
		var text strings.Builder
		for _, d := range pilot.Check(set) {
			d.Object.File, d.Object.Line = "", 0
			fmt.Fprintln(&text, d)
		}
		return text.String()
	}
	if a, b := of(folder), of(live); a != b {
		return fmt.Sprintf("findings differ: from the folder\n%s\nfrom the API server\n%s", a, b)
	}
	return ""
}
