package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/config/machine"
)

// workloadFlags are those of weft workload add and token.
type workloadFlags struct {
	kube
	in       string // namespace of the group
	address  string
	name     string
	dir      string
	lifetime time.Duration
	pilot    string
	ca       string
}

func (a *app) workload() *cobra.Command {
	c := &cobra.Command{
		Use: "workload", GroupID: "cluster", Short: "Let processes join the mesh that run outside of its pods",
		Args: known, RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.workloadAdd(), a.workloadToken(), a.workloadRun())
	return c
}

func (a *app) workloadAdd() *cobra.Command {
	var f workloadFlags
	c := &cobra.Command{
		Use: "add GROUP --address IP", Short: "Give a machine a place in a WorkloadGroup, and write what it needs to join",
		Long: "Make a WorkloadEntry of the WorkloadGroup's template for the machine at an address, and write\n" +
			"a folder that the machine joins with: its token, the mesh's roots, and start.sh, which captures\n" +
			"the machine's traffic and runs the agent with Envoy. The machine must reach the pilot, the CA\n" +
			"and the pods by their addresses, and be reached by them.\n\n" +
			"The folder proves who the machine is: copy it as you would a private key. Deleting the\n" +
			"WorkloadEntry takes all its rights back: the certificate ends by itself, within ca.ttl.",
		Example: "  weft workload add legacy -n shop --address 192.0.2.7 --dir machine",
		Args:    exactly(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.addWorkload(cmd.Context(), &f, args[0]) },
	}
	f.register(c)
	c.Flags().StringVar(&f.address, "address", "", "`IP` of the machine, by which pods reach it")
	c.Flags().StringVar(&f.pilot, "pilot", "", "`HOST:PORT` at which the machine reaches the pilot; default: Service weft-pilot-outside")
	c.Flags().StringVar(&f.ca, "ca", "", "`HOST:PORT` at which the machine reaches the CA; default: Service weft-ca-outside")
	c.Flags().StringVar(&f.name, "entry", "", "`NAME` of the WorkloadEntry; default: GROUP-ADDRESS")
	return c
}

func (a *app) workloadToken() *cobra.Command {
	var f workloadFlags
	c := &cobra.Command{
		Use: "token ENTRY", Short: "Write a new token for a machine that weft workload add made",
		Args: exactly(cobra.ExactArgs(1)),
		RunE: func(cmd *cobra.Command, args []string) error { return a.renewWorkload(cmd.Context(), &f, args[0]) },
	}
	f.register(c)
	return c
}

func (f *workloadFlags) register(c *cobra.Command) {
	f.kube.flags(c, "")
	c.Flags().StringVarP(&f.in, "namespace", "n", "default", "`NAMESPACE` of the WorkloadGroup")
	c.Flags().StringVar(&f.dir, "dir", "", "`FOLDER` to write; default: the WorkloadEntry's name")
	c.Flags().DurationVar(&f.lifetime, "token-lifetime", 720*time.Hour, "how long the token serves; the API server may grant less")
}

// Kinds of a machine. Source: istio.io/api networking/v1.
var (
	groupKind = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "workloadgroups"}
	entryKind = schema.GroupVersionResource{Group: "networking.istio.io", Version: "v1", Resource: "workloadentries"}
)

// Names of what the control plane publishes and serves, as the chart has them.
const (
	rootsConfig   = "istio-ca-root-cert"
	rootsKey      = "root-cert.pem"
	outsidePort   = "15012"
	tokenAudience = "istio-ca"
)

// outside makes what machines need, in one cluster.
type outside struct {
	*workloadFlags
	any    dynamic.Interface
	client kubernetes.Interface
}

func (f *workloadFlags) open() (*outside, error) {
	config, err := f.config()
	if err != nil {
		return nil, err
	}
	o := &outside{workloadFlags: f}
	if o.any, err = dynamic.NewForConfig(config); err == nil {
		o.client, err = kubernetes.NewForConfig(config)
	}
	return o, err
}

func (a *app) addWorkload(ctx context.Context, f *workloadFlags, group string) error {
	address, err := netip.ParseAddr(f.address)
	if err != nil {
		return usageError{fmt.Errorf("--address %q is not an IP address", f.address)}
	}
	o, err := f.open()
	if err != nil {
		return err
	}
	if f.name == "" {
		f.name = machine.EntryName(group, address)
	}
	if o.dir == "" {
		o.dir = f.name
	}
	entry, there, err := o.entry(ctx, group, address)
	if err != nil {
		return err
	}
	m, err := o.folder(ctx, entry) // what is wrong is said before clients are sent to the machine
	if err != nil {
		return err
	}
	if !there {
		if entry, err = o.any.Resource(entryKind).Namespace(o.in).Create(ctx, entry, metav1.CreateOptions{}); err != nil {
			return err
		}
	}
	fmt.Fprintf(a.out, "WorkloadEntry %s/%s of group %s stands for %s\n", f.in, entry.GetName(), group, address)
	if err := o.prove(ctx, entry, m); err != nil {
		return err
	}
	if err := m.write(o.dir); err != nil {
		return err
	}
	a.sayToken(o.dir, m)
	if m.Unread != "" {
		fmt.Fprintf(a.err, "its proxy has not what the mesh's ProxyConfigs say: %s\n", m.Unread)
	}
	fmt.Fprintf(a.out, "next: copy %s to the machine, with the programs agent, capture and envoy on its PATH, and run there, as root:\n  %s/start.sh\n", o.dir, o.dir)
	return nil
}

func (a *app) renewWorkload(ctx context.Context, f *workloadFlags, name string) error {
	o, err := f.open()
	if err != nil {
		return err
	}
	if o.dir == "" {
		o.dir = name
	}
	if _, err := os.Stat(filepath.Join(o.dir, startScript)); err != nil {
		return fmt.Errorf("%w: --dir is the folder that weft workload add wrote", err)
	}
	entry, err := o.any.Resource(entryKind).Namespace(f.in).Get(ctx, name, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("WorkloadEntry %s/%s: %w", f.in, name, err)
	}
	m := &joining{}
	if err := o.prove(ctx, entry, m); err != nil {
		return err
	}
	if err := m.renew(o.dir); err != nil {
		return err
	}
	a.sayToken(o.dir, m)
	return nil
}

func (a *app) sayToken(dir string, m *joining) {
	fmt.Fprintf(a.out, "%s holds its token, good until %s, and the mesh's roots: keep it as a private key\n", dir, m.tokenEnds.Local().Format(time.DateTime))
}

// entry is the WorkloadEntry of a machine: the one there is, or one to make.
func (o *outside) entry(ctx context.Context, group string, address netip.Addr) (entry *unstructured.Unstructured, there bool, err error) {
	g, err := o.any.Resource(groupKind).Namespace(o.in).Get(ctx, group, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, false, fmt.Errorf("there is no WorkloadGroup %s in namespace %s; kubectl get workloadgroups -A lists them", group, o.in)
	} else if err != nil {
		return nil, false, err
	}
	want, err := machine.Entry(g, o.name, address)
	if err != nil {
		return nil, false, err
	}
	entry, err = o.any.Resource(entryKind).Namespace(o.in).Get(ctx, o.name, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return want, false, nil
	} else if err != nil {
		return nil, false, err
	}
	at, _, _ := unstructured.NestedString(entry.Object, "spec", "address")
	if entry.GetAnnotations()[config.GroupOf] != group || at != address.Unmap().String() {
		return nil, false, fmt.Errorf("WorkloadEntry %s/%s is there already, for %s: delete it, or choose another name with --entry", o.in, o.name, at)
	}
	said := entry.GetAnnotations()
	said[config.ProxyAnnotation] = want.GetAnnotations()[config.ProxyAnnotation] // the group's may have been corrected
	entry.SetAnnotations(said)
	return entry, true, nil
}

// folder gathers what the machine of an entry needs, but for what prove does.
func (o *outside) folder(ctx context.Context, entry *unstructured.Unstructured) (*joining, error) {
	account := machine.Account(entry)
	address, _, _ := unstructured.NestedString(entry.Object, "spec", "address")
	labels, _, _ := unstructured.NestedStringMap(entry.Object, "spec", "labels")
	text, err := json.Marshal(labels)
	if err != nil {
		return nil, err
	}
	m := &joining{Entry: entry.GetName(), Namespace: o.in, Account: account, Address: address, Labels: string(text), Group: entry.GetAnnotations()[config.GroupOf], System: o.kube.namespace}
	if m.Probe, err = o.probe(ctx, m.Group); err != nil {
		return nil, err
	}
	if err := o.control(ctx, m); err != nil {
		return nil, err
	}
	return m, o.configure(ctx, entry, m)
}

// prove fills in what changes: roots and token.
func (o *outside) prove(ctx context.Context, entry *unstructured.Unstructured, m *joining) error {
	roots, err := o.client.CoreV1().ConfigMaps(o.in).Get(ctx, rootsConfig, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("the mesh's roots: %w; weft check says whether the CA publishes them", err)
	}
	m.roots = []byte(roots.Data[rootsKey])
	token, err := o.token(ctx, entry, machine.Account(entry))
	if err != nil {
		return err
	}
	m.token, m.tokenEnds = token.Token, token.ExpirationTimestamp.Time
	return nil
}

// probe is the JSON of a group's probe; "" if it has none, or there is no such
// group.
func (o *outside) probe(ctx context.Context, group string) (string, error) {
	g, err := o.any.Resource(groupKind).Namespace(o.in).Get(ctx, group, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", nil
	} else if err != nil {
		return "", err
	}
	probe := machine.Probe(g)
	if probe == nil {
		return "", nil
	}
	text, err := json.Marshal(probe)
	return string(text), err
}

// control finds where the machine reaches the control plane.
func (o *outside) control(ctx context.Context, m *joining) (err error) {
	m.Pilot, m.CA = o.pilot, o.ca
	if m.Pilot == "" {
		if m.Pilot, err = o.reach(ctx, "weft-pilot-outside", "--pilot"); err != nil {
			return err
		}
	}
	if m.CA == "" {
		m.CA, err = o.reach(ctx, "weft-ca-outside", "--ca")
	}
	return err
}

func (o *outside) reach(ctx context.Context, service, flag string) (string, error) {
	s, err := o.client.CoreV1().Services(o.kube.namespace).Get(ctx, service, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return "", fmt.Errorf("nothing outside of the cluster reaches the control plane: there is no Service %s/%s; weft upgrade --set outside.type=LoadBalancer makes it, or name an address with %s HOST:PORT", o.kube.namespace, service, flag)
	} else if err != nil {
		return "", err
	}
	for _, at := range s.Status.LoadBalancer.Ingress {
		if host := at.IP + at.Hostname; host != "" {
			return net.JoinHostPort(host, outsidePort), nil
		}
	}
	return "", fmt.Errorf("Service %s/%s has no address of a load balancer: name one with %s HOST:PORT (of type %s, port 15012 is node port %d)", o.kube.namespace, service, flag, s.Spec.Type, nodePort(s))
}

func nodePort(s *corev1.Service) int32 {
	if len(s.Spec.Ports) == 0 {
		return 0
	}
	return s.Spec.Ports[0].NodePort
}

// token asks for one that is bound to the entry's Secret, which goes with the
// entry (ca/internal/identity/entry.go).
func (o *outside) token(ctx context.Context, entry *unstructured.Unstructured, account string) (*authenticationv1.TokenRequestStatus, error) {
	name := entry.GetName() + "." + string(entry.GetUID())
	want := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: o.in, Annotations: map[string]string{"weft.mesh/about": "the token of WorkloadEntry " + entry.GetName() + " is bound to it; delete it to take the token back"},
		OwnerReferences: []metav1.OwnerReference{{APIVersion: entry.GetAPIVersion(), Kind: entry.GetKind(), Name: entry.GetName(), UID: entry.GetUID()}},
	}}
	secret, err := o.client.CoreV1().Secrets(o.in).Create(ctx, want, metav1.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		secret, err = o.client.CoreV1().Secrets(o.in).Get(ctx, name, metav1.GetOptions{})
	}
	if err != nil {
		return nil, err
	}
	seconds := int64(o.lifetime.Seconds())
	reply, err := o.client.CoreV1().ServiceAccounts(o.in).CreateToken(ctx, account, &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		Audiences: []string{tokenAudience}, ExpirationSeconds: &seconds,
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Secret", Name: secret.Name, UID: secret.UID},
	}}, metav1.CreateOptions{})
	if apierrors.IsNotFound(err) {
		return nil, fmt.Errorf("service account %s/%s, which the WorkloadGroup names, does not exist: kubectl create serviceaccount -n %s %s", o.in, account, o.in, account)
	}
	if err != nil {
		return nil, errors.Join(errors.New("a token for the machine"), err)
	}
	return &reply.Status, nil
}
