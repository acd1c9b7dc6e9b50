package cluster

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/enroll"
)

// Names of the Secrets. Source: Istio, "Plug in CA Certificates". Their keys
// are the file names of package store.
const (
	PluggedIn = "cacerts"         // written by a user; wins where it is present
	SelfMade  = "istio-ca-secret" // written by the first replica that starts without PluggedIn
)

const (
	// selfMadeType is the type of Secret that Istio gives its own.
	selfMadeType corev1.SecretType = "istio.io/ca-root"
	// reread is the default of Options.Reread.
	reread = 5 * time.Second
	// openPause is the pause between looks while the API server is away.
	openPause = time.Second
)

// Labels of what we make. Source of the first: Istio, which finds its root
// ConfigMaps by it.
const (
	istioConfig = "istio.io/config"
	partOf      = "app.kubernetes.io/part-of"
	weft        = "weft"
)

// ErrNotYet is of what may be in force elsewhere, and cannot be used here now. So
// nothing is signed by what was in force before, once that may be known.
var ErrNotYet = errors.New("the other CA cannot be reached from here")

// invalidError is a Secret that holds no usable authority: looking again does
// not help.
type invalidError struct{ err error }

func (e *invalidError) Error() string { return e.err.Error() }
func (e *invalidError) Unwrap() error { return e.err }

// Open reads the signing key, or makes one where there is none; of replicas that
// start together, one makes it and the others take that. It waits while the API
// server is away. Errors name the Secret and the key at fault and what to do.
func (c *Cluster) Open(ctx context.Context) (*store.Authority, error) {
	last := ""
	for {
		began := time.Now()
		h, err := c.look(ctx)
		if err == nil {
			c.log.Info("signing key", "secret", c.opts.Namespace+"/"+h.secret)
			c.set(h)
			c.wasRead(began)
			return h.authority, nil
		}
		var invalid *invalidError
		if errors.As(err, &invalid) {
			return nil, err
		}
		if err.Error() != last {
			last = err.Error()
			c.log.Warn("the signing key cannot be read yet; will try again", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil, fmt.Errorf("cluster: no signing key: %w", errors.Join(ctx.Err(), err))
		case <-time.After(openPause):
		}
	}
}

// Follow calls use with each new authority until ctx is done, and returns ctx's
// error. An authority that use refuses, a Secret that turns bad and a plug-in
// that is deleted leave the last one in force, and are logged and a metric.
func (c *Cluster) Follow(ctx context.Context, use func(*store.Authority) error) error {
	poke := c.watchSecrets(ctx)
	tick := time.NewTicker(cmp.Or(c.opts.Reread, reread))
	defer tick.Stop()
	last := ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-poke:
		case <-tick.C:
		}
		err := c.Refresh(ctx, use)
		if ctx.Err() != nil {
			continue
		}
		c.report(err, &last)
	}
}

// report logs a fault once, not at each look.
func (c *Cluster) report(err error, last *string) {
	var invalid *invalidError
	switch {
	case err == nil:
		c.metrics.stale.Set(0)
		*last = ""
	case errors.As(err, &invalid):
		c.metrics.stale.Set(1)
		fallthrough
	default:
		if err.Error() != *last {
			*last = err.Error()
			c.log.Error("the last good signing key stays in force", "secret", c.opts.Namespace+"/"+c.current().secret, "error", err)
		}
	}
}

// Refresh reads the Secrets now, and has use take what they hold if that is
// another authority than the one in force.
func (c *Cluster) Refresh(ctx context.Context, use func(*store.Authority) error) error {
	c.turn.Lock()
	defer c.turn.Unlock()
	began := time.Now()
	h, err := c.look(ctx)
	if err != nil {
		c.goesOn(ctx, err, began)
		return err
	}
	if now := c.current(); h.same(now) {
		if h.version != now.version { // labels, say
			now.version = h.version
			c.mu.Lock()
			c.inForce = now
			c.mu.Unlock()
		}
	} else if err := c.take(h, use); err != nil {
		c.goesOn(ctx, err, began)
		return err
	}
	c.wasRead(began)
	return nil
}

// goesOn notes that what is in force stays so though a look at began failed: what
// was read cannot be used by anybody. A self-made key has to be there still as it
// was taken, for another replica may have moved a rotation on.
func (c *Cluster) goesOn(ctx context.Context, failed error, began time.Time) {
	var invalid *invalidError
	if !errors.As(failed, &invalid) {
		return
	}
	if now := c.current(); now.secret == SelfMade {
		ctx, cancel := context.WithTimeout(ctx, callTimeout)
		defer cancel()
		secret, err := c.api.CoreV1().Secrets(c.opts.Namespace).Get(ctx, SelfMade, metav1.GetOptions{})
		if err != nil || secret.ResourceVersion != now.version {
			return
		}
	}
	c.wasRead(began)
}

// take puts h in force; c.turn is held.
func (c *Cluster) take(h held, use func(*store.Authority) error) error {
	was := c.current().authority
	if err := use(h.authority); errors.Is(err, ErrNotYet) {
		return fmt.Errorf("Secret %s/%s: %w", c.opts.Namespace, h.secret, err)
	} else if err != nil {
		return &invalidError{fmt.Errorf("Secret %s/%s: %w", c.opts.Namespace, h.secret, err)}
	}
	if was == nil || !was.Chain[0].Equal(h.authority.Chain[0]) {
		c.log.Info("signing key changed", "secret", c.opts.Namespace+"/"+h.secret, "subject", h.authority.Chain[0].Subject.String())
	}
	c.set(h)
	return nil
}

func (h held) same(other held) bool {
	return h.secret == other.secret && maps.EqualFunc(h.parts, other.parts, bytes.Equal)
}

// look reads the authority that the Secrets say should be in force.
func (c *Cluster) look(ctx context.Context) (held, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	secrets, now := c.api.CoreV1().Secrets(c.opts.Namespace), c.current()
	secret, err := secrets.Get(ctx, PluggedIn, metav1.GetOptions{})
	switch {
	case err == nil:
		return c.parse(secret)
	case !apierrors.IsNotFound(err):
		return held{}, fmt.Errorf("Secret %s/%s: %w", c.opts.Namespace, PluggedIn, err)
	case now.secret == PluggedIn:
		// To go over to a root of our own would break every connection at once.
		return held{}, &invalidError{fmt.Errorf("Secret %s/%s was deleted: create it again; a CA that starts without it makes a root that no workload trusts", c.opts.Namespace, PluggedIn)}
	}
	secret, err = secrets.Get(ctx, SelfMade, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		secret, err = c.create(ctx, now)
	}
	if err != nil {
		return held{}, fmt.Errorf("Secret %s/%s: %w", c.opts.Namespace, SelfMade, err)
	}
	return c.parse(secret)
}

// create writes a new authority, or the one in force where somebody deleted its
// Secret. Another replica may be first: then its authority counts.
func (c *Cluster) create(ctx context.Context, now held) (*corev1.Secret, error) {
	parts := now.parts
	if parts == nil {
		var err error
		if parts, err = store.MakeFor(c.opts.TrustDomain, cmp.Or(c.opts.RootTTL, store.RootLife)); err != nil {
			return nil, err
		}
	}
	secrets := c.api.CoreV1().Secrets(c.opts.Namespace)
	secret, err := secrets.Create(ctx, &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Name: SelfMade, Namespace: c.opts.Namespace, Labels: map[string]string{partOf: weft}},
		Type:       selfMadeType,
		Data:       parts,
	}, metav1.CreateOptions{FieldManager: fieldManager})
	if apierrors.IsAlreadyExists(err) {
		return secrets.Get(ctx, SelfMade, metav1.GetOptions{})
	}
	if err == nil {
		c.log.Info("signing key written", "secret", c.opts.Namespace+"/"+SelfMade, "new", now.parts == nil)
	}
	return secret, err
}

// keysOf are the keys of a Secret of that name that hold the authority.
func keysOf(name string) []string {
	keys := []string{store.KeyFile, store.CertFile, store.ChainFile, store.RootFile}
	if name == SelfMade {
		return append(keys, store.RotationFile)
	}
	return append(keys, store.CASFile)
}

// parse checks what secret holds.
func (c *Cluster) parse(secret *corev1.Secret) (held, error) {
	parts := store.Parts{}
	for _, name := range keysOf(secret.Name) {
		if text := bytes.TrimSpace(secret.Data[name]); len(text) > 0 {
			parts[name] = append(slices.Clip(text), '\n')
		}
	}
	if secret.Name == SelfMade && len(parts[store.RootFile]) == 0 {
		parts[store.RootFile] = parts[store.CertFile] // Istio leaves the root out where it signs itself
	}
	authority, err := store.Parse(parts)
	if err != nil {
		return held{}, &invalidError{fmt.Errorf("Secret %s/%s: %w: put in %s, %s (or %s), %s (may be empty) and %s of one CA, or delete the Secret",
			c.opts.Namespace, secret.Name, err, store.CertFile, store.KeyFile, store.CASFile, store.ChainFile, store.RootFile)}
	}
	h := held{secret: secret.Name, version: secret.ResourceVersion, parts: parts, authority: authority}
	if text := secret.Data[store.CRLFile]; len(text) > 0 {
		parts[store.CRLFile] = text
		// What is wrong with it is told by the CA's status, and stops no certificate. A
		// text that cannot be read takes no list away.
		if h.lists, _, err = enroll.CheckLists(text, authority.Chain, authority.Roots, time.Now()); err != nil {
			h.lists, _, _ = enroll.CheckLists(c.current().lists, authority.Chain, authority.Roots, time.Now())
		}
	}
	return h, nil
}
