package cluster

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"

	"github.com/weftmesh/weft/test/cluster/binaries"
	"github.com/weftmesh/weft/test/cluster/machine"
	"github.com/weftmesh/weft/test/cluster/pki"
)

// API is a real API server with its etcd and nothing else: objects are stored,
// checked and watched, webhooks called at URLs of this machine, tokens issued
// and reviewed. No controller acts on them: a namespace gets no service account
// and is never emptied, no pod runs.
type API struct{ base }

// StartAPI brings up an API server on the loopback interface, and returns when
// it is ready, some 4 seconds later. It needs no root. Of o only Name, Detached
// and Progress count.
func StartAPI(ctx context.Context, o Options) (*API, error) {
	o, err := o.fill()
	if err != nil {
		return nil, err
	}
	l, err := prepare(ctx, o, binaries.ControlPlane)
	if err != nil {
		return nil, fmt.Errorf("API server %s: %w", o.Name, err)
	}
	a := &API{base{plan: machine.Plan{Name: o.Name, Dir: l.dir, Owned: !o.Detached}}}
	if err := a.raise(ctx, l, o); err != nil {
		err = fmt.Errorf("API server %s: %w%s", o.Name, err, l.tails())
		return nil, errors.Join(err, Down(context.WithoutCancel(ctx), o.Name))
	}
	return a, nil
}

func (a *API) raise(ctx context.Context, l layout, o Options) error {
	ports, err := freePorts(3)
	if err != nil {
		return err
	}
	server := "https://127.0.0.1:" + ports[2]
	certs := pki.Options{
		Dir: l.pki(""), Server: server, Names: []string{"localhost"},
		Addresses: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
	}
	if err := pki.Write(certs); err != nil {
		return err
	}
	a.plan.Programs = []machine.Program{
		l.etcd(filepath.Join(l.dir, "etcd"), ports[0], ports[1]),
		l.apiServer(ports[0], ports[2], "--bind-address=127.0.0.1", "--advertise-address=127.0.0.1",
			// Its endpoint may not be on loopback.
			"--endpoint-reconciler-type=none",
			// It would refuse pods: no controller makes service accounts.
			"--disable-admission-plugins=ServiceAccount"),
	}
	a.apiMachine = a.plan.Socket()
	o.Progress("starting etcd and the API server")
	if err := a.launch(ctx, l); err != nil {
		return err
	}
	if err := a.connect(server); err != nil {
		return err
	}
	return a.Ready(ctx)
}
