package xds

import (
	"fmt"
	"slices"
	"strings"
	"time"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// watch is what one stream wants and has of one resource type.
type watch struct {
	typeURL  string
	wildcard bool              // everything of the type (for virtual hosts: of the tables it holds)
	names    nameSet           // subscribed to by name
	known    map[string]string // name to version at connect, until the first answer is made
	lanes    []lane            // one for each class of the stream

	denied   bool // the proxy may have nothing of the type
	named    bool // only what is named is given, never everything
	due      bool // an answer is owed, even an empty one
	answered bool // the first answer was sent
	more     bool // a limited answer left something over
	waiting  bool // updates wait for clusters that the client refused
	// force holds names to answer for whatever was sent before.
	force  nameSet
	tables []string // route tables that are new: all their virtual hosts go

	flight *flight // the answer that awaits its ACK

	refusals
	lingering
	lastSent, lastAcked string // nonces
}

// lane is a watch's state towards one class.
type lane struct {
	base  table // the class's table when sent was last made
	sent  table // what the client was sent; only names it subscribes to count
	acked table // what it acknowledged
}

// flight is an answer that was sent and awaits its ACK or NACK.
type flight struct {
	nonce    string
	at       time.Time // when it was made
	items    []item
	before   []table // what each lane had sent before it
	since    time.Time
	rollback bool
}

// item is one resource to send; a nil res removes it. It is small, because a
// client that comes gets thousands at once.
type item struct {
	res   *snapshot.Resource
	gone  *string // the name, where res is nil
	lane  int32
	fresh bool // the client had none of this name
}

func one(lane int, name string, res *snapshot.Resource, fresh bool) item {
	it := item{lane: int32(lane), fresh: fresh}
	return it.named(name, res)
}

func (it item) named(name string, res *snapshot.Resource) item {
	if it.res, it.gone = res, nil; res == nil {
		of := name // name itself would be on the heap for all
		it.gone = &of
	}
	return it
}

// with is the item with another state of its resource, nil for none.
func (it item) with(res *snapshot.Resource) item {
	return item{lane: it.lane}.named(it.name(), res)
}

func (it item) name() string {
	if it.res != nil {
		return it.res.Name
	}
	return *it.gone
}

// Limits of what one client may ask for. Envoy names are far below them.
const (
	maxNames   = 100_000 // names and versions of one type
	maxNameLen = 2048    // bytes
)

// wildcards are the types for which a first request without names means all.
var wildcards = map[string]bool{snapshot.Cluster: true, snapshot.Listener: true, snapshot.VirtualHost: true, snapshot.Name: true}

func newWatch(typeURL string, lanes int) *watch {
	return &watch{typeURL: typeURL, lanes: make([]lane, lanes)}
}

// open takes the first request of a type on a stream.
func (w *watch) open(req *discovery.DeltaDiscoveryRequest) error {
	if err := checkNames(req); err != nil {
		return err
	}
	w.due = true
	w.wildcard = len(req.ResourceNamesSubscribe) == 0 && wildcards[w.typeURL] && !w.named
	w.known = req.InitialResourceVersions
	w.subscribe(req.ResourceNamesSubscribe)
	w.force = slices.DeleteFunc(w.force, func(name string) bool { _, ok := w.known[name]; return ok })
	return nil
}

// change takes the subscriptions of a later request.
func (w *watch) change(req *discovery.DeltaDiscoveryRequest) error {
	if err := checkNames(req); err != nil {
		return err
	}
	for _, name := range req.ResourceNamesUnsubscribe {
		if name == "*" {
			w.wildcard = false
		}
		w.names.remove(name)
		w.force.remove(name)
	}
	w.subscribe(req.ResourceNamesSubscribe)
	if len(w.names) > maxNames {
		return fmt.Errorf("subscribes to more than %d resources of %s", maxNames, shortType(w.typeURL))
	}
	return nil
}

func (w *watch) subscribe(names []string) {
	added := make([]string, 0, len(names))
	for _, name := range names {
		if name == "*" {
			w.wildcard, w.due = !w.named, true
			continue
		}
		added = append(added, name)
	}
	w.names.add(added)
	w.force.add(added)
}

// checkNames bounds what a request makes the pilot remember.
func checkNames(req *discovery.DeltaDiscoveryRequest) error {
	count := max(len(req.ResourceNamesSubscribe), len(req.InitialResourceVersions), len(req.ResourceNamesUnsubscribe))
	if count > maxNames {
		return fmt.Errorf("request names %d resources of %s, the limit is %d", count, shortType(req.TypeUrl), maxNames)
	}
	for _, name := range req.ResourceNamesSubscribe {
		if len(name) > maxNameLen {
			return fmt.Errorf("resource name of %d bytes in a subscription to %s, the limit is %d", len(name), shortType(req.TypeUrl), maxNameLen)
		}
	}
	return nil
}

// shortType is a type URL without its package.
func shortType(typeURL string) string { return typeURL[strings.LastIndexByte(typeURL, '.')+1:] }

// tableOf is the route table of a virtual host's resource name, TABLE/HOST.
func tableOf(name string) string {
	table, _, _ := strings.Cut(name, "/")
	return table
}

// resume sets the lanes to what a client that reconnects says it has, so that
// only what it lacks is sent.
func (w *watch) resume(targets []table) {
	defer func() { w.known = nil }()
	if len(w.known) == 0 {
		return
	}
	left := make(map[string]string, len(w.known))
	for name, version := range w.known {
		left[name] = version
	}
	for i, target := range targets {
		held := target
		for name, res := range target.All() {
			if w.known[name] != res.Version {
				held = held.Without(name)
			} else {
				delete(left, name)
			}
		}
		w.lanes[i].sent = held
	}
	for name, version := range left {
		w.resumeOther(name, version, targets)
	}
	for i := range w.lanes {
		w.lanes[i].acked = w.lanes[i].sent
	}
}

// resumeOther records a resource that the client has in another version, or
// that is gone, so that it is updated or removed.
func (w *watch) resumeOther(name, version string, targets []table) {
	in := 0
	for i, target := range targets {
		if _, ok := target.Get(name); ok {
			in = i
		}
	}
	old := &snapshot.Resource{Type: w.typeURL, Name: name, Version: version}
	w.lanes[in].sent = w.lanes[in].sent.With(name, old)
}

// absent answers every name that was asked for with "there is none".
func (w *watch) absent() (items []item) {
	for _, name := range w.force {
		items = append(items, one(0, name, nil, false))
	}
	w.force = nil
	return items
}

// ack takes the acknowledgement of the answer in flight.
func (w *watch) ack() {
	for i := range w.lanes {
		w.lanes[i].acked = w.lanes[i].sent
	}
	if !w.flight.rollback {
		w.nacks = 0
		w.limit *= 2
	}
	w.lastAcked = w.flight.nonce
	w.flight = nil
}

// resize fits the lanes to a stream whose number of classes changed.
func (w *watch) resize(lanes int) {
	w.lanes = w.lanes[:min(len(w.lanes), lanes)]
	for len(w.lanes) < lanes {
		w.lanes = append(w.lanes, lane{})
	}
}
