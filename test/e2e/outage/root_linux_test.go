package outage

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/ca"
	"github.com/weftmesh/weft/test/cluster"
)

// root: `weft ca rotate` under load. The replica of the CA that moves it on is
// killed when the new root has begun to sign, pods come in on the way, and one
// goes without a word. Both webhooks review all the time. At the end nobody trusts
// the old root.
func (b *bench) root() {
	before := b.status()
	if len(before.Roots) != 1 {
		b.Fatalf("before: %+v", before)
	}
	began := time.Now()
	reviewed := b.reviews()
	b.brief("goes", time.Hour)
	b.MustWeft("", "ca", "rotate")
	b.Must("", "-n", "shop", "delete", "pod", "goes", "--grace-period=0", "--force")
	b.brief("early", time.Hour)
	s := b.stage("Issue")
	b.Logf("the new root signs after %v", time.Since(began).Round(time.Second))
	b.Must("", "-n", "weft-system", "delete", "pod", s.Replica, "--grace-period=0", "--force")
	b.brief("midway", time.Hour) // injected, proved, signed for
	b.stage("Dropped")
	b.Logf("the old root is dropped after %v", time.Since(began).Round(time.Second))
	after := b.status()
	if len(after.Roots) != 1 || after.Roots[0].Fingerprint == before.Roots[0].Fingerprint {
		b.Errorf("after: %+v", after)
	}
	for _, pod := range []string{"caller", "early", "midway"} {
		b.Eventually("the old root is gone from "+pod, func() error { return b.trusts(pod, after.Roots[0]) })
	}
	b.brief("late-comer", time.Hour)
	b.InSync("caller.shop", "istio-ingressgateway", "early.shop", "midway.shop", "late-comer.shop")
	reviewed()
	b.clean(began, "the root changes")
}

// What is sent to the API server without being kept: the one webhook refuses the
// object, the other adds to the pod. Where a webhook cannot be asked, because its
// certificate is not trusted, the object is let in and the pod is refused.
const (
	wrongRoute  = `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: wrong, namespace: shop}, spec: {hosts: [echo], http: [{route: [{destination: {host: echo}, weight: -1}]}]}}`
	reviewedPod = `{apiVersion: v1, kind: Pod, metadata: {name: reviewed, namespace: shop}, spec: {containers: [{name: app, image: "localhost/weft-test/app:1"}]}}`
)

// reviews has the API server ask both webhooks again and again. What it returns
// ends that, and fails the test for each review that there was not.
func (b *bench) reviews() (end func()) {
	b.Helper()
	ctx, cancel := context.WithCancel(b.Context())
	done, asked := make(chan struct{}), 0
	failed := func(webhook, out string, err error) {
		if b.Context().Err() == nil {
			b.Errorf("the API server could not ask the %s: %v\n%s", webhook, err, out)
		}
	}
	go func() {
		defer close(done)
		tick := time.NewTicker(500 * time.Millisecond) // the machine is the cluster's too
		defer tick.Stop()
		for ; ctx.Err() == nil; asked++ {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			out, err := b.Kubectl(wrongRoute, "create", "--dry-run=server", "-f", "-")
			if err == nil || !strings.Contains(err.Error(), "IST0106") {
				failed("pilot", out, err)
			}
			out, err = b.Kubectl(reviewedPod, "create", "--dry-run=server", "-o", "yaml", "-f", "-")
			if err != nil || !strings.Contains(out, "istio-proxy") {
				failed("injector", out, err)
			}
		}
	}()
	finish := sync.OnceFunc(func() { cancel(); <-done })
	b.Cleanup(finish)
	return func() {
		b.Helper()
		finish()
		b.Logf("%d reviews by each webhook", asked)
		if asked < 10 {
			b.Errorf("%d reviews by each webhook are too few to show anything", asked)
		}
	}
}

func (b *bench) status() (s ca.RotationStatus) {
	b.Helper()
	if err := json.Unmarshal([]byte(b.MustWeft("", "ca", "status", "-o", "json")), &s); err != nil {
		b.Fatal(err)
	}
	return s
}

// stagePatience bounds a stage: each lasts for minutes even on an idle machine.
const stagePatience = 10 * time.Minute

// stage waits until a rotation has come to it, as the replica says that moves it
// on.
func (b *bench) stage(want string) (s ca.RotationStatus) {
	b.Helper()
	cluster.Eventually(b.T, stagePatience, "stage "+want, func() error {
		said := b.Weft("", "ca", "status", "-o", "json")
		if said.Code != 0 {
			return errors.New(said.All())
		}
		s = ca.RotationStatus{}
		if err := json.Unmarshal([]byte(said.Out), &s); err != nil {
			return err
		}
		if s.Stage != want || !s.Drives {
			return fmt.Errorf("%+v", s)
		}
		return nil
	})
	return s
}

// trusts: the first of the roots that a pod's Envoy has is that one; of several
// the old one comes first.
func (b *bench) trusts(pod string, root ca.RootStatus) error {
	name, _, _ := strings.Cut(strings.TrimPrefix(root.Subject, "CN="), ",")
	said := b.Weft("", "proxy-config", "secrets", "-n", "shop", pod)
	if said.Code != 0 || !strings.Contains(said.Out, name) {
		return fmt.Errorf("want %q: %s", name, said.All())
	}
	return nil
}
