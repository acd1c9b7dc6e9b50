package cluster

import (
	"bytes"
	"context"
	"crypto/sha256"
	"fmt"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"

	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/leader"
)

// RootConfigMap is the ConfigMap of the trusted roots in each namespace, RootKey
// its key. Source: Istio. ListKey is that of the lists of revoked certificates,
// where there are any: Istio has them in a ConfigMap of their own, but here they
// reach a pod together with the roots that they go with.
const (
	RootConfigMap = "istio-ca-root-cert"
	RootKey       = "root-cert.pem"
	ListKey       = store.CRLFile
)

// Lease is held by the replica that writes the ConfigMaps.
const Lease = "weft-ca-leader"

const (
	fieldManager = "weft-ca"
	// writers is how many ConfigMaps are written at once.
	writers = 8
)

// without are the namespaces that no workload of the mesh runs in.
var without = []string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}

// Publish keeps the ConfigMap with the trusted roots in every namespace for as
// long as this replica leads: written when the namespace appears or the roots
// change, repaired when somebody edits or deletes it. It returns ctx's error
// when ctx is done, and has then given the lead back. Open comes before it.
func (c *Cluster) Publish(ctx context.Context) error {
	err := leader.Run(ctx, leader.Options{Client: c.leases, Namespace: c.opts.Namespace, Lease: Lease, Replica: c.opts.Replica}, c.lead)
	if err != nil {
		return fmt.Errorf("cluster: %w", err)
	}
	return ctx.Err()
}

// publisher writes the ConfigMaps while this replica leads.
type publisher struct {
	*Cluster
	namespaces cache.Store // nil for a CA of one
	maps       cache.Store
	queue      workqueue.TypedRateLimitingInterface[string] // names of namespaces
}

// lead returns when ctx is done.
func (c *Cluster) lead(ctx context.Context) {
	select { // what changed before is written anyway
	case <-c.changed:
	default:
	}
	c.log.Info("this replica writes the ConfigMaps with the trusted roots", "replica", c.opts.Replica)
	c.metrics.leader.Set(1)
	c.leads.Store(true)
	defer c.metrics.leader.Set(0)
	defer c.leads.Store(false)
	p := &publisher{Cluster: c, queue: workqueue.NewTypedRateLimitingQueue(workqueue.DefaultTypedControllerRateLimiter[string]())}
	in := ""
	namespaces := func() bool { return true }
	if c.opts.Only {
		in = c.opts.Namespace
		p.queue.Add(in)
	} else {
		p.namespaces, namespaces = c.start(ctx, watch{
			resource: "namespaces", object: &corev1.Namespace{}, each: func(_, name string) { p.queue.Add(name) },
		})
	}
	var maps cache.InformerSynced
	p.maps, maps = c.start(ctx, watch{
		resource: "configmaps", namespace: in, name: RootConfigMap, object: &corev1.ConfigMap{}, trim: trimMap,
		each: func(namespace, _ string) { p.queue.Add(namespace) },
	})
	var workers sync.WaitGroup
	defer workers.Wait()
	defer p.queue.ShutDown()
	if !cache.WaitForCacheSync(ctx.Done(), namespaces, maps) {
		return
	}
	for range writers {
		workers.Go(func() { p.work(ctx) })
	}
	for {
		select {
		case <-ctx.Done():
			return
		case <-c.changed:
			for _, name := range p.all() {
				p.queue.Add(name)
			}
		}
	}
}

// all are the namespaces to look at.
func (p *publisher) all() []string {
	if p.opts.Only {
		return []string{p.opts.Namespace}
	}
	return p.namespaces.ListKeys()
}

// serves says whether a namespace gets the roots.
func (p *publisher) serves(namespace string) (bool, error) {
	if p.opts.Only {
		return namespace == p.opts.Namespace, nil
	}
	obj, exists, err := p.namespaces.GetByKey(namespace)
	return exists && wanted(obj), err
}

// trimMap keeps the roots, and of the lists, which may be long, their digest: as
// binary data under the key of the text, which no ConfigMap of an API server has
// both of. What was trimmed stays as it is.
func trimMap(o runtime.Object) {
	m, ok := o.(*corev1.ConfigMap)
	if !ok {
		return
	}
	sum, trimmed := m.BinaryData[ListKey]
	if _, text := m.Data[ListKey]; !text || !trimmed {
		sum = digest(m.Data[ListKey])
	}
	m.Data = map[string]string{RootKey: m.Data[RootKey], ListKey: ""}
	m.BinaryData = map[string][]byte{ListKey: sum}
}

func digest(text string) []byte {
	sum := sha256.Sum256([]byte(text))
	return sum[:]
}

func (p *publisher) work(ctx context.Context) {
	for {
		namespace, shutdown := p.queue.Get()
		if shutdown {
			return
		}
		if err := p.reconcile(ctx, namespace); err != nil && ctx.Err() == nil {
			p.metrics.failed.Inc()
			p.log.Warn("the ConfigMap with the trusted roots cannot be written; will try again", "namespace", namespace, "error", err)
			p.queue.AddRateLimited(namespace)
		} else {
			p.queue.Forget(namespace)
		}
		p.queue.Done(namespace)
	}
}

func (p *publisher) reconcile(ctx context.Context, namespace string) error {
	now := p.current()
	data := map[string]string{RootKey: string(now.authority.RootPEM)}
	if len(now.lists) > 0 {
		data[ListKey] = string(now.lists)
	}
	if serves, err := p.serves(namespace); err != nil || !serves {
		return err
	}
	found, exists, err := p.maps.GetByKey(namespace + "/" + RootConfigMap)
	if err != nil || exists && good(found, data) {
		return err
	}
	err = p.apply(ctx, namespace, data)
	if apierrors.IsInvalid(err) { // somebody made it immutable
		if err = p.api.CoreV1().ConfigMaps(namespace).Delete(ctx, RootConfigMap, metav1.DeleteOptions{}); err == nil {
			err = p.apply(ctx, namespace, data)
		}
	}
	if apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) || apierrors.IsNotFound(err) {
		return nil // the namespace is on its way out
	}
	if err == nil {
		p.metrics.written.Inc()
	}
	return err
}

// apply leaves labels and keys of others alone.
func (p *publisher) apply(ctx context.Context, namespace string, data map[string]string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	want := applycorev1.ConfigMap(RootConfigMap, namespace).
		WithLabels(map[string]string{istioConfig: "true", partOf: weft}).
		WithData(data)
	_, err := p.api.CoreV1().ConfigMaps(namespace).Apply(ctx, want, metav1.ApplyOptions{FieldManager: fieldManager, Force: true})
	return err
}

// wanted says whether a namespace gets the ConfigMap.
func wanted(obj any) bool {
	n, ok := obj.(*corev1.Namespace)
	return ok && n.DeletionTimestamp == nil && n.Status.Phase != corev1.NamespaceTerminating && !slices.Contains(without, n.Name)
}

// good compares what trimMap kept with what is wanted.
func good(obj any, data map[string]string) bool {
	m, ok := obj.(*corev1.ConfigMap)
	return ok && m.Data[RootKey] == data[RootKey] && bytes.Equal(m.BinaryData[ListKey], digest(data[ListKey])) && m.Labels[istioConfig] == "true"
}
