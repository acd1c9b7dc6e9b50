package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/ca"
)

// caPort is that of the CA's page for its loopback.
const caPort = 15014

// rotation asks the CA's replicas in the cluster by port-forward, which is what a
// caller must have the right to.
func (k *kube) rotation(ctx context.Context, do string) (ca.RotationStatus, error) {
	p, err := k.pods()
	if err != nil {
		return ca.RotationStatus{}, err
	}
	replicas, err := p.running(ctx, k.namespace, "app=weft-ca,app.kubernetes.io/part-of=weft")
	if err == nil && len(replicas) == 0 {
		err = fmt.Errorf("no CA runs in namespace %s; weft check says more", k.namespace)
	}
	if err != nil {
		return ca.RotationStatus{}, err
	}
	if do != "" { // the others follow in a moment
		return p.rotationOf(ctx, &replicas[0], do)
	}
	return p.rotation(ctx, replicas)
}

// rotation joins what the replicas say: each waits for those that it knows of.
// One that does not answer may be about to end.
func (p *pods) rotation(ctx context.Context, replicas []corev1.Pod) (ca.RotationStatus, error) {
	var all []ca.RotationStatus
	var failed error
	for i := range replicas {
		s, err := p.rotationOf(ctx, &replicas[i], "")
		if err != nil {
			failed = errors.Join(failed, err)
			continue
		}
		all = append(all, s)
	}
	if len(all) == 0 {
		return ca.RotationStatus{}, failed
	}
	return joined(all), nil
}

// joined is what all replicas know; how the rotation stands says the one that
// moves it on.
func joined(all []ca.RotationStatus) ca.RotationStatus {
	out := all[max(0, slices.IndexFunc(all, func(s ca.RotationStatus) bool { return s.Drives }))]
	for _, s := range all {
		if s.Stage != out.Stage || s.Replica == out.Replica {
			continue
		}
		for _, w := range s.Waiting {
			if !slices.Contains(out.Waiting, w) {
				out.Waiting = append(out.Waiting, w)
			}
		}
		out.Proxies = max(out.Proxies, s.Proxies)
	}
	return out
}

// rotationOf asks one replica.
func (p *pods) rotationOf(ctx context.Context, replica *corev1.Pod, do string) (s ca.RotationStatus, err error) {
	method, query := asked(do)
	text, err := p.get(ctx, page{replica.Namespace, replica.Name, caPort, "/debug/rotation" + query, method})
	if err != nil {
		if _, why, ok := strings.Cut(err.Error(), fmt.Sprintf("%d %s: ", http.StatusConflict, http.StatusText(http.StatusConflict))); ok {
			return s, errors.New(why) // not a fault, but an answer
		}
		return s, err
	}
	if err := json.Unmarshal(text, &s); err != nil {
		return s, fmt.Errorf("CA %s: %w", replica.Name, err)
	}
	return s, nil
}
