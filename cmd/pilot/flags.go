package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"regexp"
	"strings"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/source/file"
	"github.com/weftmesh/weft/internal/source/kube"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/pilot"
)

// flags of the command; the zero value is completed by register.
type flags struct {
	opts       pilot.Options
	folders    []string
	state      string
	meshConfig string
	ca         string
	rootCert   string
	token      string
	kube       bool
	kubeconfig string
	namespace  string
	revision   string
	only       bool
	cluster    pilot.Cluster
	keys       keyFlags
}

func (f *flags) register(set *pflag.FlagSet) {
	set.StringArrayVar(&f.folders, "config", nil, "`DIR` with YAML; may be given several times, the first that holds an object wins")
	set.StringVar(&f.state, "state", "", "`DIR` with what controllers make (Pods, EndpointSlices); it wins over --config")
	set.StringVar(&f.meshConfig, "mesh-config", "", "`FILE` with a MeshConfig, beside --config")
	set.BoolVar(&f.kube, "kube", false, "follow the API server of the cluster that this pod runs in, in place of --config")
	set.StringVar(&f.kubeconfig, "kubeconfig", "", "follow the API server of this kubeconfig `FILE`, in place of --config")
	set.StringVar(&f.namespace, "namespace", systemNamespace(), "system `NAMESPACE`: of the pilot, the ca, and the ConfigMap istio with MeshConfig")
	set.StringVar(&f.revision, "revision", defaultRevision, "`NAME` of this control plane among several; another than default has ConfigMap istio-NAME and account weft-pilot-NAME")
	set.BoolVar(&f.only, "one-namespace", false, "with --kube, serve --namespace alone, by rights in it alone")
	set.BoolVar(&f.cluster.Default, "default", true, "this revision writes the status of objects without the label istio.io/rev; one revision does")
	// The ports listen on every address by default: in its pod, the pilot must
	// be reached by the other pods. Only /metrics, /ready and /version answer
	// callers without a certificate that are not on loopback.
	set.StringVar(&f.opts.XDS, "xds", pilot.DefaultXDS, "`HOST:PORT` for proxies, over mTLS; empty: none")
	set.StringVar(&f.opts.InsecureXDS, "insecure-xds", "", "`IP:PORT` on loopback for clients without identity, such as 127.0.0.1:15010; without --ca it is the only xDS port")
	set.StringVar(&f.opts.Monitoring, "monitoring", pilot.DefaultMonitoring, "`HOST:PORT` of /metrics, /version and (for loopback) /debug; empty: none")
	set.StringVar(&f.opts.Ready, "ready", pilot.DefaultReady, "`HOST:PORT` of /ready; empty: none")
	// The API server reaches the webhook through its Service, from a node's
	// address; it shows no certificate, and nothing that is answered is secret.
	set.StringVar(&f.cluster.Webhook, "webhook", pilot.DefaultWebhook, "`HOST:PORT` of the validating webhook, with --kube or --kubeconfig; empty: none")
	set.StringVar(&f.cluster.WebhookConfig, "webhook-config", "", "`NAME` of the ValidatingWebhookConfiguration whose caBundle to keep; empty: none")
	set.BoolVar(&f.cluster.NoStatus, "no-status", false, "write no status into objects, with --kube or --kubeconfig")
	set.StringVar(&f.opts.TrustDomain, "trust-domain", "cluster.local", "trust `DOMAIN` of the identities")
	f.keys.register(set)
	set.StringVar(&f.ca, "ca", "", "`HOST:PORT` of the CA that signs the pilot's certificate")
	set.StringVar(&f.rootCert, "root-cert", "", "PEM `FILE` with the mesh's roots")
	set.StringVar(&f.token, "token", "", "`FILE` with the token that proves this pod to the CA")
}

// run serves until ctx ends.
func (f *flags) run(ctx context.Context) error {
	var err error
	if f.opts.Source, err = f.source(); err != nil {
		return err
	}
	if f.opts.Keys, err = f.keys.read(); err != nil {
		return err
	}
	f.opts.Version = numbered(version)
	if f.ca == "" && f.opts.InsecureXDS != "" {
		// What is served for debugging needs no mesh around it, and has no
		// certificate for a webhook.
		f.opts.XDS, f.cluster.Webhook = "", ""
	} else if f.opts.Identity, err = f.identity(); err != nil {
		return err
	}
	return pilot.Run(ctx, f.opts)
}

// plainNumber begins what Kiali takes for a version.
var plainNumber = regexp.MustCompile(`^[0-9]+\.[0-9]+\.[0-9]+`)

// numbered is a build's version as readers of Istio's /version want it, X.Y.Z and
// more: without a tag, git describe says nothing but a commit.
func numbered(version string) string {
	if v := strings.TrimPrefix(version, "v"); plainNumber.MatchString(v) {
		return v
	}
	return "0.0.0-" + version
}

// source opens the folders, or the API server.
func (f *flags) source() (source.Source, error) {
	cluster, folders := f.kube || f.kubeconfig != "", len(f.folders) > 0 || f.state != "" || f.meshConfig != ""
	switch {
	case cluster && folders:
		return nil, errors.New("--config, --state and --mesh-config are for folders; with --kube or --kubeconfig all comes from the API server (MeshConfig from the ConfigMap istio)")
	case cluster:
		f.inCluster()
		f.cluster.Kubeconfig, f.cluster.Namespace, f.cluster.Revision = f.kubeconfig, f.namespace, f.revision
		f.cluster.Replica = os.Getenv("POD_NAME")
		f.opts.Cluster = &f.cluster
		return kube.New(kube.Options{Kubeconfig: f.kubeconfig, Namespace: f.namespace, MeshConfig: "istio" + f.suffix(), OneNamespace: f.only})
	case len(f.folders) == 0:
		return nil, errors.New("no configuration: give --config DIR, or --kube or --kubeconfig FILE")
	}
	extra, err := f.readMeshConfig()
	if err != nil {
		return nil, err
	}
	src := file.New(slog.Default(), f.folders, extra...)
	if f.state != "" {
		src.Observe(f.state)
	}
	return src, nil
}

// inCluster fills in where a pod finds what proves it to the ca, unless no
// mesh is wanted around the pilot.
func (f *flags) inCluster() {
	if f.opts.InsecureXDS != "" {
		return
	}
	for _, d := range []struct {
		flag *string
		in   string
	}{
		{&f.ca, "weft-ca." + f.namespace + ".svc:15012"},
		{&f.rootCert, "/var/run/secrets/istio/root-cert.pem"},
		{&f.token, "/var/run/secrets/tokens/istio-token"},
	} {
		if *d.flag == "" {
			*d.flag = d.in
		}
	}
}

// defaultRevision is the one whose names have no ending.
const defaultRevision = "default"

// suffix is what names of the revision's objects end in.
func (f *flags) suffix() string {
	if f.revision == "" || f.revision == defaultRevision {
		return ""
	}
	return "-" + f.revision
}

// systemNamespace is that of this pod, where it says so.
func systemNamespace() string {
	if ns := os.Getenv("POD_NAMESPACE"); ns != "" {
		return ns
	}
	return kube.DefaultNamespace
}

func (f *flags) identity() (*enroll.Manager, error) {
	if f.ca == "" || f.rootCert == "" || f.token == "" {
		return nil, errors.New("xDS over mTLS needs --ca, --root-cert and --token; or serve --insecure-xds 127.0.0.1:15010")
	}
	roots, err := enroll.RootsFile(f.rootCert)
	if err != nil {
		return nil, fmt.Errorf("--root-cert: %w", err)
	}
	id := pilot.ID(f.opts.TrustDomain)
	id.Namespace = f.namespace
	id.ServiceAccount += f.suffix()
	client, err := enroll.NewClient(enroll.ClientOptions{
		Address:  f.ca,
		CA:       spiffe.ID{TrustDomain: f.opts.TrustDomain, Namespace: f.namespace, ServiceAccount: "weft-ca"},
		Identity: id,
		Roots:    roots, TokenFile: f.token,
	})
	if err != nil {
		return nil, err
	}
	return enroll.NewManager(enroll.ManagerOptions{Issuer: client, Roots: roots}), nil
}

// readMeshConfig reads --mesh-config; a wrong one stops the start.
func (f *flags) readMeshConfig() ([]*config.Object, error) {
	if f.meshConfig == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.meshConfig)
	if err != nil {
		return nil, fmt.Errorf("--mesh-config: %w", err)
	}
	o, found := config.DecodeMeshConfig(f.meshConfig, text)
	if len(found) > 0 {
		return nil, fmt.Errorf("--mesh-config: %s", found[0])
	}
	return []*config.Object{o}, nil
}
