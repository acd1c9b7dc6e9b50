package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/ca/internal/refusal"
)

// A process outside of the cluster has no pod that its token could be bound to.
// It has a WorkloadEntry, and the token is bound to a Secret whose name is the
// entry's name and UID: the API server refuses the token once the Secret is gone,
// and the CA once the entry is, though another may have its name (decision 022).

// entryPath is that of one WorkloadEntry.
const entryPath = "/apis/networking.istio.io/v1/namespaces/%s/workloadentries/%s"

// entry is what is read of a WorkloadEntry.
// Source: istio.io/api networking/v1alpha3, message WorkloadEntry.
type entry struct {
	metav1.ObjectMeta `json:"metadata"`
	Spec              struct {
		Labels         map[string]string `json:"labels"`
		ServiceAccount string            `json:"serviceAccount"`
	} `json:"spec"`
}

// groupAnnotation names the WorkloadGroup that an entry was made of. Source:
// istio.io/api annotation, istio.io/autoRegistrationGroup.
const groupAnnotation = "istio.io/autoRegistrationGroup"

// entryOf takes name and UID of a WorkloadEntry out of its Secret's name.
func entryOf(secret string) (name, uid string, ok bool) {
	dot := strings.LastIndexByte(secret, '.')
	if dot <= 0 || dot == len(secret)-1 {
		return "", "", false
	}
	return secret[:dot], secret[dot+1:], true
}

// secretOf is the Secret that a token is bound to; "" if it is to none. The token
// must have been verified.
func secretOf(token Token) string {
	var c boundClaims
	if _, _, err := jwt.NewParser().ParseUnverified(string(token), &c); err != nil {
		return ""
	}
	return c.Kubernetes.Secret.Name
}

// outside proves a process outside of the cluster by its WorkloadEntry, which is
// read from the API server itself.
func (k *Kube) outside(ctx context.Context, b binding) (Caller, error) {
	name, uid, ok := entryOf(b.secret)
	if !ok {
		return Caller{}, refusal.New(refusal.TokenUnbound, "the token of %s/%s is bound to Secret %s, which is not that of a WorkloadEntry", b.namespace, b.account, b.secret)
	}
	start := time.Now()
	raw, err := k.api.Discovery().RESTClient().Get().AbsPath(fmt.Sprintf(entryPath, b.namespace, name)).DoRaw(ctx)
	if apierrors.IsNotFound(err) {
		k.metrics.done("workloadentry", start, nil)
		return Caller{}, refusal.New(refusal.PodGone, "WorkloadEntry %s/%s does not exist", b.namespace, name)
	}
	k.metrics.done("workloadentry", start, err)
	if err != nil {
		return Caller{}, away(fmt.Sprintf("read WorkloadEntry %s/%s", b.namespace, name), err)
	}
	var e entry
	if err := json.Unmarshal(raw, &e); err != nil {
		return Caller{}, away(fmt.Sprintf("read WorkloadEntry %s/%s", b.namespace, name), err)
	}
	account := e.Spec.ServiceAccount
	if account == "" {
		account = "default"
	}
	switch {
	case string(e.UID) != uid:
		return Caller{}, refusal.New(refusal.PodGone, "WorkloadEntry %s/%s has UID %s, the token is for %s", b.namespace, name, e.UID, uid)
	case account != b.account:
		return Caller{}, refusal.New(refusal.PodMismatch, "WorkloadEntry %s/%s has service account %q, the token is of %q", b.namespace, name, account, b.account)
	case overdue(e.DeletionTimestamp, time.Now()):
		return Caller{}, refusal.New(refusal.PodGone, "WorkloadEntry %s/%s was to be gone at %s", b.namespace, name, e.DeletionTimestamp.UTC().Format(time.RFC3339))
	}
	return b.caller(e.asPod(), k.trustDomain)
}

// asPod is what a certificate says of an entry: as of a pod with its name and
// labels, whose workload is the group.
func (e entry) asPod() *corev1.Pod {
	labels := maps.Clone(e.Spec.Labels)
	if labels == nil {
		labels = map[string]string{}
	}
	maps.Copy(labels, e.Labels) // as Istio reads them
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: e.Namespace, Name: e.Name, UID: e.UID, Labels: labels}}
	if group := e.Annotations[groupAnnotation]; group != "" {
		controller := true
		pod.OwnerReferences = []metav1.OwnerReference{{Kind: "WorkloadGroup", Name: group, Controller: &controller}}
	}
	return pod
}
