package pilot

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/source/kube"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/test/cluster"
)

const shop = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: v1
kind: Service
metadata: {name: a, namespace: shop}
spec: {ports: [{name: http, port: 80}]}
`

func podOf(name, account string) string {
	return fmt.Sprintf("apiVersion: v1\nkind: Pod\nmetadata: {name: %s, namespace: shop}\nspec: {serviceAccountName: %s, containers: [{name: app, image: a}]}\n---\n", name, account)
}

// A proxy is the pod that it says it is only with a certificate for the service
// account of that pod.
func TestPodsOfACluster(t *testing.T) {
	api := cluster.APIServer(t)
	apply := func(text string) {
		t.Helper()
		if err := api.Apply(t.Context(), text); err != nil {
			t.Fatal(err)
		}
	}
	apply(shop + "---\n" + podOf("web-1", "web") + podOf("admin-1", "admin"))
	src, err := kube.New(kube.Options{Config: api.RESTConfig(), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	ca := newTestCA(t)
	addrs, ctx := runPilot(t, ca, src)
	as := func(account string) *tls.Config {
		cert := ca.issue(spiffe.ID{TrustDomain: "cluster.local", Namespace: "shop", ServiceAccount: account})
		return enroll.ClientTLS(func() (*tls.Certificate, error) { return cert.TLS(), nil }, ca.roots(), enroll.AllowIDs(ID("cluster.local")))
	}
	for pod, account := range map[string]string{"web-1": "web", "admin-1": "admin"} {
		if names, err := clustersOf(ctx, addrs.XDS, as(account), pod); err != nil || !strings.Contains(names, "outbound|80||a.shop.svc.cluster.local") {
			t.Errorf("pod %s got %q, %v", pod, names, err)
		}
	}
	if _, err := clustersOf(ctx, addrs.XDS, as("web"), "admin-1"); status.Code(err) != codes.PermissionDenied || !strings.Contains(err.Error(), "admin-1") {
		t.Errorf("a pod that claims another's name got %v", err)
	}
	late := make(chan error, 1)
	go func() {
		_, err := clustersOf(ctx, addrs.XDS, as("web"), "web-2")
		late <- err
	}()
	apply(podOf("web-2", "web"))
	if err := <-late; err != nil {
		t.Errorf("a pod that the pilot hears of after the pod's first call: %v", err)
	}
	ready(t, addrs.Ready)
}

// runPilot serves a source over mTLS until the test's end.
func runPilot(t *testing.T, ca *testCA, src *kube.Source) (Addresses, context.Context) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	started, ended := make(chan Addresses, 1), make(chan error, 1)
	quiet := slog.New(slog.DiscardHandler)
	identity := enroll.NewManager(enroll.ManagerOptions{Issuer: ca, Roots: ca.roots(), Logger: quiet})
	go func() {
		ended <- Run(ctx, Options{
			Source: src, XDS: "127.0.0.1:0", Ready: "127.0.0.1:0", Identity: identity, Log: quiet,
			Started: func(a Addresses) { started <- a },
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	addrs := <-started
	if _, err := identity.Wait(ctx); err != nil {
		t.Fatal(err)
	}
	return addrs, ctx
}

func ready(t *testing.T, addr string) {
	t.Helper()
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Get("http://" + addr + "/ready")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("/ready answers %s", resp.Status)
	}
}
