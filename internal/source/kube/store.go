package kube

import (
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/cache"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
)

// store takes what a reflector reads of one kind into the world. It holds
// nothing itself.
type store struct {
	world *world
	kind  kind
	// only is the key of the one object that the store is about; "" for all
	// of the kind.
	only string
	// absent stands for the only object where there is none; nil: nothing.
	absent *config.Object
	// replaced is called after each list; may be nil.
	replaced func()
	closed   bool // guarded by world.mu
}

// item is an object on its way from the API server into the world. The
// reflector reads its name and resource version.
type item struct {
	metav1.ObjectMeta
	key    string
	object *config.Object
	found  []diag.Diagnostic
}

// Transformer makes the reflector hold items, not whole objects, while it
// collects the first list.
func (s *store) Transformer() cache.TransformFunc {
	return func(in any) (any, error) { return s.item(in) }
}

func (s *store) item(in any) (*item, error) {
	if known, ok := in.(*item); ok {
		return known, nil
	}
	m, err := meta.Accessor(in)
	if err != nil {
		return nil, err
	}
	out := &item{key: s.key(m)}
	out.Namespace, out.Name, out.ResourceVersion = m.GetNamespace(), m.GetName(), m.GetResourceVersion()
	if o, ok := in.(runtime.Object); ok {
		out.object, out.found = s.kind.read(o)
	}
	return out, nil
}

func (s *store) key(m metav1.Object) string {
	if s.only != "" {
		return s.only
	}
	return m.GetNamespace() + "/" + m.GetName()
}

// Add takes an object that is new, or was read again.
func (s *store) Add(in any) error { return s.Update(in) }

// Update takes an object that changed.
func (s *store) Update(in any) error {
	it, err := s.item(in)
	if err != nil {
		return err
	}
	s.world.put(s, it)
	return nil
}

// Delete takes an object away.
func (s *store) Delete(in any) error {
	m, err := meta.Accessor(in)
	if err != nil {
		return err
	}
	if s.absent != nil {
		s.world.put(s, &item{key: s.only, object: s.absent})
	} else {
		s.world.remove(s, s.key(m))
	}
	return nil
}

// Replace takes all objects that there are.
func (s *store) Replace(list []any, _ string) error {
	all := make([]*item, 0, len(list))
	for _, in := range list {
		it, err := s.item(in)
		if err != nil {
			return err
		}
		all = append(all, it)
	}
	if len(all) == 0 && s.absent != nil {
		all = append(all, &item{key: s.only, object: s.absent})
	}
	s.world.replace(s, all)
	if s.replaced != nil {
		s.replaced()
	}
	return nil
}

// Resync is for stores that hold a queue.
func (s *store) Resync() error { return nil }
