package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/test/weftcli"
)

// demo is what the steps share.
type demo struct {
	mesh     *weftcli.Mesh
	url      string // of the gateway on this machine
	requests int
	client   *http.Client
	began    time.Time
	rows     []row
}

// step is one thing that is shown. Its run adds rows; its error means that the
// thing could not be looked at.
type step struct {
	name  string
	title string
	run   func(context.Context, *demo) error
}

// steps are shown in this order: edit leaves the split at 50/50.
var steps = []step{
	{"split", "a weighted canary: 90/10 by reviews-route.yaml", showSplit},
	{"edit", "the weights edited to 50/50 in the file, under load", showEdit},
	{"eject", "one replica of reviews made to fail, under load", showEjection},
	{"grpc", "gRPC calls on one connection", showGRPC},
	{"mtls", "who calls whom: mTLS identities", showIdentities},
	{"strict", "a plaintext caller under STRICT", showStrict},
}

func names(steps []step) (out []string) {
	for _, s := range steps {
		out = append(out, s.name)
	}
	return out
}

// say prints a progress line with the time since the start.
func (d *demo) say(format string, args ...any) {
	fmt.Printf("[%5.1fs] %s\n", time.Since(d.began).Seconds(), fmt.Sprintf(format, args...))
}

// run starts the mesh, shows the steps, takes the mesh down, prints the table,
// and tells whether all of it held.
func run(ctx context.Context, o options) (bool, error) {
	client, err := load.NewClient(load.Dial{})
	if err != nil {
		return false, err
	}
	dir, remove, err := copySample(o.sample, filepath.Dir(o.weft))
	if err != nil {
		return false, err
	}
	defer remove()
	port, err := weftcli.FreePort(ctx, 8080) // the port that users know, if it is free
	if err != nil {
		return false, err
	}
	d := &demo{
		mesh:     &weftcli.Mesh{Binary: o.weft, Dir: dir, Name: fmt.Sprintf("demo-%d", os.Getpid()), Progress: os.Stdout},
		url:      fmt.Sprintf("http://127.0.0.1:%d/", port),
		requests: o.requests,
		client:   client,
		began:    time.Now(),
	}
	err = d.show(ctx, o.only, port)
	d.print(os.Stdout)
	return err == nil && d.allHeld(), err
}

// show runs the steps between up and down.
func (d *demo) show(ctx context.Context, only string, port int) (err error) {
	defer func() { err = errors.Join(err, d.down(ctx, port)) }()
	d.say("weft up %s, its gateway at %s", d.mesh.Dir, d.url)
	if err := d.up(ctx, port); err != nil {
		return err
	}
	for _, s := range steps {
		if only != "" && !strings.Contains(","+only+",", ","+s.name+",") {
			continue
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		d.say("%s", s.title)
		if err := s.run(ctx, d); err != nil {
			d.row(row{what: s.title, expected: "can be looked at", seen: err.Error()})
			d.say("  failed: %v", err)
		}
	}
	return nil
}

// up starts the mesh and shows that `weft ps` agrees.
func (d *demo) up(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	start := time.Now()
	if err := d.mesh.Up(ctx, fmt.Sprintf("80=127.0.0.1:%d", port)); err != nil {
		return err
	}
	took := time.Since(start)
	pods, err := d.mesh.Pods(ctx)
	if err != nil {
		return err
	}
	ready := 0
	for _, p := range pods {
		if p.Ready && p.Synced != "no" {
			ready++
		}
	}
	d.row(row{
		what: "weft up: pods that are ready and in sync", expected: "all",
		seen: fmt.Sprintf("%d of %d after %.1f s", ready, len(pods), took.Seconds()),
		ok:   ready == len(pods) && ready > 0,
	})
	return nil
}

// down takes the mesh down, also when ctx has ended, and shows that its port is
// free again.
func (d *demo) down(ctx context.Context, port int) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
	defer cancel()
	d.client.CloseIdleConnections() // as a client that ends does: the gateway waits for open ones
	d.say("weft down")
	err := d.mesh.Down(ctx)
	held := row{what: "weft down: the gateway's port", expected: "free again", seen: "still taken"}
	if l, free := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port)); free == nil {
		held.seen, held.ok = "free again", l.Close() == nil
	}
	d.row(held)
	return err
}
