package cli

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/internal/source/file"
	"github.com/weftmesh/weft/pilot"
)

func (a *app) describe() *cobra.Command {
	c := &cobra.Command{
		Use: "describe", GroupID: "look", Short: "Say what holds for a pod or service, and what is wrong with it", Args: known,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.describeOne("pod", pilot.DescribePod), a.describeOne("service", pilot.DescribeService))
	return c
}

func (a *app) describeOne(kind string, describe func(set config.Set, namespace, name string) (pilot.Description, bool)) *cobra.Command {
	w := &configuration{}
	c := &cobra.Command{
		Use: kind + " [NAMESPACE/]NAME", Short: "Say what holds for a " + kind + ", and what is wrong with it",
		Long: "Print the ports with their protocol and what says so, the mTLS mode, subsets, the objects that\n" +
			"hold for the " + kind + ", and findings about them. " + whichMesh,
		Args: exactly(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error {
			set, err := a.setOf(cmd.Context(), w)
			if err != nil {
				return err
			}
			namespace, name, ok := strings.Cut(args[0], "/")
			if !ok {
				namespace, name = w.lookedAt(), args[0]
			}
			d, ok := describe(set, namespace, name)
			if !ok {
				return fmt.Errorf("%s %s/%s: there is none; kubectl get %ss -n %s (in a local mesh weft ps) shows those that there are", kind, namespace, name, kind, namespace)
			}
			if err := a.look(cmd.Context(), w, &d); err != nil {
				fmt.Fprintln(a.err, "what connections to its ports turned out to be is not known:", err)
			}
			return a.printDescription(d)
		},
	}
	w.kube.flags(c, "")
	c.Flags().StringVarP(&w.from, "namespace", "n", "", "`NAMESPACE` of the "+kind+"; default: the context's, or default")
	a.outputFlag(c, "json", "yaml")
	return c
}

// setOf is the configuration of the mesh that is looked into.
func (a *app) setOf(ctx context.Context, w *configuration) (config.Set, error) {
	cluster, err := a.inCluster(&w.kube)
	if err != nil {
		return config.Set{}, err
	}
	if cluster {
		st, err := w.fromCluster(ctx)
		return st.Set, err
	}
	mesh, err := a.connect()
	if err != nil {
		return config.Set{}, err
	}
	st, err := status(ctx, mesh)
	if err != nil {
		return config.Set{}, err
	}
	read, err := file.Read(st.Dir)
	return withPods(read.Set, st.Pods), err
}

// withPods adds a local mesh's pods to what its folder says.
func withPods(set config.Set, pods []controller.PodStatus) config.Set {
	for _, p := range pods {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace, Labels: p.Labels}}
		if p.Workload != "" && !p.Machine {
			pod.OwnerReferences = []metav1.OwnerReference{{Kind: string(config.Deployment), Name: p.Workload}}
		}
		if o, ok := set.Of(config.Deployment).Get(p.Namespace + "/" + p.Workload); ok {
			if d, ok := o.Spec.(*appsv1.Deployment); ok {
				pod.Spec = d.Spec.Template.Spec
			}
		}
		if p.Sidecar || p.Proxyless {
			pod.Annotations = map[string]string{"sidecar.istio.io/status": "{}"}
		}
		if p.Proxyless {
			pod.Annotations[config.TemplatesAnnotation] = config.GRPCAgent
		}
		pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: p.IP, PodIPs: []corev1.PodIP{{IP: p.IP}}}
		set = set.With(&config.Object{Kind: config.Pod, Namespace: p.Namespace, Name: p.Name, Labels: pod.Labels, Annotations: pod.Annotations, Spec: pod})
	}
	return set
}

func (a *app) printDescription(d pilot.Description) error {
	switch a.output {
	case "json":
		return a.json(d)
	case "yaml":
		return a.yaml(d)
	}
	fmt.Fprintf(a.out, "%s %s/%s\n", d.Kind, d.Namespace, d.Name)
	if d.Kind == "Pod" {
		sidecar := "it has no sidecar: nothing of the mesh holds for what it sends and gets, and pods whose mTLS is STRICT refuse it"
		if d.Sidecar {
			sidecar = "identity " + d.Identity
		}
		if d.Proxyless {
			sidecar = "identity " + d.Identity + "\n  it has no proxy: its gRPC library speaks xDS, and what else it sends and gets is not the mesh's"
		}
		fmt.Fprintf(a.out, "  %s\n  services: %s\n", sidecar, cmp.Or(strings.Join(d.Services, ", "), "none"))
	} else {
		fmt.Fprintf(a.out, "  host %s\n  endpoints: %d, %d of them take the mesh's mTLS\n", d.Host, d.Endpoints, d.MTLSEndpoints)
		if d.ProxylessEndpoints > 0 {
			fmt.Fprintf(a.out, "  %d without a proxy: gRPC servers that speak xDS themselves\n", d.ProxylessEndpoints)
		}
	}
	rows := [][]string{{"PORT", "NAME", "TARGET", "PROTOCOL", "WHY", "MTLS", "BALANCER"}}
	for _, p := range d.Ports {
		rows = append(rows, []string{fmt.Sprint(p.Number), dash(p.Name), p.Target, p.Protocol, p.Why, dash(p.MTLS), dash(p.Balancer)})
	}
	if fmt.Fprintln(a.out); len(d.Ports) > 0 {
		if err := a.table(rows); err != nil {
			return err
		}
	}
	for _, p := range d.Ports {
		if p.Seen != nil {
			fmt.Fprintln(a.out, seenText(p))
		}
	}
	if d.Late != nil {
		fmt.Fprintln(a.out, lateText(d.Late))
	}
	for _, s := range d.Subsets {
		fmt.Fprintf(a.out, "\nsubset %s of %s: %d %s", s.Name, s.Rule, s.Endpoints, plural(s.Endpoints, "endpoint"))
	}
	fmt.Fprintln(a.out, "\nobjects that hold for it:")
	for _, o := range d.Objects {
		fmt.Fprintln(a.out, " ", o)
	}
	for _, f := range d.Findings {
		fmt.Fprintln(a.out, findingLine(f))
	}
	return nil
}

// plural is a word for n of what it names.
func plural(n int, word string) string {
	if n == 1 {
		return word
	}
	return word + "s"
}
