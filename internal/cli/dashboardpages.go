package cli

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/portforward"

	"github.com/weftmesh/weft/internal/dashboard"
	"github.com/weftmesh/weft/internal/local/controller"
)

// addon is a page of something that a cluster may have beside Weft.
type addon struct {
	name   string
	labels []string // selectors that find its pods, the first that finds one holds
	port   int
	path   string
}

var addons = []addon{
	{"kiali", []string{"app.kubernetes.io/name=kiali", "app=kiali"}, 20001, "kiali"},
	{"grafana", []string{"app.kubernetes.io/name=grafana", "app=grafana"}, 3000, ""},
	{"prometheus", []string{"app.kubernetes.io/name=prometheus", "app=prometheus"}, 9090, ""},
}

func (a *app) dashboardAddon(of addon) *cobra.Command {
	var f dashboardFlags
	title := strings.ToUpper(of.name[:1]) + of.name[1:]
	c := &cobra.Command{
		Use: of.name, Short: "Open the cluster's " + title,
		Long: "Forward a port of this machine's loopback to the cluster's " + title + ", as kubectl port-forward does, and open\n" +
			"it. Its pod is found by the label " + strings.Join(of.labels, " or ") + ", in any namespace. It ends with Ctrl-C.",
		Args: exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error { return a.openAddon(cmd.Context(), &f, of) },
	}
	f.kube.flags(c, "")
	c.Flags().StringVarP(&f.from, "namespace", "n", "", "`NAMESPACE` that it runs in; default: all")
	f.flags(c)
	return c
}

func (a *app) openAddon(ctx context.Context, f *dashboardFlags, of addon) error {
	p, err := f.pods()
	if err != nil {
		return err
	}
	pod, err := p.addon(ctx, of, f.from)
	if err != nil {
		return err
	}
	dialer, err := p.dialer(pod.Namespace, pod.Name)
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	forward, err := portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("%d:%d", f.port, of.port)}, ctx.Done(), ready, nil, a.err)
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-ctx.Done():
			return
		case <-ready:
		}
		ports, err := forward.GetPorts()
		if err != nil {
			return // it has ended
		}
		url := fmt.Sprintf("http://127.0.0.1:%d/%s", ports[0].Local, of.path)
		fmt.Fprintf(a.out, "%s\n%s of namespace %s; Ctrl-C ends it\n", url, pod.Name, pod.Namespace)
		if !f.noOpen {
			a.open(url)
		}
	}()
	err = forward.ForwardPorts()
	if errors.Is(err, portforward.ErrLostConnectionToPod) {
		return fmt.Errorf("pod %s/%s has gone; ask again for another", pod.Namespace, pod.Name)
	}
	return err
}

// addon finds a running pod of an addon, a ready one before others.
func (p *pods) addon(ctx context.Context, of addon, namespace string) (corev1.Pod, error) {
	for _, labels := range of.labels {
		found, err := p.running(ctx, namespace, labels)
		if err != nil {
			return corev1.Pod{}, err
		}
		if at := slices.IndexFunc(found, readyPod); at >= 0 {
			return found[at], nil
		}
		if len(found) > 0 {
			return found[0], nil
		}
	}
	where := "namespace " + namespace
	if namespace == metav1.NamespaceAll {
		where = "the cluster"
	}
	return corev1.Pod{}, fmt.Errorf("no pod with label %s runs in %s; samples/addons has manifests, and weft dashboard needs nothing installed",
		strings.Join(of.labels, " or "), where)
}

func readyPod(pod corev1.Pod) bool {
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool { return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue })
}

func (a *app) dashboardEnvoy() *cobra.Command {
	var f dashboardFlags
	c := &cobra.Command{
		Use: "envoy POD", Short: "Open the administration pages of a pod's Envoy, to read",
		Long: "Serve the administration pages of a pod's Envoy on this machine's loopback, and open them: what it was\n" +
			"configured to do, and all that it counts. They can be read only, by who knows the address that is printed. POD\n" +
			"is as in weft proxy-config.\n\n" + whichMesh,
		Args: exactly(cobra.ExactArgs(1)), ValidArgsFunction: a.podNames,
		RunE: func(cmd *cobra.Command, args []string) error { return a.openEnvoy(cmd.Context(), &f, args[0]) },
	}
	f.kube.flags(c, "")
	c.Flags().StringVarP(&f.from, "namespace", "n", "", "`NAMESPACE` of the pod; default: all")
	f.flags(c)
	return c
}

func (a *app) openEnvoy(ctx context.Context, f *dashboardFlags, name string) error {
	from, err := a.asker(ctx, &f.kube, f.from)
	if err != nil {
		return err
	}
	pod, err := find(controller.Status{Pods: from.pods}, name, f.from)
	if err != nil {
		return err
	}
	if pod.Synced == "" || pod.Proxyless {
		return fmt.Errorf("pod %s/%s has no Envoy", pod.Namespace, pod.Name)
	}
	token, once := rand.Text(), rand.Text() // what a browser is started with others can see
	return a.serve(ctx, f, dashboard.Guard(dashboard.Below(token, once, envoyPages(from.reach, pod))), token+"/", once+"/")
}

// envoyPages are those of a pod's Envoy. It changes nothing by GET.
func envoyPages(from reach, pod controller.PodStatus) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimPrefix(r.URL.EscapedPath(), "/")
		if r.URL.RawQuery != "" {
			path += "?" + r.URL.RawQuery
		}
		text, err := from.get(r.Context(), pod, adminPort, path)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		_, _ = w.Write(text) // who asked has gone
	})
}
