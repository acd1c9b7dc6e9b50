package cli

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/local/controller"
)

// maxLogLine bounds what is read of a line: more than Envoy's headers may have.
const maxLogLine = 1 << 20

// proxyContainer has the proxy and its access log.
const proxyContainer = "istio-proxy"

// logsOf is one run of weft logs.
type logsOf struct {
	namespace, container string
	follow               bool
	tail                 int
	since                time.Duration
	filter               logFilter
}

func (a *app) logs() *cobra.Command {
	var k kube
	w := logsOf{}
	c := &cobra.Command{
		Use: "logs POD", ValidArgsFunction: a.podNames, GroupID: "look", Short: "Show what a pod's container printed, or the requests in its access log",
		Long: "Show what a container of a pod printed. POD is a pod, the beginning of one's name, or a Deployment.\n\n" +
			"With --path, --route, --method, --status, --flags or -o json, only lines of the proxy's access log are shown, in Istio's default\n" +
			"text format or in JSON. -o json gives both as one object a line, with the names of Istio's JSON. JSON with labels of your own\n" +
			"is read if it has response_code or response_flags; its other fields are shown as they are, and filters go by those that are called as\n" +
			"Istio's (path, method, response_code, response_flags, route_name). Text of another format cannot be read: such lines are left\n" +
			"out and counted, and the end says how many. In text a quote in a client's header leaves open where it ends: then these four are one\n" +
			"field, client_headers.\n\n" +
			"On a terminal, and with a filter, what a terminal would act upon is escaped.\n\n" + whichMesh,
		Example: "  weft logs reviews-v1\n  weft logs reviews-v1 -c istio-proxy -f --since 5m\n  weft logs reviews-v1 --status 5xx --path /api -o json\n  weft logs weft-pilot",
		Args:    exactly(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := w.check(cmd); err != nil {
				return err
			}
			if w.container == "" && (a.output != "" || !w.filter.empty()) {
				w.container = proxyContainer
			}
			from, err := a.openLogs(cmd.Context(), &k, args[0], w)
			if err != nil {
				return err
			}
			defer func() { _ = from.Close() }()
			err = a.showLogs(from, w.filter)
			if cmd.Context().Err() != nil {
				return nil // Ctrl-C ends following
			}
			return err
		},
	}
	f := c.Flags()
	f.StringVarP(&w.namespace, "namespace", "n", "", "`NAMESPACE` of the pod; default: any")
	f.StringVarP(&w.container, "container", "c", "", "`CONTAINER`; istio-proxy is the proxy; default: the app's, with a filter the proxy")
	f.BoolVarP(&w.follow, "follow", "f", false, "go on with what comes")
	f.IntVar(&w.tail, "tail", -1, "of the last `N` lines; -1: of all that is kept")
	f.DurationVar(&w.since, "since", 0, "only what was printed in the last `TIME`; 0: whenever")
	f.StringVar(&w.filter.Path, "path", "", "only requests whose path begins with `PREFIX`")
	f.StringVar(&w.filter.route, "route", "", "only requests of a route whose name begins with `PREFIX`")
	f.StringVar(&w.filter.Method, "method", "", "only requests of this `METHOD`")
	f.StringSliceVar(&w.filter.Status, "status", nil, "only requests with this `STATUS`: 503 or 5xx")
	f.StringSliceVar(&w.filter.flags, "flags", nil, "only requests with one of these response `FLAGS` of Envoy's: UO, UF, URX")
	_ = c.RegisterFlagCompletionFunc("status", cobra.FixedCompletions([]string{"2xx", "3xx", "4xx", "5xx"}, cobra.ShellCompDirectiveNoFileComp)) // fails only where there is no such flag
	k.flags(c, "")
	a.outputFlag(c, "json")
	return c
}

// check says what is wrong with the flags.
func (w *logsOf) check(cmd *cobra.Command) error {
	for _, s := range w.filter.Status {
		if s == "" || strings.Trim(s, "0123456789xX") != "" {
			return usageError{fmt.Errorf("--status %q: it is a code as 503 or a class as 5xx; an access log of Istio's has none of gRPC", s)}
		}
	}
	switch err := w.filter.Validate(); {
	case err != nil:
		return usageError{fmt.Errorf("--%w", err)}
	case w.since < 0 || w.since == 0 && cmd.Flags().Changed("since"):
		return usageError{fmt.Errorf("--since %v: it must be more than 0, such as 5m", w.since)}
	case w.tail < -1:
		return usageError{fmt.Errorf("--tail %d: it is a number of lines, or -1", w.tail)}
	}
	return nil
}

// openLogs asks for what a container printed.
func (a *app) openLogs(ctx context.Context, k *kube, name string, w logsOf) (io.ReadCloser, error) {
	cluster, err := a.inCluster(k)
	if err != nil {
		return nil, err
	}
	if cluster {
		p, err := k.pods()
		if err != nil {
			return nil, err
		}
		return p.logs(ctx, name, w)
	}
	mesh, p, err := a.pod(ctx, name, w.namespace)
	if err != nil {
		return nil, err
	}
	q := url.Values{
		"namespace": {p.Namespace}, "pod": {p.Name}, "process": {cmp.Or(w.container, p.Main)}, "follow": {strconv.FormatBool(w.follow)}, "tail": {strconv.Itoa(w.tail)},
	}
	if w.since > 0 {
		q.Set("since", strconv.FormatFloat(w.since.Seconds(), 'f', -1, 64))
	}
	return follow(ctx, mesh, "/v1/logs?"+q.Encode())
}

// logs asks the API server.
func (p *pods) logs(ctx context.Context, name string, w logsOf) (io.ReadCloser, error) {
	namespace := w.namespace
	if ns, n, ok := strings.Cut(name, "/"); ok {
		namespace, name = ns, n
	}
	all, err := p.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	var st controller.Status
	for i := range all.Items {
		st.Pods = append(st.Pods, podStatus(&all.Items[i]))
	}
	found, err := find(st, name, namespace)
	if err != nil {
		return nil, errors.New(strings.ReplaceAll(err.Error(), "weft ps lists them", "kubectl get pods -A lists them"))
	}
	for i := range all.Items {
		if pod := &all.Items[i]; pod.Namespace == found.Namespace && pod.Name == found.Name {
			return p.client.CoreV1().Pods(pod.Namespace).GetLogs(pod.Name, w.options(pod)).Stream(ctx)
		}
	}
	return nil, fmt.Errorf("pod %q: there is none", name)
}

// options are w as Kubernetes has them. Source: core/v1 PodLogOptions.
func (w logsOf) options(pod *corev1.Pod) *corev1.PodLogOptions {
	out := &corev1.PodLogOptions{Container: cmp.Or(w.container, mainContainer(pod)), Follow: w.follow}
	if w.tail >= 0 {
		lines := int64(w.tail)
		out.TailLines = &lines
	}
	if w.since > 0 {
		seconds := int64(math.Ceil(w.since.Seconds()))
		out.SinceSeconds = &seconds
	}
	return out
}

// mainContainer is the one that is meant when none is named: as kubectl has it, but
// a proxy only where there is nothing else.
func mainContainer(pod *corev1.Pod) string {
	if name := pod.Annotations["kubectl.kubernetes.io/default-container"]; name != "" {
		return name
	}
	for _, c := range pod.Spec.Containers {
		if c.Name != proxyContainer {
			return c.Name
		}
	}
	return proxyContainer
}

// showLogs prints what is wanted of a log.
func (a *app) showLogs(from io.Reader, f logFilter) error {
	out, onTerminal := a.out.(*os.File)
	onTerminal = onTerminal && term.IsTerminal(int(out.Fd()))
	access := a.output == "json" || !f.empty()
	if !access && !onTerminal {
		_, err := io.Copy(a.out, from)
		return err
	}
	others := 0
	err := eachLine(from, func(line []byte) error {
		if !access {
			_, err := io.WriteString(a.out, terminalLine(string(line))+"\n")
			return err
		}
		request, is := parseAccess(line)
		if !is {
			others++
			return nil
		}
		if !f.match(request) {
			return nil
		}
		return a.showRequest(line, request)
	})
	if others > 0 {
		fmt.Fprintf(a.err, "%d %s left out: no access log in Istio's text format or in JSON\n", others, plural(others, "line"))
	}
	return err
}

func (a *app) showRequest(line []byte, request accessLine) error {
	text := terminalLine(string(line))
	if a.output == "json" {
		object, err := json.Marshal(request)
		if err != nil {
			return err
		}
		text = escapeJSON(object)
	}
	_, err := io.WriteString(a.out, text+"\n")
	return err
}

// eachLine gives each line without its end. Of one that is too long only the
// beginning.
func eachLine(from io.Reader, take func([]byte) error) error {
	in := bufio.NewReaderSize(from, maxLogLine)
	for rest := false; ; {
		line, err := in.ReadSlice('\n')
		if len(line) > 0 && !rest {
			if err := take(bytes.TrimRight(line, "\r\n")); err != nil {
				return err
			}
		}
		rest = errors.Is(err, bufio.ErrBufferFull)
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil && !rest:
			return err
		}
	}
}
