package cluster

import (
	"context"
	"errors"
	"fmt"
	"maps"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/ca/internal/store"
)

// errPluggedIn says why a plugged-in root does not rotate.
var errPluggedIn = errors.New("the CA's key is that of Secret " + PluggedIn + ", which is yours: put the old and the next root into its " + store.RootFile +
	", then change the key, then take the old root out (docs/guides/certificates.md)")

// errChanged: another replica was faster, or somebody edited the Secret.
var errChanged = errors.New("the rotation changed meanwhile: look at weft ca status, and say it again")

// MayRotate reports why the root in force cannot be rotated; nil if it can.
func (c *Cluster) MayRotate() error {
	if c.current().secret == PluggedIn {
		return errPluggedIn
	}
	return nil
}

// Save puts parts in the place of those of st, which must be in force and what
// the Secret holds, and has use take them. The other replicas follow.
func (c *Cluster) Save(ctx context.Context, st *store.Authority, parts store.Parts, use func(*store.Authority) error) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	now := c.current()
	if now.secret != SelfMade {
		return errPluggedIn
	}
	if now.authority != st {
		return errChanged
	}
	call, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	secrets := c.api.CoreV1().Secrets(c.opts.Namespace)
	secret, err := secrets.Get(call, SelfMade, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("Secret %s/%s: %w", c.opts.Namespace, SelfMade, err)
	}
	if secret.ResourceVersion != now.version {
		return errChanged
	}
	for _, name := range append(keysOf(SelfMade), store.CRLFile) { // other keys are not ours
		delete(secret.Data, name)
	}
	maps.Copy(secret.Data, parts)
	secret, err = secrets.Update(call, secret, metav1.UpdateOptions{FieldManager: fieldManager})
	if apierrors.IsConflict(err) {
		return errChanged
	}
	if err != nil {
		return fmt.Errorf("Secret %s/%s: %w", c.opts.Namespace, SelfMade, err)
	}
	h, err := c.parse(secret)
	if err != nil {
		return err
	}
	return c.take(h, use)
}
