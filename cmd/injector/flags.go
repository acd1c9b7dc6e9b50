package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/injector"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// flags of the command; the zero value is completed by register.
type flags struct {
	opts                injector.Options
	kube                bool
	ca, rootCert, token string
	trustDomain         string
	serviceAccount      string
	logLevel            slog.Level
}

func (f *flags) register(set *pflag.FlagSet) {
	set.SortFlags = false
	set.BoolVar(&f.kube, "kube", false, "use the API server of the cluster that this pod runs in")
	set.StringVar(&f.opts.Kubeconfig, "kubeconfig", "", "like --kube, for the cluster of a kubeconfig `FILE`")
	set.StringVar(&f.opts.Namespace, "namespace", cmp.Or(os.Getenv("POD_NAMESPACE"), injector.DefaultNamespace), "`NAMESPACE` of the control plane; default from $POD_NAMESPACE")
	set.StringVar(&f.opts.Revision, "revision", "default", "`REVISION` of the control plane")
	set.StringVar(&f.opts.WebhookConfig, "webhook-config", "", "`NAME` of the MutatingWebhookConfiguration to keep; default: the chart's")
	// Both ports are for other pods and the API server, so they listen on every
	// address of the pod.
	set.StringVar(&f.opts.Webhook, "webhook", injector.DefaultWebhook, "`HOST:PORT` of the webhook, over TLS")
	set.StringVar(&f.opts.Monitoring, "monitoring", injector.DefaultMonitoring, "`HOST:PORT` of /metrics and /ready; empty: none")
	set.DurationVar(&f.opts.StopDelay, "stop-delay", 5*time.Second, "how long to serve on after SIGTERM, while the cluster withdraws the endpoint")
	set.StringVar(&f.trustDomain, "trust-domain", "cluster.local", "trust `DOMAIN` of the identities")
	set.StringVar(&f.ca, "ca", "weft-ca.weft-system.svc:15012", "`HOST:PORT` of the CA that signs the webhook's certificate")
	set.StringVar(&f.rootCert, "root-cert", "/var/run/secrets/istio/root-cert.pem", "PEM `FILE` with the mesh's roots")
	set.StringVar(&f.token, "token", "/var/run/secrets/tokens/istio-token", "`FILE` with the token that proves this pod to the CA")
	set.StringVar(&f.serviceAccount, "service-account", cmp.Or(os.Getenv("SERVICE_ACCOUNT"), "weft-injector"), "`NAME` of this pod's account; default from $SERVICE_ACCOUNT")
	set.TextVar(&f.logLevel, "log-level", slog.LevelInfo, "DEBUG, INFO, WARN or ERROR")
}

func (f *flags) run(ctx context.Context) error {
	slog.SetDefault(slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: f.logLevel})))
	if !f.kube && f.opts.Kubeconfig == "" {
		return errors.New("no cluster: give --kube, or --kubeconfig FILE")
	}
	var err error
	if f.opts.Identity, err = f.identity(); err != nil {
		return err
	}
	f.opts.Version = version
	return injector.Run(ctx, f.opts)
}

// identity enrols with the CA as every workload does; the CA adds the DNS name
// by which the API server calls.
func (f *flags) identity() (*enroll.Manager, error) {
	roots, err := enroll.RootsFile(f.rootCert)
	if err != nil {
		return nil, fmt.Errorf("--root-cert: %w", err)
	}
	client, err := enroll.NewClient(enroll.ClientOptions{
		Address:  f.ca,
		CA:       spiffe.ID{TrustDomain: f.trustDomain, Namespace: f.opts.Namespace, ServiceAccount: "weft-ca"},
		Identity: spiffe.ID{TrustDomain: f.trustDomain, Namespace: f.opts.Namespace, ServiceAccount: f.serviceAccount},
		Roots:    roots, TokenFile: f.token,
	})
	if err != nil {
		return nil, err
	}
	return enroll.NewManager(enroll.ManagerOptions{Issuer: client, Roots: roots}), nil
}
