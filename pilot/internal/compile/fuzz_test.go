package compile

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
)

// FuzzMesh: whatever YAML is given, compiling does not panic, does not write to
// its input, and gives only what Envoy can take.
func FuzzMesh(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.txtar")
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(txtar.Parse(data).Files[0].Data)
		for part := range strings.SplitSeq(string(txtar.Parse(data).Files[0].Data), "\n---\n") {
			f.Add([]byte(part))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		objects, _ := config.Decode("fuzz.yaml", data)
		var set config.Set
		before := map[proto.Message]proto.Message{}
		for _, o := range objects {
			set = set.With(o)
			if m, ok := o.Spec.(proto.Message); ok {
				before[m] = proto.Clone(m)
			}
		}
		checkSound(t, Mesh(set).Mesh)
		for m, was := range before {
			if !proto.Equal(m, was) {
				t.Errorf("the input was written to: %v, before %v", m, was)
			}
		}
	})
}

// checkSound holds what translation relies on.
func checkSound(t *testing.T, m *model.Mesh) {
	for key, vs := range m.VirtualServices.All() {
		if len(vs.Hosts) == 0 || len(vs.Gateways) == 0 {
			t.Errorf("%s: no host or gateway", key)
		}
		for _, r := range vs.HTTP {
			checkRoute(t, key, r)
		}
	}
	for key, g := range m.Gateways.All() {
		for _, s := range g.Servers {
			if s.Port == 0 || s.Port > 65535 || len(s.Hosts) == 0 || s.Protocol == model.ProtocolTLS && s.TLS == nil {
				t.Errorf("%s: server %+v", key, s)
			}
		}
	}
	for host, s := range m.Services.All() {
		for _, p := range s.Ports {
			if p.Number == 0 || p.Number > 65535 {
				t.Errorf("%s: port %+v", host, p)
			}
		}
	}
}

func checkRoute(t *testing.T, key string, r *model.Route) {
	if f := r.Fault; f != nil && (f.DelayPPM > 1_000_000 || f.AbortPPM > 1_000_000 || f.AbortStatus != 0 && (f.AbortStatus < 200 || f.AbortStatus > 599)) {
		t.Errorf("%s: fault %+v", key, f)
	}
	checkHeaders(t, key, r.Request)
	checkHeaders(t, key, r.Response)
	switch a := r.Action.(type) {
	case *model.Forward:
		sum := uint64(0)
		for _, d := range a.Destinations {
			sum += uint64(d.Weight)
			checkHeaders(t, key, d.Request)
		}
		if len(a.Destinations) == 0 || sum == 0 || sum > maxWeightSum || a.Timeout < 0 {
			t.Errorf("%s: forward %+v", key, a)
		}
		for _, mirror := range a.Mirrors {
			if mirror.PPM == 0 || mirror.PPM > 1_000_000 || mirror.Host == "" {
				t.Errorf("%s: mirror %+v", key, mirror)
			}
		}
	case *model.DirectResponse:
		if a.Status < 200 || a.Status > 599 {
			t.Errorf("%s: status %d", key, a.Status)
		}
	case *model.Redirect:
		if a.Code < 301 || a.Code > 308 || a.Port > 65535 {
			t.Errorf("%s: redirect %+v", key, a)
		}
	default:
		t.Errorf("%s: no action", key)
	}
}

func checkHeaders(t *testing.T, key string, ops model.HeaderOps) {
	for _, h := range append(ops.Set, ops.Add...) {
		if h.Name == "" || strings.HasPrefix(h.Name, ":") && h.Name != authorityHeader || strings.ContainsAny(h.Name+h.Value, "\r\n\x00") {
			t.Errorf("%s: header %q: %q", key, h.Name, h.Value)
		}
	}
}
