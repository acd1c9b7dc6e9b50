package cli

import (
	"cmp"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/weftmesh/weft/internal/authz"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/pilot"
)

func (a *app) authz() *cobra.Command {
	c := &cobra.Command{
		Use: "authz", GroupID: "look", Short: "Say who may call whom, and which policy says so", Args: known,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.authzExplain())
	return c
}

func (a *app) authzExplain() *cobra.Command {
	w, q, headers := &configuration{}, &pilot.Question{}, []string{}
	c := &cobra.Command{
		Use: "explain FROM TO METHOD [PATH]", Short: "Say whether a call is allowed, by which rule, and why no other takes it",
		Long: "FROM is a pod, a Deployment, a SPIFFE URI or an IP address; TO a pod, a Deployment or a service;\n" +
			"each [NAMESPACE/]NAME. METHOD TCP is a connection that is no HTTP. The exit code is 0 where the\n" +
			"call is allowed, 3 where it is denied, 1 where that cannot be told: also where an EnvoyFilter edits what\n" +
			"asks the policies. A token is taken as right: it is not checked here, and --jwt is no secret kept.\n\n" + whichMesh,
		Example: "  weft authz explain web reviews GET /api/books -f shop/\n" +
			"  weft authz explain spiffe://cluster.local/ns/shop/sa/web shop/reviews POST /api --header 'x-user: ann'",
		Args: exactly(cobra.RangeArgs(3, 4)),
		RunE: func(cmd *cobra.Command, args []string) error {
			q.From, q.To, q.Method, q.Path = args[0], args[1], args[2], "/"
			if len(args) == 4 {
				q.Path = args[3]
			}
			q.Headers = map[string][]string{}
			for _, h := range headers {
				name, value, ok := strings.Cut(h, ":")
				if !ok {
					return usageError{fmt.Errorf("--header %q: it is 'NAME: VALUE'", h)}
				}
				q.Headers[strings.ToLower(name)] = append(q.Headers[strings.ToLower(name)], strings.TrimSpace(value))
			}
			set, err := a.questioned(cmd, w)
			if err != nil {
				return err
			}
			q.Namespace = cmp.Or(w.from, "default")
			e, err := pilot.Explain(set, *q)
			if err != nil {
				return err
			}
			return a.printExplanation(e)
		},
	}
	w.kube.flags(c, "")
	c.Flags().StringArrayVarP(&w.files, "file", "f", nil, "look into `FILE`s or folders in place of a running mesh; may be given several times")
	c.Flags().StringVarP(&w.from, "namespace", "n", "", "`NAMESPACE` of names that have none; default: default")
	c.Flags().StringArrayVar(&headers, "header", nil, "a header of the request, `'NAME: VALUE'`; may be given several times")
	c.Flags().StringVar(&q.Token, "jwt", "", "the request's JSON web `TOKEN`")
	c.Flags().StringVar(&q.Host, "host", "", "the `HOST` that the request asks for; default: TO")
	c.Flags().Uint32Var(&q.Port, "port", 0, "the pod's `PORT`; default: the first that a service leads to")
	a.outputFlag(c, "json")
	return c
}

// questioned is the configuration of files, or of the mesh that is looked into.
func (a *app) questioned(cmd *cobra.Command, w *configuration) (config.Set, error) {
	if len(w.files) == 0 {
		return a.setOf(cmd.Context(), w)
	}
	only := &configuration{files: w.files}
	st, err := only.read(cmd.Context(), cmd.InOrStdin())
	return st.Set, err
}

func (a *app) printExplanation(e pilot.Explanation) error {
	if a.output == "json" {
		if err := a.json(e); err != nil {
			return err
		}
	} else {
		a.writeExplanation(e)
	}
	switch {
	case len(e.Doubts) > 0:
		return errDoubts
	case !e.Allowed:
		return exitNo
	}
	return nil
}

var errDoubts = errors.New("the policies alone do not decide about this call; look into the proxy with weft proxy-config listeners, or try")

func (a *app) writeExplanation(e pilot.Explanation) {
	verdict := "DENIED"
	if e.Allowed {
		verdict = "ALLOWED"
	}
	if len(e.Doubts) > 0 {
		verdict = "NOT VOUCHED FOR: by its policies alone " + verdict
	}
	if e.By != "" {
		verdict += fmt.Sprintf(" by AuthorizationPolicy %s, spec.rules[%d]", e.By, e.Rule)
	}
	fmt.Fprintf(a.out, "%s: %s\n  from %s\n  to %s, port %d\n", verdict, e.Reason, e.From, e.To, e.Port)
	if len(e.Asks) > 0 {
		fmt.Fprintf(a.out, "  if these authorizers, which are asked first, say yes: %s\n", strings.Join(e.Asks, ", "))
	}
	for _, d := range e.Doubts {
		fmt.Fprintf(a.out, "  but %s, %s: %s\n", d.By, d.At, d.Why)
	}
	for _, p := range e.Policies {
		a.writePolicy(p)
	}
}

func (a *app) writePolicy(p authz.Policy) {
	what := ""
	switch {
	case p.DryRun:
		what = " (a dry run, which decides nothing)"
	case len(p.Rules) == 0:
		what = " has no rule that can take anything"
	}
	fmt.Fprintf(a.out, "\n%s %s%s\n", p.Action, p.Name, what)
	for _, r := range p.Rules {
		if r.Takes {
			fmt.Fprintf(a.out, "  rule %d takes it\n", r.Index)
			continue
		}
		fmt.Fprintf(a.out, "  rule %d does not take it:\n", r.Index)
		for _, m := range r.Misses {
			fmt.Fprintf(a.out, "    %s: %s\n", m.At, m.Why)
		}
	}
}
