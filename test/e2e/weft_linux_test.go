package e2e

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/test/cluster"
)

// patience ends a wait that hangs; no test waits for it when all is well.
const patience = 90 * time.Second

// version is that of the binaries and images of a test.
const version = "v0.0.0-e2e"

// world is a cluster with the images of this tree, and a weft beside it.
type world struct {
	*testing.T
	*cluster.Cluster
	client      *kubernetes.Clientset
	any         dynamic.Interface
	weft        string
	kubectlPath string
	shop        string // the sample's program
}

func newWorld(t *testing.T, nodes int) *world {
	t.Helper()
	cluster.Require(t)
	bin, archives := cluster.Images(t, version)
	w := &world{T: t, weft: filepath.Join(bin, "weft"), shop: filepath.Join(bin, "bookshop"), Cluster: cluster.New(t, cluster.Options{Nodes: nodes, Images: archives})}
	w.kubectlPath = cluster.Kubectl(t)
	config := w.RESTConfig()
	config.WarningHandler = rest.NoWarnings{} // every kind is listed, old ones too
	var err error
	if w.client, err = w.Clientset(); err == nil {
		w.any, err = dynamic.NewForConfig(config)
	}
	if err != nil {
		t.Fatal(err)
	}
	return w
}

// run calls a program with the cluster's kubeconfig; the exit code of one that
// could run is no error.
func (w *world) run(program string, args ...string) (code int, out string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+w.Kubeconfig(), "WEFT_MESH=")
	var text bytes.Buffer
	cmd.Stdout, cmd.Stderr = &text, &text
	err := cmd.Run()
	if cmd.ProcessState == nil {
		w.Fatalf("%s: %v", program, err)
	}
	return cmd.ProcessState.ExitCode(), text.String()
}

// do calls weft, which must succeed.
func (w *world) do(args ...string) string {
	w.Helper()
	code, out := w.run(w.weft, args...)
	if code != 0 {
		w.Fatalf("weft %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// kubectl must succeed.
func (w *world) kubectl(args ...string) string {
	w.Helper()
	code, out := w.run(w.kubectlPath, args...)
	if code != 0 {
		w.Fatalf("kubectl %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// eventually waits for check to give no error.
func (w *world) eventually(what string, check func() error) {
	w.Helper()
	cluster.Eventually(w.T, patience, what, check)
}

// objects are the names of all that there is in the cluster, with labels and
// annotations of namespaces and nodes, but for what comes and goes by itself.
func (w *world) objects() map[string]bool {
	w.Helper()
	_, lists, err := w.client.Discovery().ServerGroupsAndResources()
	if err != nil {
		w.Fatal(err)
	}
	out := map[string]bool{}
	for _, l := range lists {
		gv, err := schema.ParseGroupVersion(l.GroupVersion)
		if err != nil {
			w.Fatal(err)
		}
		for _, r := range l.APIResources {
			if !slices.Contains(r.Verbs, "list") || r.Kind == "Event" || r.Kind == "ComponentStatus" || r.Kind == "APIService" {
				continue
			}
			found, err := w.any.Resource(gv.WithResource(r.Name)).List(w.Context(), metav1.ListOptions{})
			if err != nil {
				w.Fatalf("list %s: %v", r.Name, err)
			}
			for i := range found.Items {
				o := &found.Items[i]
				if o.GetNamespace() == corev1.NamespaceNodeLease {
					continue // a kubelet makes its own when it comes to it
				}
				name := strings.Join([]string{l.GroupVersion, r.Kind, o.GetNamespace(), o.GetName()}, " ")
				if r.Kind == "Namespace" || r.Kind == "Node" {
					name += fmt.Sprint(" ", o.GetLabels())
				}
				out[name] = true
			}
		}
	}
	return out
}

// difference are the names that only one of two has.
func difference(before, after map[string]bool) (out []string) {
	for name := range maps.Keys(before) {
		if !after[name] {
			out = append(out, "-"+name)
		}
	}
	for name := range maps.Keys(after) {
		if !before[name] {
			out = append(out, "+"+name)
		}
	}
	slices.Sort(out)
	return out
}
