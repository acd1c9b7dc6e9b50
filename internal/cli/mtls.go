package cli

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/pilot"
)

// exitNo is the exit code of a question whose answer is no, where 1 would be
// that it could not be asked.
const (
	exitNo     = exitCode(3)
	exitUntold = exitCode(1)
)

func (a *app) mtls() *cobra.Command {
	c := &cobra.Command{
		Use: "mtls", GroupID: "look", Short: "Say who still calls in plaintext, and what STRICT would break", Args: known,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.mtlsStatus())
	return c
}

// mtlsStatus is what the command was given.
type mtlsStatus struct {
	configuration
	workload string
	whatIf   []string
	since    time.Duration
}

func (a *app) mtlsStatus() *cobra.Command {
	w := &mtlsStatus{}
	c := &cobra.Command{
		Use: "status [WORKLOAD]", Short: "Say which mTLS modes hold, who calls in plaintext, and what STRICT would break",
		Long: "List the ports of every workload with the mode that holds and the PeerAuthentication that says so;\n" +
			"then whom STRICT would refuse: callers that the servers' proxies have seen without the mesh's mTLS,\n" +
			"DestinationRules that turn it off, probes and scrapes in plaintext, Services for clients outside.\n" +
			"STRICT is meant for all namespaces, but for ports whose mode a PeerAuthentication with a selector\n" +
			"says; with --what-if it is what the FILE changes. Callers are told by their address, the first 64 of\n" +
			"a port. The exit code is 0 if nothing would break, 3 if something would, 1 if it cannot be told, as\n" +
			"where a proxy did not answer or is a machine's, which is not asked.\n\n" + whichMesh,
		Example: "  weft mtls status\n  weft mtls status reviews-v1 -n shop --since 24h\n  weft mtls status --what-if strict.yaml",
		Args:    exactly(cobra.MaximumNArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				w.workload = args[0]
			}
			return a.runMTLS(cmd, w)
		},
	}
	w.kube.flags(c, "")
	c.Flags().StringVarP(&w.from, "namespace", "n", "", "`NAMESPACE` that is looked at; default: all")
	c.Flags().StringArrayVarP(&w.whatIf, "what-if", "f", nil, "what would hold if the objects of `FILE` or folder were applied; may be given several times")
	c.Flags().DurationVar(&w.since, "since", 0, "leave out callers whose last call is `TIME` ago or more; default: none")
	a.outputFlag(c, "json")
	return c
}

func (a *app) runMTLS(cmd *cobra.Command, w *mtlsStatus) error {
	if ns, name, ok := strings.Cut(w.workload, "/"); ok {
		w.from, w.workload = ns, name
	}
	q, err := a.plainCalls(cmd.Context(), w)
	if err != nil {
		return err
	}
	q.Calls = recent(q.Calls, w.since, time.Now())
	if len(w.whatIf) > 0 {
		then := q.Now
		for _, name := range w.whatIf {
			objects, found, err := objectsOf(name, cmd.InOrStdin())
			if err != nil {
				return err
			}
			for _, f := range found {
				fmt.Fprintln(a.err, findingLine(f))
			}
			for _, o := range objects {
				then = then.With(o)
			}
		}
		q.Then = &then
	}
	return a.printMTLS(pilot.MTLS(q), w)
}

// recent are the calls of whom the last is not too long ago, or not known.
func recent(calls []pilot.PlainCalls, since time.Duration, now time.Time) (out []pilot.PlainCalls) {
	for _, c := range calls {
		if since == 0 || c.Last.IsZero() || c.Last.After(now.Add(-since)) {
			out = append(out, c)
		}
	}
	return out
}

func (a *app) printMTLS(s pilot.MTLSStatus, w *mtlsStatus) error {
	if len(s.Workloads) == 0 && (w.workload != "" || w.from != "") {
		return fmt.Errorf("no workload %s in namespace %s has a sidecar; weft mtls status without a name lists those that have", cmp.Or(w.workload, "at all"), cmp.Or(w.from, "any"))
	}
	breaks := 0
	for _, one := range s.Workloads {
		breaks += len(one.Breaks)
	}
	if a.output == "json" {
		if err := a.json(s); err != nil {
			return err
		}
	} else if err := a.writeMTLS(s, w, breaks); err != nil {
		return err
	}
	if breaks > 0 {
		return exitNo
	}
	if len(s.Unanswered) > 0 {
		return exitUntold
	}
	return nil
}

func (a *app) writeMTLS(s pilot.MTLSStatus, w *mtlsStatus, breaks int) error {
	then, would := "IF STRICT", "STRICT would break nothing that is known of"
	if len(w.whatIf) > 0 {
		then, would = "THEN", "it would break nothing that is known of"
	}
	rows := [][]string{{"WORKLOAD", "PORT", "MTLS", "SAID BY", then}}
	for _, one := range s.Workloads {
		rows = append(rows, portRows(one)...)
	}
	if err := a.table(rows); err != nil {
		return err
	}
	a.writeBreaks("\nwould be refused:", s.Workloads, func(one pilot.MTLSWorkload) []pilot.MTLSBreak { return one.Breaks })
	a.writeBreaks("\nwithout mTLS at ports that are STRICT, where it is refused:", s.Workloads, func(one pilot.MTLSWorkload) []pilot.MTLSBreak { return one.Refused })
	if len(s.Bare) > 0 {
		fmt.Fprintf(a.out, "\nwithout a sidecar, so that every STRICT port refuses them: %s\n", strings.Join(s.Bare, ", "))
	}
	switch {
	case len(s.Unanswered) > 0:
		fmt.Fprintf(a.out, "\nnot asked, or without an answer, so that who calls them is not known: %s\n", figures.Printable(strings.Join(s.Unanswered, ", "), 2000))
	case breaks == 0:
		fmt.Fprintln(a.out, "\n"+would)
	}
	return nil
}

// portRows are a line for each port, or one where all are alike.
func portRows(w pilot.MTLSWorkload) (rows [][]string) {
	alike := true
	for _, p := range w.Ports {
		row := []string{w.Namespace + "/" + w.Name, portName(p.Port), mode(p), cmp.Or(p.By, "-"), outcome(w, p)}
		alike = alike && (len(rows) == 0 || slices.Equal(row[2:], rows[0][2:]))
		rows = append(rows, row)
	}
	if alike && len(rows) > 0 {
		rows = rows[:1]
		rows[0][1] = "all"
	}
	return rows
}

func portName(port uint32) string {
	if port == 0 {
		return "other"
	}
	return fmt.Sprint(port)
}

func mode(p pilot.MTLSPort) string {
	if p.Uncaptured != "" {
		return "not captured"
	}
	return p.Mode
}

// outcome is what becomes of a port.
func outcome(w pilot.MTLSWorkload, p pilot.MTLSPort) string {
	n := 0
	for _, b := range w.Breaks {
		if b.Port == p.Port {
			n++
		}
	}
	switch {
	case p.Uncaptured != "":
		return "no proxy sees it: " + p.Uncaptured
	case n > 0:
		return fmt.Sprintf("breaks %d", n)
	case p.Mode == p.Then:
		return "stays"
	case p.Then == "STRICT":
		return "fine"
	}
	return p.Then
}

func (a *app) writeBreaks(title string, all []pilot.MTLSWorkload, of func(pilot.MTLSWorkload) []pilot.MTLSBreak) {
	for _, w := range all {
		for _, b := range of(w) {
			if title != "" {
				fmt.Fprintln(a.out, title)
				title = ""
			}
			fmt.Fprintf(a.out, "  %s/%s, port %s: %s%s\n      %s\n", w.Namespace, w.Name, portName(b.Port), b.What, times(b.Seen), b.Cure)
		}
	}
}

// times says how often somebody was seen, and when last.
func times(c *pilot.PlainCalls) string {
	if c == nil {
		return ""
	}
	out := fmt.Sprintf(": %d %s", c.Calls, plural(int(c.Calls), "time"))
	if !c.Last.IsZero() {
		out += ", last at " + c.Last.UTC().Format(time.RFC3339)
	}
	return out
}

// plainCalls is a question with the configuration of the mesh, with whole pods,
// and with what its proxies have counted.
func (a *app) plainCalls(ctx context.Context, w *mtlsStatus) (q pilot.MTLSQuestion, err error) {
	set, err := a.setOf(ctx, &w.configuration)
	if err != nil {
		return q, err
	}
	from, err := a.asker(ctx, &w.kube, w.from)
	if err != nil {
		return q, err
	}
	whole, err := a.wholePods(ctx, w)
	if err != nil {
		return q, err
	}
	for i := range whole {
		p := &whole[i]
		if o, ok := set.Of(config.Pod).Get(p.Namespace + "/" + p.Name); ok {
			one := *o
			one.Spec, one.Annotations = p, p.Annotations
			set = set.With(&one)
		}
	}
	calls, answered, err := from.counted(ctx, w, a.err)
	return pilot.MTLSQuestion{Now: set, Namespace: w.from, Workload: w.workload, Calls: calls, Answered: answered}, err
}

// wholePods are those of a cluster with their probes, which the pilot does not
// keep; of a local mesh there are none.
func (a *app) wholePods(ctx context.Context, w *mtlsStatus) ([]corev1.Pod, error) {
	cluster, err := a.inCluster(&w.kube)
	if err != nil || !cluster {
		return nil, err
	}
	p, err := w.kube.pods()
	if err != nil {
		return nil, err
	}
	all, err := p.client.CoreV1().Pods(w.from).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	return all.Items, nil
}
