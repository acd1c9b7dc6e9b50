package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/pkg/browser"
	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/dashboard"
	"github.com/weftmesh/weft/web"
)

type dashboardFlags struct {
	configuration
	port     uint16
	noOpen   bool
	recorder string
}

func (f *dashboardFlags) flags(c *cobra.Command) {
	c.Flags().Uint16VarP(&f.port, "port", "p", 0, "`PORT` of this machine's loopback to listen on; 0: one that is free")
	c.Flags().BoolVar(&f.noOpen, "no-open", false, "print the address, and open no browser")
}

func (a *app) dashboard() *cobra.Command {
	var f dashboardFlags
	c := &cobra.Command{
		Use: "dashboard", Aliases: []string{"dash"}, GroupID: "look", Short: "Open a page of the mesh: who calls whom, success, latency, canaries, objects",
		Long: "Serve a page of the mesh on this machine's loopback, and open it: who calls whom, success, rates and\n" +
			"latency with charts of the last hour, the weights of canaries beside what is measured, ejected hosts, and the\n" +
			"mesh's objects with what is wrong with them. The proxies are asked for it: nothing is installed. Charts of\n" +
			"the last hour are of the Prometheus that a cluster has, found by its label, or --prometheus names; while there is none,\n" +
			"or several, or it does not answer within 2 s, they begin when this command does, and the page says so. The address has a token; who does not know it sees nothing. It ends with Ctrl-C.\n\n" + whichMesh,
		Example: "  weft dashboard\n  weft dashboard --port 8080 --no-open",
		Args:    known,
		RunE:    func(cmd *cobra.Command, _ []string) error { return a.runDashboard(cmd.Context(), &f) },
	}
	f.kube.flags(c, "")
	f.flags(c)
	c.Flags().StringVar(&f.recorder, "prometheus", "", "`URL` of the Prometheus that charts are of, or none; default: the cluster's, if it has one")
	c.AddCommand(a.dashboardEnvoy())
	for _, of := range addons {
		c.AddCommand(a.dashboardAddon(of))
	}
	return c
}

func (a *app) runDashboard(ctx context.Context, f *dashboardFlags) error {
	mesh, err := a.shown(ctx, &f.configuration)
	if err != nil {
		return err
	}
	by, err := mesh.app.recorder(&f.kube, f.recorder)
	if err != nil {
		return err
	}
	token, once := rand.Text(), rand.Text()
	o := dashboard.Options{
		Mesh: mesh.named, Look: mesh.look, Config: mesh.config, Object: mesh.object, Tap: mesh.tap,
		Assets: web.Assets(), Token: token, Once: once, Log: slog.New(slog.NewTextHandler(a.err, nil)),
	}
	if by != nil {
		o.Past = func(ctx context.Context, of dashboard.Charted) (dashboard.History, error) { return past(ctx, by, of) }
	}
	d := dashboard.New(o)
	go d.Run(ctx)
	return a.serve(ctx, f, d.Handler(), "#token="+token, "#once="+once)
}

// serve serves a page on loopback until ctx ends, prints its address, and opens
// a browser with another ending of it.
func (a *app) serve(ctx context.Context, f *dashboardFlags, h http.Handler, printed, opened string) error {
	at := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(f.port)))
	lis, err := (&net.ListenConfig{}).Listen(ctx, "tcp", at)
	if err != nil {
		return fmt.Errorf("%w; --port chooses another port", err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: 10 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 64 << 10}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	fmt.Fprintf(a.out, "http://%s/%s\nCtrl-C ends it\n", lis.Addr(), printed)
	if !f.noOpen {
		go a.open(fmt.Sprintf("http://%s/%s", lis.Addr(), opened)) // some browsers are waited for
	}
	if err := server.Serve(lis); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil // it was told to end
}

// open shows a page in the person's browser.
func (a *app) open(url string) {
	browser.Stdout, browser.Stderr = nil, nil // what a browser says is no output of ours
	if err := browser.OpenURL(url); err != nil {
		fmt.Fprintln(a.err, "no browser could be opened; open the address yourself")
	}
}
