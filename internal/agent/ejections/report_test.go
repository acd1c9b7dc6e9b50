package ejections

import (
	"context"
	"testing"
	"time"

	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"google.golang.org/grpc"

	"github.com/weftmesh/weft/internal/agent/envoy"
)

// fakePilot answers a report with one pod, after meanwhile.
type fakePilot struct {
	grpc.ClientConnInterface
	grpc.ClientStream
	meanwhile func()
	heard     []string
}

// NewStream implements grpc.ClientConnInterface.
func (p *fakePilot) NewStream(context.Context, *grpc.StreamDesc, string, ...grpc.CallOption) (grpc.ClientStream, error) {
	return p, nil
}

// SendMsg implements grpc.ClientStream.
func (p *fakePilot) SendMsg(m any) error {
	p.heard = append(p.heard, m.(*discoveryv3.DeltaDiscoveryRequest).ResourceNamesSubscribe...)
	return nil
}

// RecvMsg implements grpc.ClientStream.
func (p *fakePilot) RecvMsg(m any) error {
	p.meanwhile()
	return nil
}

// A host that is out anew while the pilot is told of it is told of again.
func TestNewerReasonIsTold(t *testing.T) {
	b := newBench(t)
	at := envoy.OutHost{Cluster: "outbound|80|v1|a.n.svc", Address: "10.0.0.1:80"}
	b.out = []envoy.OutHost{at}
	b.ask(t.Context(), time.Now()) // why is not known yet
	pilot := &fakePilot{meanwhile: func() {
		b.append(line("CONSECUTIVE_5XX", "EJECT", at.Address, true))
		b.read()
	}}
	b.o.Pilot = Pilot{Conn: pilot}
	for range 2 {
		if err := b.report(t.Context()); err != nil {
			t.Fatal(err)
		}
		pilot.meanwhile = func() {}
	}
	if err := b.report(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := " " + at.Address + " " + at.Cluster
	if len(pilot.heard) != 2 || pilot.heard[0] != untold+name || pilot.heard[1] != "consecutive_5xx"+name {
		t.Errorf("heard %q", pilot.heard)
	}
}

// The pilot is told of a host that is taken back, if it was told that it is out, and
// again if it could not be told.
func TestTakenBackIsTold(t *testing.T) {
	b := newBench(t)
	at := envoy.OutHost{Cluster: "outbound|80|v1|a.n.svc", Address: "10.0.0.1:80"}
	b.out = []envoy.OutHost{at}
	b.append(line("CONSECUTIVE_5XX", "EJECT", at.Address, true) + line("CONSECUTIVE_5XX", "EJECT", "10.0.0.2:80", true) + line("CONSECUTIVE_5XX", "UNEJECT", "10.0.0.2:80", true))
	b.read()
	b.ask(t.Context(), time.Now())
	pilot := &fakePilot{meanwhile: func() {}}
	b.o.Pilot = Pilot{Conn: pilot}
	report := func() {
		t.Helper()
		if err := b.report(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	report()
	b.append(line("CONSECUTIVE_5XX", "UNEJECT", at.Address, false))
	b.read()
	report()
	report()
	name := " " + at.Address + " " + at.Cluster
	if len(pilot.heard) != 2 || pilot.heard[0] != "consecutive_5xx"+name || pilot.heard[1] != takenBack+name {
		t.Errorf("heard %q", pilot.heard)
	}
}

// Envoy writes its log late, and a report takes a while: whichever comes first, the
// pilot hears of both.
func TestTakenBackInAnyOrder(t *testing.T) {
	at := envoy.OutHost{Cluster: "outbound|80|v1|a.n.svc", Address: "10.0.0.1:80"}
	for name, back := range map[string]func(b *bench, p *fakePilot){
		"Envoy says it before its log": func(b *bench, _ *fakePilot) {
			b.reported()
			b.out = nil
			b.ask(b.Context(), time.Now())
			b.unejected(at)
		},
		"while the pilot is told": func(b *bench, p *fakePilot) {
			p.meanwhile = func() { b.unejected(at) }
			b.reported()
		},
		"Envoy says it while the pilot is told": func(b *bench, p *fakePilot) {
			p.meanwhile = func() {
				b.out = nil
				b.ask(b.Context(), time.Now())
			}
			b.reported()
			b.unejected(at)
		},
	} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.out = []envoy.OutHost{at}
			b.append(line("CONSECUTIVE_5XX", "EJECT", at.Address, true))
			b.read()
			b.ask(t.Context(), time.Now())
			pilot := &fakePilot{meanwhile: func() {}}
			b.o.Pilot = Pilot{Conn: pilot}
			back(b, pilot)
			pilot.meanwhile = func() {}
			b.reported()
			of := " " + at.Address + " " + at.Cluster
			if len(pilot.heard) != 2 || pilot.heard[0] != "consecutive_5xx"+of || pilot.heard[1] != takenBack+of {
				t.Errorf("heard %q", pilot.heard)
			}
		})
	}
}

func (b *bench) reported() {
	b.Helper()
	if err := b.report(b.Context()); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) unejected(h envoy.OutHost) {
	b.append(line("CONSECUTIVE_5XX", "UNEJECT", h.Address, false))
	b.read()
}
