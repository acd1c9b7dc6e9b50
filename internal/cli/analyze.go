package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/source/file"
	sourcekube "github.com/weftmesh/weft/internal/source/kube"
	"github.com/weftmesh/weft/pilot"
)

// readTimeout bounds how long a cluster may take to list its objects.
const readTimeout = time.Minute

// configuration says what is looked at: files, a cluster, or files as if they
// were applied to a cluster.
type configuration struct {
	kube
	files []string
	from  string // the namespace of the cluster that is looked at, "" for the context's
	all   bool
}

func (w *configuration) flags(c *cobra.Command) {
	w.kube.flags(c, "")
	c.Flags().StringVarP(&w.from, "namespace", "n", "", "`NAMESPACE` to look at in the cluster; default: the context's")
	c.Flags().BoolVarP(&w.all, "all-namespaces", "A", false, "look at all namespaces of the cluster")
}

// inCluster says whether a cluster is part of it.
func (w *configuration) inCluster() bool {
	return w.given() || w.from != "" || w.all || len(w.files) == 0
}

// read gives the state of all that is looked at. Objects of files take the
// place of the cluster's.
func (w *configuration) read(ctx context.Context, stdin io.Reader) (source.State, error) {
	var st source.State
	if w.inCluster() {
		if len(w.files) == 0 && !w.given() && !w.there() {
			return st, usageError{errors.New("say what to analyze: a folder or files, or a cluster by --kubeconfig or $KUBECONFIG")}
		}
		var err error
		if st, err = w.fromCluster(ctx); err != nil {
			return st, err
		}
	}
	for _, name := range w.files {
		objects, found, err := objectsOf(name, stdin)
		if err != nil {
			return st, err
		}
		for _, o := range objects {
			st.Set = st.Set.With(o)
		}
		st.Findings = append(st.Findings, found...)
	}
	return st, nil
}

// objectsOf reads a folder, a file, or the standard input ("-").
func objectsOf(name string, stdin io.Reader) (out []*config.Object, found []diag.Diagnostic, err error) {
	if name == "-" {
		text, err := io.ReadAll(stdin)
		out, found = config.Decode("standard input", text)
		return out, found, err
	}
	info, err := os.Stat(name)
	if err != nil {
		return nil, nil, err
	}
	if !info.IsDir() {
		text, err := os.ReadFile(name)
		out, found = config.Decode(name, text)
		return out, found, err
	}
	st, err := file.Read(name)
	for _, kind := range config.Kinds() {
		for _, o := range st.Set.Of(kind).All() {
			out = append(out, o)
		}
	}
	return out, st.Findings, err
}

// fromCluster reads the cluster once, as the pilot would see it.
func (w *configuration) fromCluster(ctx context.Context) (st source.State, err error) {
	config, err := w.config()
	if err != nil {
		return st, err
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return st, err
	}
	if _, err := client.Discovery().ServerVersion(); err != nil { // at once, where the source would try again and again
		return st, fmt.Errorf("cluster %s: %w", w.name(), err)
	}
	src, err := sourcekube.New(sourcekube.Options{Config: config, Namespace: w.kube.namespace, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return st, err
	}
	reading, done := context.WithTimeout(ctx, readTimeout)
	defer done()
	read := false
	err = src.Run(reading, func(first source.State) {
		if !read {
			st, read = first, true
			done()
		}
	})
	switch {
	case ctx.Err() != nil:
		return st, ctx.Err()
	case !read && err == nil:
		return st, fmt.Errorf("cluster %s: its objects could not be listed within %v; may you list them? (kubectl auth can-i list virtualservices.networking.istio.io -A)", w.name(), readTimeout)
	case !read:
		return st, err
	}
	return st, nil
}

// asked reports whether a finding is about what the user looks at: files, and
// the namespaces of the cluster that were asked for.
func (w *configuration) asked(d diag.Diagnostic) bool {
	if !w.inCluster() || w.all || d.Object.File != "" || d.Object.Namespace == "" {
		return true
	}
	return d.Object.Namespace == w.lookedAt()
}

// lookedAt is the namespace that -n names, else the context's.
func (w *configuration) lookedAt() string {
	if w.from != "" {
		return w.from
	}
	if ns, _, err := w.loader().Namespace(); err == nil {
		return ns
	}
	return "default"
}

func (a *app) analyze() *cobra.Command {
	w := &configuration{}
	c := &cobra.Command{
		Use: "analyze [DIR|FILE...]", ValidArgsFunction: folders, GroupID: "look", Short: "Say what is wrong with the objects of files, of a cluster, or of both",
		Long: "Check every object as the pilot would: form, meaning, references. Given files alone, nothing is\n" +
			"asked of a cluster, and what a local mesh could not run is said too. With --kubeconfig, --context,\n" +
			"-n or -A the files are checked as if they were applied to the cluster; without files, the cluster\n" +
			"is checked as it is. docs/diagnostics.md has every code. Exit code 1 if there is an error.",
		Example: "  weft analyze samples/bookshop\n  weft analyze -A                       # the cluster\n  weft analyze -n shop route.yaml       # the cluster with route.yaml",
		Args:    exactly(cobra.ArbitraryArgs),
		RunE: func(cmd *cobra.Command, args []string) error {
			w.files = args
			return interruptible(func([]string) error { return a.runAnalyze(cmd.Context(), w, cmd.InOrStdin()) })(cmd, args)
		},
	}
	w.flags(c)
	a.outputFlag(c, "json", "yaml")
	return c
}

func (a *app) runAnalyze(ctx context.Context, w *configuration, stdin io.Reader) error {
	st, err := w.read(ctx, stdin)
	if err != nil {
		return err
	}
	found := slices.Concat(st.Findings, pilot.Check(st.Set))
	if !w.inCluster() {
		found = append(found, controller.Check(st.Set)...)
	}
	return a.printFindings(slices.DeleteFunc(found, func(d diag.Diagnostic) bool { return !w.asked(d) }))
}

func (a *app) printFindings(found []diag.Diagnostic) error {
	diag.Sort(found)
	found = slices.Compact(found)
	failed := slices.ContainsFunc(found, func(d diag.Diagnostic) bool { return d.Severity == diag.Error })
	var err error
	switch a.output {
	case "json":
		err = a.json(append([]diag.Diagnostic{}, found...))
	case "yaml":
		err = a.yaml(append([]diag.Diagnostic{}, found...))
	default:
		for _, d := range found {
			fmt.Fprintln(a.out, findingLine(d))
		}
		if len(found) == 0 {
			fmt.Fprintln(a.out, "nothing is wrong")
		}
	}
	if err == nil && failed {
		return exitCode(1)
	}
	return err
}
