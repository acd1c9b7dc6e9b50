package install

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/apis"
)

// fieldOwner is the owner of the fields that an install sets, and the value of
// the label managed-by.
const fieldOwner = "weft"

// Options of an install. The zero value applies and does not wait.
type Options struct {
	DryRun bool                             // ask the API server, change nothing
	Wait   time.Duration                    // how long for all to be ready; 0: not at all
	Say    func(format string, args ...any) // progress, a line each; nil: nobody listens
}

// Done is what became of one object.
type Done string

// What an install does to an object: made, changed, left as it was, removed
// because the release has it no more, or not touched because it is another's.
const (
	Created   Done = "created"
	Changed   Done = "changed"
	Unchanged Done = "unchanged"
	Removed   Done = "removed"
	Foreign   Done = "kept as it is: it is not Weft's"
)

// Change is one object and what was done, or would be.
type Change struct {
	Object string // "Kind NAMESPACE/NAME"
	Part   string // component that it belongs to
	Done   Done
}

// Install applies a manifest: CRDs, which it awaits, then the objects in their
// order; then it removes what an earlier install of the revision made and this
// one has not, and waits until all is ready. Doing it twice changes nothing. An
// object of that name that is not Weft's stops it before anything is changed;
// a CRD or Namespace of another's is used as it is.
func (c *Cluster) Install(ctx context.Context, m *Manifest, o Options) ([]Change, error) {
	if o.Say == nil {
		o.Say = func(string, ...any) {}
	}
	run := &installing{Cluster: c, Options: o, manifest: m, before: map[string]*unstructured.Unstructured{}}
	if m.OneOnly {
		run.Cluster = c.Within(m.Namespace)
		found, err := run.checkWithin(ctx)
		if err != nil {
			return nil, err
		}
		if err := refuse(found); err != nil {
			return nil, err
		}
	}
	if err := run.look(ctx); err != nil {
		return nil, err
	}
	if err := run.applyAll(ctx); err != nil {
		return run.changes, err
	}
	if o.DryRun || o.Wait == 0 {
		return run.changes, nil
	}
	return run.changes, run.WaitReady(ctx, m, o)
}

// installing is one install on its way.
type installing struct {
	*Cluster
	Options
	manifest *Manifest
	before   map[string]*unstructured.Unstructured // by title, what was there
	changes  []Change
}

// look reads what there is of each object, and refuses what is another's.
func (r *installing) look(ctx context.Context) error {
	for _, o := range r.manifest.All() {
		found, err := r.get(ctx, o)
		if err != nil {
			return fmt.Errorf("%s: %w", title(o), err)
		}
		r.before[title(o)] = found
		if found == nil || !foreign(found) || mayBeForeign(o) {
			continue
		}
		if found.GetLabels()[managedBy] == "Helm" {
			return fmt.Errorf("%s was installed by Helm: change it with helm upgrade, or helm uninstall it first", title(o))
		}
		return fmt.Errorf("%s is there and is not Weft's: remove it, or install into another namespace (-n)", title(o))
	}
	return r.lookForCA(ctx)
}

// lookForCA refuses a revision that no CA serves: nothing of it would get a
// certificate.
func (r *installing) lookForCA(ctx context.Context) error {
	shared := !slices.ContainsFunc(r.manifest.Objects, func(o *unstructured.Unstructured) bool { return o.GetKind() == "Deployment" && part(o) == "ca" })
	if !shared {
		return nil
	}
	_, err := r.objects.Resource(deployments).Namespace(r.manifest.Namespace).Get(ctx, caName, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return fmt.Errorf("revision %s has no CA: install the default revision first, or make this one the default with --set isDefault=true", r.manifest.Revision)
	}
	return err
}

// caName is the CA's Deployment: one for all revisions.
const caName = "weft-ca"

// foreign says whether an object that there is was made by another.
func foreign(o *unstructured.Unstructured) bool {
	if o.GetKind() == "CustomResourceDefinition" {
		return o.GetAnnotations()[apis.OwnerAnnotation] == ""
	}
	return !ours(o)
}

// mayBeForeign are the kinds that are used as they are when another made them.
func mayBeForeign(o *unstructured.Unstructured) bool {
	return o.GetKind() == "CustomResourceDefinition" || o.GetKind() == "Namespace"
}

func (r *installing) applyAll(ctx context.Context) error {
	for _, o := range r.manifest.CRDs {
		if err := r.apply(ctx, o); err != nil {
			return err
		}
	}
	if len(r.manifest.CRDs) > 0 {
		r.Say("crds: %s", r.count("crds"))
	}
	if !r.DryRun {
		if err := r.established(ctx); err != nil {
			return err
		}
	}
	for _, o := range r.manifest.Objects {
		if err := r.apply(ctx, o); err != nil {
			return err
		}
	}
	if err := r.prune(ctx); err != nil {
		return err
	}
	for _, part := range r.parts() {
		if part != "crds" {
			r.Say("%s: %s", part, r.count(part))
		}
	}
	return nil
}

// apply applies one object, or says what would become of it.
func (r *installing) apply(ctx context.Context, o *unstructured.Unstructured) error {
	was := r.before[title(o)]
	if was != nil && foreign(was) {
		r.record(o, Foreign)
		return nil
	}
	if was == nil && r.DryRun {
		r.record(o, Created) // in a namespace that is not there, the API server could not say more
		return nil
	}
	client, err := r.of(o)
	if err != nil {
		return err
	}
	options := metav1.ApplyOptions{FieldManager: fieldOwner, Force: true}
	if r.DryRun {
		options.DryRun = []string{metav1.DryRunAll}
	}
	now, err := client.Apply(ctx, o.GetName(), o, options)
	switch {
	case apierrors.IsForbidden(err):
		return fmt.Errorf("%s: %w\nweft check --pre lists the rights that an install needs", title(o), err)
	case err != nil:
		return fmt.Errorf("%s: %w", title(o), err)
	case was == nil:
		r.record(o, Created)
	case same(was, now):
		r.record(o, Unchanged)
	default:
		r.record(o, Changed)
	}
	return nil
}

// same compares what there was with what an apply gave. A dry run gives no new
// version to what it would change.
func same(a, b *unstructured.Unstructured) bool {
	if a.GetResourceVersion() != b.GetResourceVersion() || a.GetGeneration() != b.GetGeneration() {
		return false
	}
	a, b = a.DeepCopy(), b.DeepCopy()
	a.SetManagedFields(nil)
	b.SetManagedFields(nil)
	return reflect.DeepEqual(a.Object, b.Object)
}

func (r *installing) record(o *unstructured.Unstructured, d Done) {
	r.changes = append(r.changes, Change{Object: title(o), Part: part(o), Done: d})
}

// part is the component of an object; the Namespace belongs to the base.
func part(o *unstructured.Unstructured) string {
	if p := o.GetLabels()[component]; p != "" {
		return p
	}
	return "base"
}

func (r *installing) parts() (out []string) {
	for _, ch := range r.changes {
		if !slices.Contains(out, ch.Part) {
			out = append(out, ch.Part)
		}
	}
	slices.Sort(out)
	return out
}

// count says how many objects of a part were created, changed and so on.
func (r *installing) count(part string) (text string) {
	for _, d := range []Done{Created, Changed, Unchanged, Removed, Foreign} {
		n := 0
		for _, ch := range r.changes {
			if ch.Part == part && ch.Done == d {
				n++
			}
		}
		if n > 0 && text != "" {
			text += ", "
		}
		if n > 0 {
			text += fmt.Sprintf("%d %s", n, d)
		}
	}
	return text
}

// prune removes what an earlier install of this revision made and the manifest
// does not hold: a gateway that is disabled now, say.
func (r *installing) prune(ctx context.Context) error {
	wanted := map[string]bool{}
	for _, o := range r.manifest.Objects {
		wanted[title(o)] = true
	}
	found, err := r.owned(ctx, r.manifest.Namespace, r.manifest.Revision)
	if err != nil {
		return err
	}
	for _, o := range found {
		if wanted[title(o)] {
			continue
		}
		if !r.DryRun {
			if err := r.remove(ctx, o); err != nil {
				return err
			}
		}
		r.record(o, Removed)
	}
	return nil
}

// owned are the objects of a revision that an install made, in the order in
// which they are removed; "" is every revision. The Namespace, which revisions
// share, is not among them.
func (c *Cluster) owned(ctx context.Context, namespace, revision string) (out []*unstructured.Unstructured, err error) {
	labels := partOf + "=" + partOfWeft + "," + managedBy + "=" + fieldOwner + "," + system + "=" + namespace
	if revision != "" {
		labels += "," + revisionKey + "=" + revision
	}
	for _, k := range slices.Backward(kinds) {
		if k.name == "Namespace" {
			continue
		}
		found, err := c.list(ctx, k.resource, "", labels) // a Role may be in a namespace of the user's
		if err != nil {
			return nil, fmt.Errorf("list %s: %w", k.resource.Resource, err)
		}
		for i := range found {
			out = append(out, &found[i])
		}
	}
	return out, nil
}

// remove deletes an object; one that is gone is no error.
func (c *Cluster) remove(ctx context.Context, o *unstructured.Unstructured) error {
	client, err := c.of(o)
	if err != nil {
		return err
	}
	background := metav1.DeletePropagationBackground
	err = client.Delete(ctx, o.GetName(), metav1.DeleteOptions{PropagationPolicy: &background})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("%s: %w", title(o), err)
	}
	return nil
}
