package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/internal/tap"
)

// Bounds of watching: proxies at a time, how soon pods that have come since are
// watched too, and what one line may have.
const (
	maxTapped  = 64
	tapRefresh = 5 * time.Second
	maxTapLine = 1 << 20
)

// tapping is one run of weft tap.
type tapping struct {
	a       *app
	reach   reach
	wanted  podChoice
	filter  tap.Filter
	most    int // entries; 0: until interrupted
	refresh time.Duration
	shown   int
	open    map[string]bool                 // by NAMESPACE/POD
	said    map[string]string               // what was said of pods that cannot be watched
	known   map[string]controller.PodStatus // by address
	notices chan tapNotice
}

// tapNotice is what comes of one pod: that it is watched, an entry, or that it is no
// longer watched and why.
type tapNotice struct {
	pod   controller.PodStatus
	entry *tap.Entry
	ended bool
	err   error
}

func (a *app) tap() *cobra.Command {
	var k kube
	var namespace string
	var status []string
	t := &tapping{a: a, refresh: tapRefresh}
	c := &cobra.Command{
		Use: "tap {POD|SERVICE|WORKLOAD}", ValidArgsFunction: a.podNames, GroupID: "look", Short: "Watch requests and TCP connections as they end, with route, policy and timing",
		Long: "Watch requests when they end, and TCP connections when they are made and when they end, as the proxies of a\n" +
			"pod, a Service or a workload see them. Nothing is restarted, and proxies tell nothing while nobody watches. Each\n" +
			"line: when it began, in or out, from > to, what was asked, code and flags, duration, bytes of the request and\n" +
			"of the answer, and what else is known. What is too fast to be shown is left out, and counted. NAME may say its\n" +
			"kind (pod/NAME, svc/NAME, deploy/NAME); Ctrl-C ends it.\n\n" + whichMesh,
		Example: "  weft tap reviews\n  weft tap deploy/frontend -n shop --path /api --status 5xx\n  weft tap svc/reviews --method POST --max 10 -o json",
		Args:    exactly(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if t.most < 0 {
				return usageError{fmt.Errorf("--max %d: it may not be negative", t.most)}
			}
			t.filter.Status = status
			if err := t.filter.Validate(); err != nil {
				return usageError{fmt.Errorf("--%w", err)}
			}
			if t.reach, err = a.reach(&k, namespace); err != nil {
				return err
			}
			if t.wanted, err = t.reach.choose(cmd.Context(), args[0], namespace); err != nil {
				return err
			}
			return t.run(cmd.Context())
		},
	}
	f := c.Flags()
	f.StringVarP(&namespace, "namespace", "n", "", "`NAMESPACE` of the pods; default: any")
	f.StringVar(&t.filter.Path, "path", "", "only requests whose path begins with `PREFIX`")
	f.StringVar(&t.filter.Method, "method", "", "only requests of this `METHOD`")
	f.StringSliceVar(&status, "status", nil, "only requests with this `STATUS`: 503, 5xx, or of gRPC as Unavailable")
	f.IntVar(&t.most, "max", 0, "end after `N` entries; 0: never")
	_ = c.RegisterFlagCompletionFunc("method", cobra.FixedCompletions([]string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS"}, cobra.ShellCompDirectiveNoFileComp)) // fails only where there is no such flag
	_ = c.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"2xx", "3xx", "4xx", "5xx"}, cobra.ShellCompDirectiveNoFileComp))
	k.flags(c, "")
	a.outputFlag(c, "json")
	return c
}

// run watches until it is told to end. That Ctrl-C ended it is no failure.
func (t *tapping) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	t.open, t.said, t.notices = map[string]bool{}, map[string]string{}, make(chan tapNotice)
	if err := t.attach(ctx); err != nil {
		return err
	}
	tick := time.NewTicker(t.refresh)
	defer tick.Stop()
	for waiting := maps.Clone(t.open); ; {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			if len(waiting) > 0 {
				continue // for the pods that were there at first
			}
			if err := t.attach(ctx); err != nil && ctx.Err() == nil {
				t.say("", err)
			}
		case n := <-t.notices:
			if n.entry != nil {
				if err := t.show(n); err != nil || t.shown == t.most {
					return err
				}
				continue
			}
			if n.ended {
				delete(t.open, podName(n.pod))
				t.say(podName(n.pod), n.err)
			}
			if waiting[podName(n.pod)] {
				if delete(waiting, podName(n.pod)); len(waiting) > 0 {
					continue
				}
				if err := t.begun(n.err); err != nil {
					return err
				}
			}
		}
	}
}

// begun says who is watched, once all have answered; an error if that is nobody.
func (t *tapping) begun(last error) error {
	if len(t.open) == 0 {
		return last
	}
	fmt.Fprintf(t.a.err, "watching %d %s: %s\n", len(t.open), plural(len(t.open), "pod"), strings.Join(slices.Sorted(maps.Keys(t.open)), ", "))
	return nil
}

// attach watches the wanted pods that are not watched yet. The error is that the
// mesh does not answer.
func (t *tapping) attach(ctx context.Context) error {
	asking, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	all, err := t.reach.list(asking)
	if err != nil {
		return err
	}
	t.known = byAddress(all)
	// What comes from a node's address may be of anything there, the kubelet too.
	maps.DeleteFunc(t.known, func(_ string, p controller.PodStatus) bool { return p.HostNetwork })
	left := 0
	for _, p := range all {
		switch {
		case !t.wanted.takes(p) || t.open[podName(p)] || p.Synced == "" || p.Proxyless:
		case len(t.open) >= maxTapped:
			left++
		default:
			t.open[podName(p)] = true
			go t.follow(ctx, p)
		}
	}
	if left > 0 {
		t.say("", fmt.Errorf("%d pods more are not watched: at most %d are", left, maxTapped))
	}
	return nil
}

// say says each thing once of each pod, "" for none.
func (t *tapping) say(pod string, err error) {
	if err == nil || t.said[pod] == err.Error() {
		return
	}
	t.said[pod] = err.Error()
	if pod != "" {
		pod += " is not watched: "
	}
	fmt.Fprintln(t.a.err, figures.Printable(pod+err.Error(), 500))
}

// follow passes on what one pod's agent tells, until it ends.
func (t *tapping) follow(ctx context.Context, p controller.PodStatus) {
	err := t.read(ctx, p)
	t.notify(ctx, tapNotice{pod: p, ended: true, err: err})
}

func (t *tapping) notify(ctx context.Context, n tapNotice) {
	select {
	case <-ctx.Done():
	case t.notices <- n:
	}
}

func (t *tapping) read(ctx context.Context, p controller.PodStatus) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Only the beginning of the answer may take no longer: it has no end.
	limit := time.AfterFunc(patience, cancel)
	body, err := t.reach.stream(ctx, p, tap.Path+"?"+t.filter.Query())
	late := !limit.Stop()
	if err == nil {
		defer func() { _ = body.Close() }()
	}
	var refused notOK
	switch {
	case late:
		return fmt.Errorf("its agent does not answer within %v", patience)
	case errors.As(err, &refused) && refused.code == http.StatusNotFound:
		return fmt.Errorf("its agent is of a version without tap; restart the pod (%w)", err)
	case err != nil:
		return err
	}
	t.notify(ctx, tapNotice{pod: p})
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, maxTapLine)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			continue
		}
		e := &tap.Entry{}
		if err := json.Unmarshal(lines.Bytes(), e); err != nil {
			return fmt.Errorf("its agent's answer: %w", err)
		}
		t.notify(ctx, tapNotice{pod: p, entry: e})
	}
	if err := lines.Err(); err != nil {
		return err
	}
	return errors.New("its proxy has ended, or left us for taking nothing")
}

// show prints an entry, with the pods that are at its addresses.
func (t *tapping) show(n tapNotice) error {
	for _, peer := range []*tap.Peer{&n.entry.From, &n.entry.To} {
		host, _, _ := net.SplitHostPort(peer.Address)
		if p, there := t.known[host]; there && peer.Pod == "" && (peer.Namespace == "" || peer.Namespace == p.Namespace) {
			peer.Namespace, peer.Workload, peer.Pod = p.Namespace, p.Workload, p.Name
		}
	}
	t.shown++
	if t.a.output == "json" {
		return printLine(t.a.out, podName(n.pod), n.entry)
	}
	_, err := io.WriteString(t.a.out, tapText(n.entry)+"\n")
	return err
}

func podName(p controller.PodStatus) string { return p.Namespace + "/" + p.Name }
