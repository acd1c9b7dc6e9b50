package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/controller"
)

// upFlags are those of `weft up`.
type upFlags struct {
	detach  bool
	publish []string
	timeout time.Duration
	verbose bool
	ttl     time.Duration
	refresh time.Duration
}

func (a *app) up() *cobra.Command {
	var f upFlags
	c := &cobra.Command{
		Use: "up [DIR]", ValidArgsFunction: folders, GroupID: "local", Short: "Start the mesh of a folder of YAML on this machine",
		Long: "Start every Deployment of DIR (default: this folder) as local processes, each pod in\n" +
			"namespaces and a network of its own with an agent and a real Envoy beside it, and\n" +
			"follow the folder: saving a file applies it. Ctrl-C stops and removes all of it.",
		Example: "  weft up samples/bookshop\n  weft up samples/bookshop --detach --publish 80=127.0.0.1:9080",
		Args:    exactly(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.runUp(cmd.Context(), strings.Join(args, ""), f)
		},
	}
	c.Flags().BoolVarP(&f.detach, "detach", "d", false, "return when every pod is ready and in sync, and leave the mesh running")
	c.Flags().StringArrayVar(&f.publish, "publish", nil, "publish a gateway's port at this address of the machine, as `80=127.0.0.1:9080`; may be repeated")
	c.Flags().DurationVar(&f.timeout, "timeout", 90*time.Second, "how long starting may take")
	c.Flags().BoolVarP(&f.verbose, "verbose", "v", false, "log every step")
	c.Flags().DurationVar(&f.ttl, "certificate-ttl", 0, "lifetime of workload certificates; default: the CA's, 24h")
	c.Flags().DurationVar(&f.refresh, "jwks-refresh", 0, "how often keys of a jwksUri are fetched again; default: the pilot's, 20m")
	return c
}

func (a *app) runUp(ctx context.Context, dir string, f upFlags) error {
	opts, err := a.upOptions(ctx, dir, f)
	if err != nil {
		return err
	}
	if _, err := local.Connect(opts.Name); err == nil {
		return fmt.Errorf("a mesh named %q is already running; stop it with weft down, or give this one a --name", opts.Name)
	}
	if f.detach {
		return a.detach(ctx, opts, f)
	}
	level := slog.LevelWarn
	if f.verbose {
		level = slog.LevelDebug
	}
	slog.SetDefault(slog.New(slog.NewTextHandler(a.err, &slog.HandlerOptions{Level: level})))
	config, err := opts.Encode()
	if err != nil {
		return err
	}
	watching, done := context.WithCancel(ctx)
	defer done()
	go a.progress(watching, opts.Name, f.timeout)
	context.AfterFunc(ctx, func() {
		fmt.Fprintln(a.err, "stopping: apps first, each within its grace period; Ctrl-C again ends all at once")
	})
	err = local.Run(ctx, local.Options{
		Name: opts.Name, Config: config,
		Keep: []string{opts.Dir, opts.Agent, opts.Pilot, opts.CA, opts.Envoy},
	})
	if ctx.Err() != nil && (err == nil || errors.Is(err, context.Canceled)) {
		fmt.Fprintln(a.err, "stopped; nothing is left behind")
		return nil
	}
	return err
}

// upOptions checks what can be checked before anything starts.
func (a *app) upOptions(ctx context.Context, dir string, f upFlags) (controller.Options, error) {
	if dir == "" {
		dir = "."
	}
	abs, err := filepath.Abs(dir)
	if err != nil {
		return controller.Options{}, err
	}
	if st, err := os.Stat(abs); err != nil || !st.IsDir() {
		return controller.Options{}, usageError{fmt.Errorf("%s is not a folder", dir)}
	}
	if a.name == noMesh {
		return controller.Options{}, usageError{errors.New("--name - means the cluster; a local mesh has another name")}
	}
	o := controller.Options{Dir: abs, Name: a.name, Env: inherited(), Verbose: f.verbose, CertificateTTL: f.ttl, KeyRefresh: f.refresh}
	if o.Name == "" {
		o.Name = local.DefaultName
	}
	if o.Publish, err = parsePublish(f.publish); err != nil {
		return o, usageError{err}
	}
	for name, to := range map[string]*string{"agent": &o.Agent, "pilot": &o.Pilot, "ca": &o.CA} {
		if *to, err = sibling(name); err != nil {
			return o, err
		}
	}
	o.Envoy, err = envoybin.Ensure(ctx, func(line string) { fmt.Fprintln(a.err, line) })
	o.Env = lastOnPath(o.Env, filepath.Dir(o.Envoy))
	return o, err
}

// lastOnPath adds a folder to PATH: an app may be an Envoy with a configuration
// of its own, as in samples/plain-envoy; its image in a cluster has one.
func lastOnPath(env []string, dir string) []string {
	for i, e := range env {
		if path, ok := strings.CutPrefix(e, "PATH="); ok {
			env[i] = "PATH=" + strings.Join([]string{path, dir}, string(filepath.ListSeparator))
		}
	}
	return env
}

// inherited are the variables that apps get from the shell; no others, so that
// a pod here depends on little that a pod in a cluster would not have.
func inherited() (out []string) {
	for _, k := range []string{"PATH", "HOME", "USER", "LANG", "LC_ALL", "TMPDIR"} {
		if v, ok := os.LookupEnv(k); ok {
			out = append(out, k+"="+v)
		}
	}
	return out
}

// sibling finds another of our binaries: beside this one.
func sibling(name string) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	path := filepath.Join(filepath.Dir(self), name)
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%s is not beside %s; build them together with make build", name, self)
	}
	return path, nil
}

func parsePublish(words []string) (map[uint32]string, error) {
	out := map[uint32]string{}
	for _, w := range words {
		port, addr, ok := strings.Cut(w, "=")
		n, err := strconv.ParseUint(port, 10, 16)
		if !ok || err != nil || n == 0 || !hostPort(addr) {
			return nil, fmt.Errorf("--publish %s: write GATEWAYPORT=HOST:PORT, such as 80=127.0.0.1:9080", w)
		}
		out[uint32(n)] = addr
	}
	return out, nil
}

func hostPort(addr string) bool {
	_, port, err := net.SplitHostPort(addr)
	if err != nil {
		return false
	}
	_, err = strconv.ParseUint(port, 10, 16)
	return err == nil
}

// detach starts `weft up` again in a session of its own, and waits until the
// mesh is ready. What the other says goes into memory that dies with it.
func (a *app) detach(ctx context.Context, o controller.Options, f upFlags) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	log, err := memoryFile("weft-up.log")
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	args := []string{"up", o.Dir, "--name", o.Name, "--timeout", f.timeout.String(), "--certificate-ttl", f.ttl.String(), "--jwks-refresh", f.refresh.String()}
	for _, p := range f.publish {
		args = append(args, "--publish", p)
	}
	if f.verbose {
		args = append(args, "--verbose")
	}
	child := exec.Command(self, args...)
	child.Stdout, child.Stderr, child.SysProcAttr = log, log, ownSession()
	if err := child.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_ = child.Wait() // what it printed says more than its exit code
	}()
	waiting, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	ready := make(chan error, 1)
	go func() {
		_, err := a.follow(waiting, o.Name)
		ready <- err
	}()
	select {
	case <-ended:
		return fmt.Errorf("the mesh did not start:\n%s", tail(log))
	case err := <-ready:
		if ctx.Err() != nil {
			_ = child.Process.Signal(os.Interrupt)
			<-ended
			return errors.New("interrupted; the mesh is stopped")
		}
		return err
	}
}

func tail(log io.ReadSeeker) string {
	_, _ = log.Seek(0, io.SeekStart)
	text, _ := io.ReadAll(log)
	lines := strings.Split(strings.TrimSpace(string(bytes.TrimSpace(text))), "\n")
	return strings.Join(lines[max(0, len(lines)-30):], "\n")
}

// progress says how far a mesh in the foreground is, and then what a saved
// file breaks.
func (a *app) progress(ctx context.Context, name string, timeout time.Duration) {
	waiting, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	st, err := a.follow(waiting, name)
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		fmt.Fprintln(a.err, "warning:", err)
	default:
		fmt.Fprintln(a.err, "Ctrl-C stops it.")
	}
	a.watchTroubles(ctx, name, troubleLines(st.Troubles))
}

// follow says each pod that becomes ready, until all are or ctx ends; then it
// is an error that names those that are not, and why. The status is the last.
func (a *app) follow(ctx context.Context, name string) (controller.Status, error) {
	start := time.Now()
	said := map[string]bool{}
	var last controller.Status
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return last, notReady(last, "the mesh is not ready in time")
		case <-tick.C:
		}
		c, err := local.Connect(name)
		if err != nil {
			continue
		}
		st, err := status(ctx, c)
		if err != nil {
			continue
		}
		last = st
		for _, p := range st.Pods {
			if id := p.Namespace + "/" + p.Name; p.Ready && p.Synced != "no" && !said[id] {
				said[id] = true
				fmt.Fprintf(a.err, "  %5.1fs  %s ready\n", time.Since(start).Seconds(), id)
			}
		}
		if st.Ready {
			a.summary(st, time.Since(start))
			return st, nil
		}
		if len(st.Problems) > 0 && !slices.ContainsFunc(st.Pods, unready) {
			return st, notReady(st, "not all of the mesh can run") // waiting mends nothing
		}
	}
}

func (a *app) summary(st controller.Status, took time.Duration) {
	fmt.Fprintf(a.err, "%d pods ready and in sync after %.1f s, in mode %s\n", len(st.Pods), took.Seconds(), st.Mode)
	for _, port := range slices.Sorted(maps.Keys(st.Published)) {
		fmt.Fprintf(a.err, "gateway port %d is at %s\n", port, st.Published[port])
	}
	for _, l := range troubleLines(st.Troubles) {
		fmt.Fprintln(a.err, l)
	}
	fmt.Fprintf(a.err, "next: weft ps, weft logs POD, weft exec POD -- COMMAND\nfiles saved in %s are applied\n", st.Dir)
}

// unready reports whether a pod is still to be waited for.
func unready(p controller.PodStatus) bool { return !p.Ready || p.Synced == "no" }

func notReady(st controller.Status, what string) error {
	var b strings.Builder
	b.WriteString(what)
	for _, l := range troubleLines(st.Troubles) {
		b.WriteString("\n  " + l)
	}
	for _, p := range st.Pods {
		switch {
		case !p.Ready:
			fmt.Fprintf(&b, "\n  pod %s/%s is not ready: %s", p.Namespace, p.Name, p.Reason)
		case p.Synced == "no":
			fmt.Fprintf(&b, "\n  pod %s/%s is not in sync with the pilot", p.Namespace, p.Name)
		}
	}
	b.WriteString("\nlook at weft ps and weft logs POD [-c istio-proxy]; weft down stops it")
	return errors.New(b.String())
}
