package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/injector"
	"github.com/weftmesh/weft/install"
)

// injectFlags say what to inject, and with what.
type injectFlags struct {
	kube                 kube
	file                 string
	revision             string
	offline              bool
	values, config, mesh string // files, for --offline
}

func (a *app) inject() *cobra.Command {
	f := &injectFlags{}
	c := &cobra.Command{
		Use: "inject -f FILE", Short: "Put the proxy into the pods of a file, without a webhook", GroupID: "cluster",
		Long: `Read Deployments, StatefulSets, DaemonSets, ReplicaSets, Jobs, CronJobs, Pods and Lists of
them, and print them with the proxy in their pods: what the injector of the cluster would
make of them. All other documents come out as they went in, byte for byte.`,
		Example: "  weft inject -f app.yaml | kubectl apply -f -\n  weft inject --offline -f app.yaml",
		Args:    exactly(cobra.NoArgs),
		RunE: func(c *cobra.Command, _ []string) error {
			if f.file == "" {
				return usageError{errors.New("-f FILE is missing; - is standard input")}
			}
			return a.runInject(c.Context(), f, c.InOrStdin())
		},
	}
	c.Flags().StringVarP(&f.file, "filename", "f", "", "YAML `FILE`; - is standard input")
	f.kube.flags(c, "n")
	c.Flags().StringVar(&f.revision, "revision", install.DefaultRevision, "`NAME` of the control plane to inject for")
	c.Flags().BoolVar(&f.offline, "offline", false, "ask no cluster: use the defaults of this version, and the three files below")
	c.Flags().StringVar(&f.values, "values", "", "with --offline, key values of ConfigMap istio-sidecar-injector, as a `FILE`")
	c.Flags().StringVar(&f.config, "inject-config", "", "with --offline, its key config, as a `FILE`")
	c.Flags().StringVar(&f.mesh, "mesh-config", "", "with --offline, key mesh of ConfigMap istio, as a `FILE`")
	return c
}

func (a *app) runInject(ctx context.Context, f *injectFlags, stdin io.Reader) error {
	text, err := readFile(f.file, stdin)
	if err != nil {
		return err
	}
	v, err := a.injectValues(ctx, f)
	if err != nil {
		return err
	}
	out, err := injectDocuments(text, injecting{values: v, say: func(format string, args ...any) { fmt.Fprintf(a.err, format+"\n", args...) }})
	if err != nil {
		return fmt.Errorf("%s: %w", f.file, err)
	}
	_, err = a.out.Write(out)
	return err
}

func readFile(name string, stdin io.Reader) ([]byte, error) {
	if name == "-" {
		return io.ReadAll(stdin)
	}
	return os.ReadFile(name)
}

// injectValues are those of the cluster's injector, or with --offline those of
// files.
func (a *app) injectValues(ctx context.Context, f *injectFlags) (injector.Values, error) {
	if !f.offline {
		if f.values+f.config+f.mesh != "" {
			return injector.Values{}, usageError{errors.New("--values, --inject-config and --mesh-config need --offline: else the cluster's are used")}
		}
		return f.clusterValues(ctx)
	}
	var texts [3]string
	for i, name := range []string{f.config, f.values, f.mesh} {
		if name == "" {
			continue
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return injector.Values{}, err
		}
		texts[i] = string(text)
	}
	v, err := injector.ParseConfig(texts[0], texts[1], texts[2])
	if v.Global.Tag == "" {
		v.Global.Tag = a.version
	}
	v.NativeSidecars = true
	return v, err
}

// clusterValues reads the ConfigMaps that the cluster's injector reads.
func (f *injectFlags) clusterValues(ctx context.Context) (injector.Values, error) {
	config, err := f.kube.config()
	if err != nil {
		return injector.Values{}, fmt.Errorf("%w; or inject with --offline", err)
	}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return injector.Values{}, err
	}
	ending := ""
	if f.revision != install.DefaultRevision {
		ending = "-" + f.revision
	}
	maps := client.CoreV1().ConfigMaps(f.kube.namespace)
	own, err := maps.Get(ctx, "istio-sidecar-injector"+ending, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return injector.Values{}, fmt.Errorf("no ConfigMap istio-sidecar-injector%s in namespace %s: weft install makes it, --namespace and --revision name another, and --offline needs none", ending, f.kube.namespace)
	} else if err != nil {
		return injector.Values{}, err
	}
	mesh, err := maps.Get(ctx, "istio"+ending, metav1.GetOptions{})
	if err != nil && !apierrors.IsNotFound(err) {
		return injector.Values{}, err
	}
	v, err := injector.ParseConfig(own.Data["config"], own.Data["values"], mesh.Data["mesh"])
	if err != nil {
		return injector.Values{}, err
	}
	v.NativeSidecars, err = injector.HasNativeSidecars(client.Discovery())
	return v, err
}

// injecting is one run over a file.
type injecting struct {
	values injector.Values
	say    func(format string, args ...any)
}

// injectDocuments injects each document of a YAML stream that has pods.
func injectDocuments(text []byte, in injecting) ([]byte, error) {
	var out bytes.Buffer
	for n, d := range documents(text) {
		injected, err := in.document(d.body)
		if err != nil {
			return nil, fmt.Errorf("document %d: %w", n+1, err)
		}
		out.Write(d.separator)
		out.Write(injected)
	}
	return out.Bytes(), nil
}

// document is one of a YAML stream: the line that begins it, and the rest.
type document struct{ separator, body []byte }

func documents(text []byte) (out []document) {
	d := document{}
	for line := range bytes.Lines(text) {
		if marker := bytes.TrimRight(line, " \r\n"); bytes.Equal(marker, []byte("---")) {
			if len(d.separator)+len(d.body) > 0 {
				out = append(out, d)
			}
			d = document{separator: line}
			continue
		}
		d.body = append(d.body, line...)
	}
	return append(out, d)
}

// document returns a document as it is, unless it has pods to inject.
func (in injecting) document(body []byte) ([]byte, error) {
	raw, err := yaml.YAMLToJSON(body)
	if err != nil {
		return nil, err
	}
	done, err := in.object(raw)
	if err != nil || done == nil {
		return body, err
	}
	return yaml.JSONToYAML(done)
}

// header is what is read of any object.
type header struct {
	APIVersion string            `json:"apiVersion"`
	Kind       string            `json:"kind"`
	Metadata   metav1.ObjectMeta `json:"metadata"`
	Items      []json.RawMessage `json:"items"`
}

// templates are where objects of each kind have their pods.
var templates = map[string]string{
	"v1/Pod": "", "v1/ReplicationController": "/spec/template",
	"apps/v1/Deployment": "/spec/template", "apps/v1/StatefulSet": "/spec/template",
	"apps/v1/DaemonSet": "/spec/template", "apps/v1/ReplicaSet": "/spec/template",
	"batch/v1/Job": "/spec/template", "batch/v1/CronJob": "/spec/jobTemplate/spec/template",
}

// object returns an injected object in JSON; nil if it is left as it is.
func (in injecting) object(raw []byte) ([]byte, error) {
	var h header
	if json.Unmarshal(raw, &h) != nil {
		return nil, nil //nolint:nilerr // no object of Kubernetes: not ours to judge
	}
	if h.Kind == "List" && h.APIVersion == "v1" {
		return in.list(raw, h)
	}
	at, has := templates[h.APIVersion+"/"+h.Kind]
	if !has {
		return nil, nil
	}
	name := h.Kind + " " + h.Metadata.Name
	template, err := part(raw, at)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	patch, err := in.patch(template, h, name)
	if err != nil || patch == nil {
		return nil, err
	}
	return apply(raw, at, patch)
}

func (in injecting) list(raw []byte, h header) ([]byte, error) {
	changed := false
	for i, item := range h.Items {
		done, err := in.object(item)
		if err != nil {
			return nil, err
		}
		if done != nil {
			h.Items[i], changed = done, true
		}
	}
	if !changed {
		return nil, nil
	}
	var whole map[string]json.RawMessage
	if err := json.Unmarshal(raw, &whole); err != nil {
		return nil, err
	}
	items, err := json.Marshal(h.Items)
	if err != nil {
		return nil, err
	}
	whole["items"] = items
	return json.Marshal(whole)
}

// part is what lies at a path of names.
func part(raw []byte, at string) ([]byte, error) {
	for name := range strings.SplitSeq(strings.TrimPrefix(at, "/"), "/") {
		if name == "" {
			break
		}
		var m map[string]json.RawMessage
		if err := json.Unmarshal(raw, &m); err != nil || m[name] == nil {
			return nil, fmt.Errorf("it has no %s", strings.ReplaceAll(strings.TrimPrefix(at, "/"), "/", "."))
		}
		raw = m[name]
	}
	return raw, nil
}

// patch injects a pod, or a template, which becomes one with the name of its
// owner for the time being; nil if the pod is not to be injected.
func (in injecting) patch(template []byte, h header, name string) ([]byte, error) {
	var pod corev1.Pod
	if err := json.Unmarshal(template, &pod); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	wanted, why, err := injector.Wanted(&pod, h.Metadata.Namespace, in.values)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if !wanted {
		in.say("%s is left as it is: %s", name, why)
		return nil, nil
	}
	for _, warning := range injector.Warnings(&pod) {
		in.say("%s: %s", name, warning)
	}
	patch, err := injector.PatchOwned(template, h.Metadata.Name, in.values)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return patch, nil
}

// apply applies a patch of the part of an object that lies at a path.
func apply(raw []byte, at string, patch []byte) ([]byte, error) {
	var steps []map[string]any
	if err := json.Unmarshal(patch, &steps); err != nil {
		return nil, err
	}
	for _, s := range steps {
		s["path"] = at + s["path"].(string)
	}
	moved, err := json.Marshal(steps)
	if err != nil {
		return nil, err
	}
	decoded, err := jsonpatch.DecodePatch(moved)
	if err != nil {
		return nil, err
	}
	return decoded.Apply(raw)
}
