package status

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	core "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typed "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"

	"github.com/weftmesh/weft/pilot/internal/xds"
)

// Reasons of Events on pods that proxies leave out, and take back.
const (
	Ejected   = "Ejected"
	TakenBack = "TakenBack"
)

// Bounds of Events: ejections that wait to be written, beyond which they are
// dropped, and requests a second; for how long what repeats another is dropped,
// and how many are remembered for that.
const (
	maxWaiting = 100
	eventRate  = 5
	quiet      = 10 * time.Second
	maxQuiet   = 1000
)

// Ejections writes an Event on each pod that some proxy has begun to leave out, or
// has taken back: every replica for the proxies that are connected to it. Repeated ones count up
// one Event, and many of one pod are one: client-go's recorder sees to that.
type Ejections struct {
	waiting chan xds.Ejection
	now     func() time.Time

	mu    sync.Mutex
	taken map[repeated]time.Time // when
}

// repeated is what ejections have in common that repeat each other: all callers of
// a bad pod see the same.
type repeated struct{ namespace, pod, reason string }

// NewEjections takes reports at once; Run writes them.
func NewEjections() *Ejections {
	return &Ejections{waiting: make(chan xds.Ejection, maxWaiting), now: time.Now, taken: map[repeated]time.Time{}}
}

// Report never waits. What repeats another takes no room from others.
func (e *Ejections) Report(r xds.Ejection) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now, what := e.now(), repeated{r.Namespace, r.Pod, r.Reason}
	if at, known := e.taken[what]; known && now.Sub(at) < quiet {
		return
	}
	select {
	case e.waiting <- r:
		e.remember(what, now)
	default: // an Event is a hint: metrics count all
	}
}

// remember forgets what is old when there is no room, and the new where none is old.
func (e *Ejections) remember(what repeated, now time.Time) {
	if len(e.taken) >= maxQuiet {
		maps.DeleteFunc(e.taken, func(_ repeated, at time.Time) bool { return now.Sub(at) >= quiet })
	}
	if len(e.taken) < maxQuiet {
		e.taken[what] = now
	}
}

// Run writes until ctx ends; then it returns nil.
func (e *Ejections) Run(ctx context.Context, c *rest.Config, log *slog.Logger) error {
	slow := rest.CopyConfig(c)
	slow.RateLimiter, slow.QPS, slow.Burst = nil, eventRate, Rate
	client, err := kubernetes.NewForConfig(slow)
	if err != nil {
		return err
	}
	return e.run(ctx, client, log)
}

func (e *Ejections) run(ctx context.Context, client kubernetes.Interface, log *slog.Logger) error {
	broadcaster := record.NewBroadcaster(record.WithContext(ctx))
	defer broadcaster.Shutdown()
	broadcaster.StartRecordingToSink(&typed.EventSinkImpl{Interface: client.CoreV1().Events("")})
	recorder := broadcaster.NewRecorder(scheme.Scheme, core.EventSource{Component: "weft-pilot"})
	for {
		select {
		case <-ctx.Done():
			return nil
		case r := <-e.waiting:
			pod, err := find(ctx, client, r.Namespace, r.Pod)
			if err != nil && ctx.Err() == nil {
				log.Warn("no Event of an ejection", "namespace", r.Namespace, "pod", r.Pod, "error", err)
			}
			if pod != nil {
				event(recorder, pod, r)
			}
		}
	}
}

func event(to record.EventRecorder, pod *core.Pod, r xds.Ejection) {
	if r.Reason == xds.TakenBack {
		to.Event(pod, core.EventTypeNormal, TakenBack, clip(fmt.Sprintf("The proxy of %s sends it requests to %s:%s again.", r.By, r.Host, r.Port)))
		return
	}
	to.Event(pod, core.EventTypeWarning, Ejected, ejectedText(r))
}

func ejectedText(r xds.Ejection) string {
	return clip(fmt.Sprintf("The proxy of %s sends it no requests to %s:%s for a while, for its outlier detection saw: %s.", r.By, r.Host, r.Port, strings.ReplaceAll(r.Reason, "_", " ")))
}

// find is a pod with its UID, by which kubectl describe looks for Events; nil: it
// is gone. It lists, which the pilot may; to get single pods it has no right.
func find(ctx context.Context, client kubernetes.Interface, namespace, name string) (*core.Pod, error) {
	all, err := client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{FieldSelector: fields.OneTermEqualSelector("metadata.name", name).String()})
	if err != nil {
		return nil, err
	}
	for i := range all.Items {
		if all.Items[i].Name == name {
			return &all.Items[i], nil
		}
	}
	return nil, nil
}
