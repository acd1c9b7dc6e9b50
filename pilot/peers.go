package pilot

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/hostname"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/pilot/internal/status"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// share is what one replica of the pilot knows of an object: in which form it
// has it, and on how many of its proxies that is live.
type share struct {
	Generation int64 `json:"generation"`
	xds.Count
}

// report is the page /debug/live: all shares of a replica, by
// "Kind/namespace/name". The leader of the replicas reads it.
type report map[string]share

// reporter makes reports. Any goroutine may ask it.
type reporter struct {
	state func() *status.State

	mu      sync.Mutex
	tally   *xds.Tally
	of      *status.State // that the last report is about
	last    report
	version int // of last
}

// report returns the newest, and its version.
func (r *reporter) report() (report, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	state := r.state() // before the count: that may be ahead of it, never behind
	touched := r.tally.Update()
	if state == nil || state == r.of && len(touched) == 0 {
		return r.last, r.version
	}
	next := report{}
	for _, kind := range config.IstioKinds() {
		for key, o := range state.Set.Of(kind).All() {
			name := string(kind) + "/" + key
			next[name] = share{Generation: o.Generation, Count: r.tally.Of(name)}
		}
	}
	r.of, r.last = state, next
	r.version++
	return r.last, r.version
}

// peerPage answers another replica, which proves by its certificate that it is one.
func (p *pilot) peerPage() http.Handler {
	r := &reporter{state: p.engine.standing.state, tally: p.xds.NewTally(ofIstio)}
	return http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		if q.TLS == nil {
			http.Error(w, "this page is for the other replicas of the pilot, over TLS", http.StatusForbidden)
			return
		}
		if id, err := enroll.PeerID(*q.TLS); err != nil || id != p.self() {
			http.Error(w, "this page is for the other replicas of the pilot", http.StatusForbidden)
			return
		}
		all, version := r.report()
		tag := strconv.Quote(p.boot + "-" + strconv.Itoa(version))
		w.Header().Set("ETag", tag)
		if q.Header.Get("If-None-Match") == tag {
			w.WriteHeader(http.StatusNotModified)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(all) // a caller that is gone asks again
	})
}

// self is the identity of the pilot's replicas.
func (p *pilot) self() spiffe.ID {
	id := ID(p.TrustDomain)
	if p.Cluster != nil {
		c := p.Cluster.withDefaults()
		id.Namespace = c.Namespace
		id.ServiceAccount += c.suffix()
	}
	return id
}

const (
	// peerPoll is how often the leader asks each other replica.
	peerPoll = time.Second
	// peerAge is how old a replica's report may be; its proxies are unknown then.
	peerAge = 10 * time.Second
	// maxReport bounds the bytes of a report.
	maxReport = 64 << 20
)

// peer is another replica, as the leader knows it.
type peer struct {
	name, address string
	heard         time.Time // when it answered last, or was first seen
	tag           string
	last          report
}

// peers are the other replicas of the pilot.
type peers struct {
	list   func() map[string]string // addresses by name
	client *http.Client
	log    *slog.Logger
	moved  chan<- struct{}

	mu      sync.Mutex
	of      map[string]*peer
	touched map[string]struct{} // objects whose shares changed
	unheard []string
}

// run asks the replicas until ctx ends.
func (ps *peers) run(ctx context.Context) {
	tick := time.NewTicker(peerPoll)
	defer tick.Stop()
	for {
		ps.ask(ctx)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ask asks every replica once.
func (ps *peers) ask(ctx context.Context) {
	known := ps.follow(ps.list())
	var all sync.WaitGroup
	for _, p := range known {
		all.Go(func() {
			if err := ps.fetch(ctx, p); err != nil && ctx.Err() == nil {
				ps.log.Warn("another replica of the pilot does not say what is live on its proxies", "replica", p.name, "error", err)
			}
		})
	}
	all.Wait()
	ps.judge()
}

// follow forgets replicas that are gone, and returns those that there are.
func (ps *peers) follow(now map[string]string) (out []*peer) {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	for name, p := range ps.of {
		if now[name] != p.address {
			ps.touch(p.last, nil)
			delete(ps.of, name)
		}
	}
	for name, address := range now {
		if ps.of[name] == nil {
			ps.of[name] = &peer{name: name, address: address, heard: time.Now()}
		}
		out = append(out, ps.of[name])
	}
	return out
}

// fetch reads a replica's report, if it differs from the last.
func (ps *peers) fetch(ctx context.Context, p *peer) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+p.address+"/debug/live", nil)
	if err != nil {
		return err
	}
	q.Header.Set("If-None-Match", p.tag)
	answer, err := ps.client.Do(q)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	next := p.last
	switch answer.StatusCode {
	case http.StatusNotModified:
	case http.StatusOK:
		next = report{}
		if err := json.NewDecoder(io.LimitReader(answer.Body, maxReport)).Decode(&next); err != nil {
			return err
		}
	default:
		return fmt.Errorf("%s answers %s", p.address, answer.Status)
	}
	ps.mu.Lock()
	defer ps.mu.Unlock()
	ps.touch(p.last, next)
	p.last, p.heard, p.tag = next, time.Now(), answer.Header.Get("ETag")
	return nil
}

// touch notes the objects whose shares differ. ps.mu is held.
func (ps *peers) touch(was, now report) {
	for name, s := range was {
		if t, ok := now[name]; !ok || !reflect.DeepEqual(s, t) {
			ps.touched[name] = struct{}{}
		}
	}
	for name := range now {
		if _, ok := was[name]; !ok {
			ps.touched[name] = struct{}{}
		}
	}
}

// judge finds the replicas that were not heard of for too long.
func (ps *peers) judge() {
	ps.mu.Lock()
	defer ps.mu.Unlock()
	var unheard []string
	for name, p := range ps.of {
		if time.Since(p.heard) > peerAge {
			unheard = append(unheard, name)
		}
	}
	slices.Sort(unheard)
	if !slices.Equal(unheard, ps.unheard) {
		ps.unheard = unheard
		for _, p := range ps.of {
			ps.touch(p.last, nil)
		}
	}
	if len(ps.touched) > 0 {
		select {
		case ps.moved <- struct{}{}:
		default:
		}
	}
}

// tallyOfAll counts the proxies of all replicas.
type tallyOfAll struct {
	own   *xds.Tally
	peers *peers
}

// Update implements status.Tally.
func (t *tallyOfAll) Update() map[string]struct{} {
	out := t.own.Update()
	t.peers.mu.Lock()
	defer t.peers.mu.Unlock()
	maps.Copy(out, t.peers.touched)
	t.peers.touched = map[string]struct{}{}
	return out
}

// Of implements status.Tally. Proxies of a replica that has the object in
// another form count as not live; of one that does not know it, nothing is known.
func (t *tallyOfAll) Of(object string, generation int64) status.Count {
	out := status.Count{Count: t.own.Of(object)}
	t.peers.mu.Lock()
	defer t.peers.mu.Unlock()
	out.Unheard = slices.Clone(t.peers.unheard)
	for name, p := range t.peers.of {
		s, there := p.last[object]
		if p.last != nil && !there && !slices.Contains(out.Unheard, name) {
			out.Unheard = append(out.Unheard, name)
		}
		out.Proxies += s.Proxies
		if s.Generation == generation {
			out.Live += s.Live
		}
		out.Refusals = append(slices.Clip(out.Refusals), s.Refusals...)
	}
	slices.Sort(out.Unheard)
	return out
}

// others lists the other replicas that serve, as the pilot's own Service has
// them.
func (p *pilot) others() map[string]string {
	out := map[string]string{}
	now, c := p.engine.outcome.Load(), p.Cluster.withDefaults()
	if now == nil {
		return out
	}
	mesh := now.result.Mesh
	host := hostname.Service("weft-pilot"+c.suffix(), c.Namespace, mesh.Settings.ClusterDomain)
	ends, _ := mesh.Endpoints.Get(host)
	for _, end := range ends.Of(monitoringPort) {
		if end.Pod != c.Replica && end.Health != model.Unhealthy {
			out[end.Pod] = net.JoinHostPort(end.Address, strconv.FormatUint(uint64(end.Port), 10))
		}
	}
	return out
}

// monitoringPort is that of the pilot's Service.
const monitoringPort = 15014

// peerClient speaks to monitoring ports, which speak HTTP/1.1.
func peerClient(secure *tls.Config) *http.Client {
	secure.NextProtos = []string{"http/1.1"}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: secure}}
}

// tally counts for the leader, until ctx ends.
func (p *pilot) tally(ctx context.Context, moved chan<- struct{}) status.Tally {
	ps := &peers{list: p.others, log: p.Log, moved: moved, of: map[string]*peer{}, touched: map[string]struct{}{}}
	if p.Identity != nil {
		ps.client = peerClient(p.Identity.ClientTLS(p.self()))
		ps.ask(ctx) // before the first word on any object
		go ps.run(ctx)
	}
	return &tallyOfAll{own: p.xds.NewTally(ofIstio), peers: ps}
}
