package status

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/weftmesh/weft/internal/config"
)

// Manager is the field manager of the statuses.
const Manager = "weft-status"

// errGone says that the object does not exist any more, or is another one.
var errGone = errors.New("the object is gone")

// errNotServed says that discovery does not know the object's kind yet, which
// lags behind a new CRD.
var errNotServed = errors.New("the API server does not serve the kind yet")

// writer speaks to the API server.
type writer struct {
	client dynamic.Interface
	mapper *restmapper.DeferredDiscoveryRESTMapper
	reset  time.Time // when the mapper last asked anew
	writes *prometheus.CounterVec
}

func newWriter(c *rest.Config, metrics prometheus.Registerer) (*writer, error) {
	client, err := dynamic.NewForConfig(c)
	if err != nil {
		return nil, err
	}
	served, err := discovery.NewDiscoveryClientForConfig(c)
	if err != nil {
		return nil, err
	}
	w := &writer{client: client, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(served))}
	w.writes = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weft_pilot_status_writes_total", Help: "Statuses of objects that were to be written, by what came of it: written, gone, failed."}, []string{"result"})
	if metrics != nil {
		metrics.MustRegister(w.writes)
	}
	return w, nil
}

// written is a status as it stands in the cluster.
type written struct {
	verdict
	acceptedAt, programmedAt string // lastTransitionTime, RFC 3339
}

// askAgain is how often the API server is asked for kinds that it did not serve.
const askAgain = 2 * time.Second

func (w *writer) mapping(kind config.Kind) (*meta.RESTMapping, error) {
	m, err := w.mapper.RESTMapping(schema.GroupKind{Group: kind.Group(), Kind: string(kind)})
	if meta.IsNoMatchError(err) && time.Since(w.reset) > askAgain {
		w.mapper.Reset()
		w.reset = time.Now()
		m, err = w.mapper.RESTMapping(schema.GroupKind{Group: kind.Group(), Kind: string(kind)})
	}
	return m, err
}

// list gives the status of every object of a kind; none if it is not served.
func (w *writer) list(ctx context.Context, kind config.Kind, each func(key string, have written)) error {
	m, err := w.mapping(kind)
	if meta.IsNoMatchError(err) {
		return nil
	}
	if err != nil {
		return err
	}
	o := metav1.ListOptions{Limit: 500}
	for {
		page, err := w.client.Resource(m.Resource).List(ctx, o)
		if err != nil {
			return err
		}
		for i := range page.Items {
			item := &page.Items[i]
			each(string(kind)+"/"+item.GetNamespace()+"/"+item.GetName(), read(item))
		}
		if o.Continue = page.GetContinue(); o.Continue == "" {
			return nil
		}
	}
}

// put writes a status, and returns it as it stands then. Of an object that is
// not read (unread), the generation is asked for.
func (w *writer) put(ctx context.Context, t task, have written, unread bool) (written, error) {
	kind, key, _ := strings.Cut(t.key, "/")
	namespace, name, _ := strings.Cut(key, "/")
	m, err := w.mapping(config.Kind(kind))
	if err != nil {
		return have, w.count(err)
	}
	to := w.client.Resource(m.Resource).Namespace(namespace)
	uid := ""
	if t.object != nil {
		uid = t.object.UID
	}
	var others []any // conditions that go with ours in one list
	version := ""
	if shared := config.Kind(kind) == config.WorkloadEntry; unread || shared {
		now, err := to.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return have, w.count(err)
		}
		if unread {
			t.want.generation, uid = now.GetGeneration(), string(now.GetUID())
		}
		if uid != "" && string(now.GetUID()) != uid {
			return have, errGone
		}
		if shared {
			others, version = foreign(now), now.GetResourceVersion()
		}
	}
	next := after(have, t.want, time.Now())
	body := &unstructured.Unstructured{Object: map[string]any{"status": next.body(others)}}
	body.SetAPIVersion(m.GroupVersionKind.GroupVersion().String())
	body.SetKind(kind)
	body.SetName(name)
	body.SetNamespace(namespace)
	if uid != "" { // an object of the same name that came later is another one
		if err := unstructured.SetNestedField(body.Object, uid, "metadata", "uid"); err != nil {
			return have, err
		}
	}
	body.SetResourceVersion(version)
	_, err = to.ApplyStatus(ctx, name, body, metav1.ApplyOptions{FieldManager: Manager, Force: true})
	if version != "" && apierrors.IsConflict(err) {
		return have, errors.New("another wrote the status meanwhile")
	}
	return next, w.count(err)
}

// count counts a write and tells an object that is gone from a failure.
func (w *writer) count(err error) error {
	result := "written"
	switch {
	case meta.IsNoMatchError(err):
		return errNotServed
	case apierrors.IsNotFound(err), apierrors.IsConflict(err):
		result, err = "gone", errGone
	case err != nil:
		result = "failed"
	}
	w.writes.WithLabelValues(result).Inc()
	return err
}

// after is the status that follows have: a condition keeps its time for as long
// as its status is the same.
func after(have written, want verdict, now time.Time) written {
	stamp := now.UTC().Format(time.RFC3339)
	next := written{want, have.acceptedAt, have.programmedAt}
	if have.accepted.status != want.accepted.status || have.acceptedAt == "" {
		next.acceptedAt = stamp
	}
	if have.programmed.status != want.programmed.status || have.programmedAt == "" {
		next.programmedAt = stamp
	}
	return next
}

// body is the IstioStatus, with conditions of others.
func (w written) body(others []any) map[string]any {
	out := map[string]any{
		"observedGeneration": w.generation,
		"conditions": append([]any{
			w.condition(Accepted, w.accepted, w.acceptedAt),
			w.condition(Programmed, w.programmed, w.programmedAt),
		}, others...),
	}
	if list := w.validation(); len(list) > 0 {
		out["validationMessages"] = list
	}
	return out
}

func (w written) condition(name string, c condition, at string) map[string]any {
	return map[string]any{
		"type": name, "status": c.status, "reason": c.reason, "message": c.message,
		"lastTransitionTime": at, "observedGeneration": w.generation,
	}
}

// validation gives the messages as AnalysisMessageBase has them: what is said
// stands in the name of the type, for there is no other place.
func (w written) validation() (out []any) {
	if w.messages == "" {
		return nil
	}
	for line := range strings.SplitSeq(w.messages, "\n") {
		part := strings.SplitN(line, " ", 3)
		out = append(out, map[string]any{"level": part[0], "type": map[string]any{"code": part[1], "name": part[2]}})
	}
	return out
}

// stood is the part of an object's status that is ours.
type stood struct {
	Status struct {
		ObservedGeneration int64 `json:"observedGeneration"`
		Conditions         []struct {
			Type, Status, Reason, Message, LastTransitionTime string
		} `json:"conditions"`
		ValidationMessages []struct {
			Level string                      `json:"level"`
			Type  struct{ Code, Name string } `json:"type"`
		} `json:"validationMessages"`
	} `json:"status"`
}

// read takes the status of an object; what is not ours reads as never written.
func read(item *unstructured.Unstructured) (out written) {
	raw, err := json.Marshal(map[string]any{"status": item.Object["status"]})
	if err != nil {
		return out
	}
	var s stood
	if json.Unmarshal(raw, &s) != nil {
		return out
	}
	out.generation = s.Status.ObservedGeneration
	for _, c := range s.Status.Conditions {
		switch c.Type {
		case Accepted:
			out.accepted, out.acceptedAt = condition{c.Status, c.Reason, c.Message}, c.LastTransitionTime
		case Programmed:
			out.programmed, out.programmedAt = condition{c.Status, c.Reason, c.Message}, c.LastTransitionTime
		}
	}
	lines := make([]string, 0, len(s.Status.ValidationMessages))
	for _, m := range s.Status.ValidationMessages {
		lines = append(lines, fmt.Sprintf("%s %s %s", m.Level, m.Type.Code, m.Type.Name))
	}
	out.messages = strings.Join(lines, "\n")
	return out
}
