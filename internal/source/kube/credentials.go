package kube

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"strings"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
)

// secretRef names a Secret.
type secretRef struct{ namespace, name string }

// maxSecrets bounds the Secrets that are watched, one watch each.
const maxSecrets = 1000

var (
	// a Secret that is named for TLS may not be read
	findingUnreadable = diag.Finding{Code: "WEFT0007", Cure: "let the pilot's service account list and watch Secrets by a Role in this namespace"}
	// more Secrets are named for TLS than are followed
	findingTooMany = diag.Finding{Code: "WEFT0008", Cure: "let Gateways share credentials"}
)

// credentials keeps a watch on every Secret that a Gateway or DestinationRule
// names, in the namespaces where the proxies are that use it. Contents of
// other Secrets are never asked for. All but answered belongs to the goroutine
// of Run.
type credentials struct {
	world     *world
	namespace string // the system namespace
	start     func(secretRef) context.CancelFunc
	seen      config.Set
	claims    map[string]claim           // by "Kind/namespace/name"
	pods      map[string]map[string]int  // how many pods a selector selects, by namespace
	selectors map[string]labels.Selector // by their text; those of claims
	running   map[secretRef]context.CancelFunc
	mu        sync.Mutex
	answered  map[secretRef]bool
}

// claim is what one object names.
type claim struct {
	config.Credentials
	namespace string // of the object
	selector  string // as text; "" selects every gateway
	gateway   bool
}

func newCredentials(w *world, namespace string) *credentials {
	return &credentials{
		world: w, namespace: namespace, claims: map[string]claim{}, pods: map[string]map[string]int{},
		selectors: map[string]labels.Selector{}, running: map[secretRef]context.CancelFunc{}, answered: map[secretRef]bool{},
	}
}

// update follows the newest state, at the cost of what differs in it.
func (c *credentials) update() {
	set := c.world.state().Set
	moved := c.countPods(set)
	for _, k := range []config.Kind{config.Gateway, config.DestinationRule} {
		moved = c.readClaims(k, set) || moved
	}
	c.seen = set
	if moved {
		c.watch(c.wanted())
	}
}

// countPods reports whether a namespace has its first pod of a selector, or
// lost the last.
func (c *credentials) countPods(set config.Set) (moved bool) {
	if len(c.selectors) == 0 {
		return false
	}
	for ch := range memo.Diff(c.seen.Of(config.Pod), set.Of(config.Pod)) {
		for text, selector := range c.selectors {
			if ch.InOld && selector.Matches(labels.Set(ch.Old.Labels)) {
				moved = c.count(text, ch.Old.Namespace, -1) || moved
			}
			if ch.InNew && selector.Matches(labels.Set(ch.New.Labels)) {
				moved = c.count(text, ch.New.Namespace, 1) || moved
			}
		}
	}
	return moved
}

func (c *credentials) count(selector, namespace string, by int) (moved bool) {
	of := c.pods[selector]
	before := of[namespace]
	of[namespace] += by
	if of[namespace] == 0 {
		delete(of, namespace)
	}
	return before == 0 || before+by == 0
}

// readClaims reports whether an object of the kind names other Secrets, or
// other proxies, than before.
func (c *credentials) readClaims(k config.Kind, set config.Set) (moved bool) {
	for ch := range memo.Diff(c.seen.Of(k), set.Of(k)) {
		key := string(k) + ch.Key
		old := c.claims[key]
		delete(c.claims, key)
		if ch.InNew {
			next := claim{Credentials: config.CredentialsOf(ch.New), namespace: ch.New.Namespace, gateway: k == config.Gateway}
			next.selector = labels.Set(next.Selector).String()
			if next.gateway || len(next.Names) > 0 {
				c.claims[key] = next
			}
		}
		next := c.claims[key]
		moved = moved || old.selector != next.selector || !slices.Equal(old.Names, next.Names)
	}
	if moved {
		c.readSelectors(set)
	}
	return moved
}

// readSelectors counts the pods of selectors that are new, and forgets those
// that no Gateway has any more.
func (c *credentials) readSelectors(set config.Set) {
	used := map[string]bool{}
	for _, cl := range c.claims {
		if !cl.gateway || cl.selector == "" || used[cl.selector] {
			continue
		}
		used[cl.selector] = true
		if c.selectors[cl.selector] != nil {
			continue
		}
		selector := labels.SelectorFromSet(cl.Selector)
		c.selectors[cl.selector], c.pods[cl.selector] = selector, map[string]int{}
		for _, pod := range set.Of(config.Pod).All() {
			if selector.Matches(labels.Set(pod.Labels)) {
				c.count(cl.selector, pod.Namespace, 1)
			}
		}
	}
	for text := range c.selectors {
		if !used[text] {
			delete(c.selectors, text)
			delete(c.pods, text)
		}
	}
}

// wanted lists the Secrets to watch.
func (c *credentials) wanted() map[secretRef]bool {
	out := map[secretRef]bool{}
	for _, cl := range c.claims {
		for namespace := range c.namespaces(cl) {
			for _, name := range cl.Names {
				if !strings.Contains(name, "/") {
					out[secretRef{namespace, name}] = true
				}
			}
		}
	}
	return out
}

// namespaces are those of the proxies that use a claim's Secrets. Where none
// runs yet, its object's and the system namespace stand for them.
func (c *credentials) namespaces(cl claim) map[string]bool {
	out := map[string]bool{}
	switch {
	case cl.Own:
		return map[string]bool{cl.namespace: true}
	case cl.gateway && cl.selector != "":
		for namespace := range c.pods[cl.selector] {
			out[namespace] = true
		}
	default:
		for _, of := range c.pods {
			for namespace := range of {
				out[namespace] = true
			}
		}
	}
	if len(out) == 0 {
		out[cl.namespace], out[c.namespace] = true, true
	}
	return out
}

// watch starts and ends watches so that those wanted run.
func (c *credentials) watch(wanted map[secretRef]bool) {
	for ref, stop := range c.running {
		if !wanted[ref] {
			stop()
			delete(c.running, ref)
			c.answer(ref, false)
		}
	}
	order := slices.SortedFunc(maps.Keys(wanted), func(a, b secretRef) int {
		return cmp.Or(strings.Compare(a.namespace, b.namespace), strings.Compare(a.name, b.name))
	})
	for _, ref := range order {
		if c.running[ref] == nil && len(c.running) < maxSecrets {
			c.running[ref] = c.start(ref)
		}
	}
	c.tooMany(len(order))
}

func (c *credentials) tooMany(wanted int) {
	l := diag.For(diag.Object{Kind: string(config.Secret), Name: "*"})
	if wanted > maxSecrets {
		l.Add(findingTooMany, "", "%d Secrets are named for TLS; %d of them are read", wanted, maxSecrets)
	}
	c.world.report(&store{world: c.world, kind: kind{name: config.Secret}, only: "*"}, l.All())
}

// answer notes whether the API server answered for a Secret.
func (c *credentials) answer(ref secretRef, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if yes {
		c.answered[ref] = true
	} else {
		delete(c.answered, ref)
	}
}

// settled reports whether the API server answered for every Secret.
func (c *credentials) settled() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for ref := range c.running {
		if !c.answered[ref] {
			return false
		}
	}
	return true
}

// secretStore takes one Secret into the world.
func (s *Source) secretStore(ref secretRef) *store {
	return &store{
		world: s.world, only: ref.namespace + "/" + ref.name, replaced: func() { s.credits.answer(ref, true); s.world.tell() },
		kind: kind{
			name: config.Secret, versions: stable, resource: "secrets",
			namespace: ref.namespace, fields: byName + ref.name, read: s.trim.read,
		},
	}
}

// followSecret watches one Secret until ctx ends.
func (s *Source) followSecret(ctx context.Context, st *store) {
	ref := secretRef{st.kind.namespace, strings.TrimPrefix(st.kind.fields, byName)}
	for ctx.Err() == nil {
		if err := s.followVersion(ctx, st, st.kind.versions[0]); apierrors.IsForbidden(err) {
			l := diag.For(diag.Object{Kind: string(config.Secret), Namespace: ref.namespace, Name: ref.name})
			l.Add(findingUnreadable, "", "a Gateway or DestinationRule names it, but the API server does not let the pilot read it: %v", err)
			s.world.report(st, l.All())
			s.credits.answer(ref, true)
			s.world.tell()
			pause(ctx, jitter(lookAgain))
		}
	}
}
