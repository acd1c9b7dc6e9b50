package steady

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/weftmesh/weft/test/e2e/rig"
)

// Bench is a cluster with Weft as a default install makes it.
type Bench struct {
	*rig.Rig
	App   string        // path of the program in folder app
	loads *atomic.Int64 // started so far
}

// NewBench brings the cluster up and installs Weft, with the default values but
// for sets.
func NewBench(t *testing.T, sets ...string) *Bench {
	t.Helper()
	r := rig.New(t, rig.Program{Package: "./test/e2e/steady/app", Args: []string{"serve"}})
	r.Install("", sets...)
	return &Bench{Rig: r, App: filepath.Join(r.Bin, "app"), loads: &atomic.Int64{}}
}

// On is the same bench in a subtest.
func (b *Bench) On(t *testing.T) *Bench {
	n := *b
	n.Rig = b.Rig.On(t)
	return &n
}

// Ready waits for Deployments, each NAMESPACE/NAME.
func (b *Bench) Ready(names ...string) {
	b.Helper()
	for _, name := range names {
		namespace, deployment, _ := strings.Cut(name, "/")
		ctx, cancel := context.WithTimeout(b.Context(), rig.Patience)
		err := b.Available(ctx, namespace, deployment)
		cancel()
		if err != nil {
			b.Fatal(err)
		}
	}
}

// InSync waits until every proxy holds what the pilots sent, as weft
// proxy-status says, which must list those of all names.
func (b *Bench) InSync(names ...string) {
	b.Helper()
	b.Eventually("all proxies are in sync", func() error {
		s := b.Weft("", "proxy-status")
		out := s.All()
		if s.Code != 0 || strings.Contains(out, "STALE") || strings.Contains(out, "NOT SENT") || strings.Contains(out, "REFUSED") {
			return errors.New(out)
		}
		for _, name := range names {
			if !strings.Contains(out, name) {
				return errors.New(name + " is not listed:\n" + out)
			}
		}
		return nil
	})
}

// NodePort is that of a port of the ingress gateway's Service.
func (b *Bench) NodePort(name string) string {
	b.Helper()
	return b.Must("", "get", "service", "-n", "weft-system", "istio-ingressgateway", "-o", `jsonpath={.spec.ports[?(@.name=="`+name+`")].nodePort}`)
}
