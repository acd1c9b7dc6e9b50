package identity

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sony/gobreaker/v2"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/ca/internal/refusal"
	"github.com/weftmesh/weft/internal/spiffe"
)

// Extra fields that the API server adds to the user of a bound token. Source:
// Kubernetes, "Managing Service Accounts", "Bound service account tokens".
const (
	extraPod    = "authentication.kubernetes.io/pod-name"
	extraPodUID = "authentication.kubernetes.io/pod-uid"
	extraNode   = "authentication.kubernetes.io/node-name"
)

const (
	// kubeTimeout bounds both calls of one proof, below the ten seconds that
	// our agents wait for a certificate.
	kubeTimeout = 5 * time.Second
	// kubeCalls bounds the proofs under way, and so what a crowd of pods, or of
	// forgers, asks of the API server at once. Others wait for their turn.
	kubeCalls = 64
	// breakerTrip failures in a row open the breaker, for breakerOpen: short, so
	// that certificates flow within seconds of the API server's return.
	breakerTrip = 5
	breakerOpen = 2 * time.Second
)

// Kube authenticates pods of a cluster, and processes outside that have a
// WorkloadEntry there. The API server reviews their token, and
// the pod that the token is bound to is read by its name: it must exist with the
// UID, account and node of the token, and must not have ended. Two calls a
// certificate, no watch and no cache: what was true of a pod a moment ago would
// outlive the pod.
type Kube struct {
	api         kubernetes.Interface
	trustDomain string
	breaker     *gobreaker.CircuitBreaker[Caller]
	turns       chan struct{}
	metrics     *kubeMetrics
	keys        *issuerKeys // of a CA of one namespace; nil: tokens are reviewed
}

// NewKube makes a Kube that asks the API server of config and registers its
// metrics with reg. It makes no call. Rights needed: create
// tokenreviews.authentication.k8s.io, get pods, get
// workloadentries.networking.istio.io.
func NewKube(config *rest.Config, trustDomain string, reg prometheus.Registerer) (*Kube, error) {
	config = rest.CopyConfig(config)
	config.QPS = -1 // turns are the limit; the client's own would hold back a rollout
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("identity: %w", err)
	}
	k := &Kube{api: api, trustDomain: trustDomain, turns: make(chan struct{}, kubeCalls), metrics: newKubeMetrics(reg)}
	k.breaker = gobreaker.NewCircuitBreaker[Caller](gobreaker.Settings{
		Name:          "kubernetes",
		Timeout:       breakerOpen,
		ReadyToTrip:   func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerTrip },
		IsSuccessful:  func(err error) bool { return refusal.Of(err) != refusal.KubernetesAway },
		OnStateChange: func(_ string, _, to gobreaker.State) { k.metrics.breaker.Set(float64(to)) },
	})
	return k, nil
}

// NewKubeNamespace makes a Kube for the pods of one namespace alone, with rights
// there alone: get pods, serviceaccounts, workloadentries. It checks tokens by the keys of the API
// server, since to have one reviewed is a right of the cluster.
func NewKubeNamespace(config *rest.Config, trustDomain, namespace string, reg prometheus.Registerer) (*Kube, error) {
	k, err := NewKube(config, trustDomain, reg)
	if err == nil {
		k.keys = &issuerKeys{api: k.api, namespace: namespace}
	}
	return k, err
}

// Authenticate returns the pod that token belongs to. A refusal of reason
// KubernetesAway says that the API server gave no answer.
func (k *Kube) Authenticate(ctx context.Context, token Token) (Caller, error) {
	if err := screen(token, time.Now()); err != nil {
		return Caller{}, err
	}
	select {
	case k.turns <- struct{}{}:
		defer func() { <-k.turns }()
	case <-ctx.Done():
		return Caller{}, refusal.New(refusal.KubernetesAway, "too many callers wait for the API server; ask again: %w", ctx.Err())
	}
	// A caller that goes away, or gives a moment only, must not look like an API
	// server that does: it could open the breaker for all.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), kubeTimeout)
	defer cancel()
	caller, err := k.breaker.Execute(func() (Caller, error) { return k.prove(ctx, token) })
	if errors.Is(err, gobreaker.ErrOpenState) || errors.Is(err, gobreaker.ErrTooManyRequests) {
		return Caller{}, refusal.New(refusal.KubernetesAway, "the API server gave no answer lately; ask again in %v: %w", breakerOpen, err)
	}
	return caller, err
}

func (k *Kube) prove(ctx context.Context, token Token) (Caller, error) {
	proof := k.review
	if k.keys != nil {
		proof = k.keys.verify
	}
	b, err := proof(ctx, token)
	if err != nil {
		return Caller{}, err
	}
	if b.secret != "" {
		return k.outside(ctx, b)
	}
	pod, err := k.pod(ctx, b)
	if err != nil {
		return Caller{}, err
	}
	if err := b.check(pod); err != nil {
		return Caller{}, err
	}
	return b.caller(pod, k.trustDomain)
}

// review asks the API server whose token it is.
func (k *Kube) review(ctx context.Context, token Token) (binding, error) {
	start := time.Now()
	reply, err := k.api.AuthenticationV1().TokenReviews().Create(ctx, &authenticationv1.TokenReview{
		Spec: authenticationv1.TokenReviewSpec{Token: string(token), Audiences: []string{Audience}},
	}, metav1.CreateOptions{})
	k.metrics.done("tokenreview", start, err)
	if apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) {
		return binding{}, refusal.New(refusal.TokenDenied, "the API server cannot read the token")
	}
	if err != nil {
		return binding{}, away("review the token", err)
	}
	return readReview(reply.Status, token)
}

// pod reads the pod from the API server itself, not from a cache that may lag.
func (k *Kube) pod(ctx context.Context, b binding) (*corev1.Pod, error) {
	start := time.Now()
	pod, err := k.api.CoreV1().Pods(b.namespace).Get(ctx, b.pod, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		k.metrics.done("pod", start, nil)
		return nil, refusal.New(refusal.PodGone, "pod %s/%s does not exist", b.namespace, b.pod)
	}
	k.metrics.done("pod", start, err)
	if err != nil {
		return nil, away(fmt.Sprintf("read pod %s/%s", b.namespace, b.pod), err)
	}
	return pod, nil
}

// away is the refusal for a call that got no answer to what was asked.
func away(what string, err error) error {
	if apierrors.IsForbidden(err) {
		return refusal.New(refusal.KubernetesAway, "the CA may not %s: grant its service account the right: %w", what, err)
	}
	return refusal.New(refusal.KubernetesAway, "the API server did not %s; ask again: %w", what, err)
}

// binding is what the API server says of a token.
type binding struct {
	namespace, account string
	pod                string
	uid                types.UID
	node               string // "" from a cluster before 1.30, or for a pod that had no node yet
	secret             string // instead of a pod; "" for a token of a pod
}

// readReview takes the binding out of a review's answer.
func readReview(s authenticationv1.TokenReviewStatus, token Token) (binding, error) {
	if !s.Authenticated {
		reason := strings.ReplaceAll(s.Error, string(token), redacted)
		return binding{}, refusal.New(refusal.TokenDenied, "the API server denies the token: %s", reason)
	}
	// A server that does not know audiences would accept every token.
	if !slices.Contains(s.Audiences, Audience) {
		return binding{}, refusal.New(refusal.TokenAudience, "the API server did not confirm audience %q, but %q", Audience, s.Audiences)
	}
	parts := strings.Split(s.User.Username, ":")
	if len(parts) != 4 || parts[0] != "system" || parts[1] != "serviceaccount" {
		return binding{}, refusal.New(refusal.TokenClaims, "the token belongs to user %q, not to a service account", s.User.Username)
	}
	b := binding{
		namespace: parts[2], account: parts[3],
		pod: one(s.User.Extra[extraPod]), uid: types.UID(one(s.User.Extra[extraPodUID])), node: one(s.User.Extra[extraNode]),
	}
	if b.pod == "" || b.uid == "" {
		b.secret = secretOf(token)
	}
	return b, b.bound()
}

// bound refuses the token of nobody in particular.
func (b binding) bound() error {
	if b.secret == "" && (b.pod == "" || b.uid == "") {
		return refusal.New(refusal.TokenUnbound, "the token of %s/%s is bound neither to a pod nor to the Secret of a WorkloadEntry", b.namespace, b.account)
	}
	return nil
}

func one(values authenticationv1.ExtraValue) string {
	if len(values) != 1 {
		return ""
	}
	return values[0]
}

// check reports how pod differs from what the token says of it.
func (b binding) check(pod *corev1.Pod) error {
	name := pod.Namespace + "/" + pod.Name
	switch {
	case pod.UID != b.uid:
		return refusal.New(refusal.PodGone, "pod %s has UID %s, the token is for %s", name, pod.UID, b.uid)
	case pod.Spec.ServiceAccountName != b.account:
		return refusal.New(refusal.PodMismatch, "pod %s has service account %q, the token is of %q", name, pod.Spec.ServiceAccountName, b.account)
	case pod.Spec.NodeName == "":
		return refusal.New(refusal.PodMismatch, "pod %s is on no node", name)
	case b.node != "" && pod.Spec.NodeName != b.node:
		return refusal.New(refusal.PodMismatch, "pod %s is on node %q, the token is for %q", name, pod.Spec.NodeName, b.node)
	case overdue(pod.DeletionTimestamp, time.Now()):
		return refusal.New(refusal.PodGone, "pod %s was to be gone at %s", name, pod.DeletionTimestamp.UTC().Format(time.RFC3339))
	case pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed:
		return refusal.New(refusal.PodFinished, "pod %s has ended (%s)", name, pod.Status.Phase)
	}
	return nil
}

// deletionLeeway is how long after its time of deletion an object is still taken
// to be there, as by the API server for what tokens are bound to. Source:
// Kubernetes, pkg/serviceaccount, "invalidIfDeletedBefore".
const deletionLeeway = time.Minute

// overdue reports whether an object should be gone by now: that of a node that is
// lost, or that a finalizer keeps.
func overdue(deletion *metav1.Time, now time.Time) bool {
	return deletion != nil && now.After(deletion.Add(deletionLeeway))
}

// caller is what pod's certificate says. Labels of an object are checked like
// those of a token: they are printed in certificates (see claims.caller).
func (b binding) caller(pod *corev1.Pod, trustDomain string) (Caller, error) {
	id, err := spiffe.New(trustDomain, b.namespace, b.account)
	if err != nil {
		return Caller{}, &refusal.Error{Reason: refusal.TokenClaims, Err: err}
	}
	workload := workloadOf(pod)
	app, version := canonical(pod.Labels, workload)
	c := Caller{ID: id, Workload: workload, App: app, Version: version, Pod: Pod{Name: pod.Name, UID: string(pod.UID)}}
	for _, v := range []struct {
		field, value string
		max          int
	}{
		{"workload", c.Workload, maxName}, {"app", c.App, maxName}, {"version", c.Version, maxLabel},
	} {
		if err := checkName(v.value, v.max); err != nil {
			return Caller{}, refusal.New(refusal.TokenClaims, "pod %s/%s: %s: %w", pod.Namespace, pod.Name, v.field, err)
		}
	}
	return c, nil
}
