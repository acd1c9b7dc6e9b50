// Package dashboard serves a mesh's figures, objects and splits as a web page,
// to one person on this machine.
//
// In: what the proxies counted, looked at again and again, and the mesh's
// objects, by functions of the caller; the page's files. Out: an HTTP handler for
// a loopback port. It may import of Weft only figures, diag, tap and stream: how a mesh is
// reached is the caller's.
package dashboard

import (
	"context"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/weftmesh/weft/internal/figures"
)

// Look is a mesh at one time.
type Look struct {
	At        time.Time
	Pods      []figures.Pod
	Samples   figures.Samples
	Inventory []Pod
	Ejected   []Ejection // whose Since is filled in here
	Overflows []Overflow
	Missing   []string // pods that did not answer, and why
}

// Charted is a row with a chart.
type Charted struct {
	Kind            figures.Kind
	Namespace, Name string
	By              string // who counts it, as of a figures.Row; "": not known
}

// Options say what is shown, and to whom. All fields but Log and Past are needed.
type Options struct {
	Mesh   Mesh
	Look   func(context.Context) (Look, error)
	Config func(context.Context) (Config, error)
	// Object gives an object as YAML; false: there is none.
	Object func(ctx context.Context, kind, namespace, name string) ([]byte, bool, error)
	// Tap writes requests as they end, one JSON object a line, until ctx ends.
	Tap func(ctx context.Context, of Tapped, to io.Writer) error
	// Past is what a recorder, as Prometheus, knows of a row; nil: there is none.
	Past   func(context.Context, Charted) (History, error)
	Assets fs.FS
	Token  string // what a page must know to see anything
	Once   string // what GET /api/token takes for the token, once
	Log    *slog.Logger
}

// Dashboard looks at a mesh and keeps what it has seen.
type Dashboard struct {
	options Options
	wake    chan struct{} // someone begins to watch

	mu      sync.Mutex
	seen    memory
	watched time.Time // when figures were asked for last

	config recent
	lost   lost
	taken  atomic.Bool   // the token, for Once
	taps   chan struct{} // one for each page that watches requests
}

// New makes a dashboard; Run makes it look.
func New(o Options) *Dashboard {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Dashboard{options: o, wake: make(chan struct{}, 1), seen: newMemory(), watched: time.Now(), config: recent{read: o.Config}, taps: make(chan struct{}, maxTaps)}
}

// How often the proxies are asked: while someone watches, for the charts of the
// last hour else, and where nobody has watched for that hour; how long someone
// watches who has asked; and how long a look may take.
const (
	lively    = 2 * time.Second
	idle      = step
	forgotten = 5 * time.Minute
	watching  = 30 * time.Second
	patience  = time.Minute
)

// rest is how many times a look's own time passes before the next, up to maxRest:
// in a cluster each is a connection by the API server for every pod.
const (
	rest    = 4
	maxRest = 30 * time.Second
)

// Run looks until ctx ends. A mesh that is away is asked for until it is back.
func (d *Dashboard) Run(ctx context.Context) {
	next := time.NewTimer(0)
	defer next.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.wake:
		case <-next.C:
		}
		start := time.Now()
		l, err := d.look(ctx)
		if ctx.Err() != nil {
			return
		}
		next.Reset(max(d.note(l, err), min(rest*time.Since(start), maxRest)))
	}
}

func (d *Dashboard) look(ctx context.Context) (Look, error) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return d.options.Look(ctx)
}

// note keeps a look, and says when the next one is due.
func (d *Dashboard) note(l Look, err error) time.Duration {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err != nil {
		if d.seen.failed != err.Error() {
			d.options.Log.Warn("the mesh could not be looked at", "error", err)
		}
		d.seen.failed = err.Error()
	} else {
		d.seen.failed = ""
		d.seen.add(l)
	}
	switch unwatched := time.Since(d.watched); {
	case unwatched < watching:
		return lively
	case unwatched < kept:
		return idle
	}
	return forgotten
}

// now is what was counted in a window, up to the newest look.
func (d *Dashboard) now(window time.Duration) Now {
	d.mu.Lock()
	defer d.mu.Unlock()
	if time.Since(d.watched) >= watching {
		select {
		case d.wake <- struct{}{}:
		default: // it is about to look
		}
	}
	d.watched = time.Now()
	return d.seen.now(d.options.Mesh, window)
}

// How old the objects may be that are shown, how long a page waits for newer
// ones, and how long reading may take: of a cluster it is a list of each kind.
const (
	maxConfigAge = 5 * time.Second
	maxWait      = 5 * time.Second
	maxRead      = 2 * time.Minute
)

// recent keeps the objects, and reads them for one at a time.
type recent struct {
	read func(context.Context) (Config, error)
	mu   sync.Mutex
	kept Config
	at   time.Time
	next chan struct{} // closed when what is being read is there; nil: nothing is
}

func (r *recent) get(ctx context.Context) Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) < maxConfigAge {
		return r.kept
	}
	if r.next == nil { // it goes on when who asked has gone: a page does not wait for long
		r.next = make(chan struct{})
		go r.renew(context.WithoutCancel(ctx), r.next)
	}
	next := r.next
	r.mu.Unlock()
	select {
	case <-next:
	case <-ctx.Done():
	case <-time.After(maxWait):
	}
	r.mu.Lock()
	return r.kept
}

func (r *recent) renew(ctx context.Context, done chan struct{}) {
	ctx, cancel := context.WithTimeout(ctx, maxRead)
	defer cancel()
	fresh, err := r.read(ctx)
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.kept.Failed = err.Error()
	} else {
		fresh.At = time.Now()
		r.kept = fresh
	}
	r.at, r.next = time.Now(), nil
	close(done)
}

// Handler answers those who know the token, on a loopback address.
func (d *Dashboard) Handler() http.Handler {
	api := http.NewServeMux()
	api.HandleFunc("GET /api/now", d.serveNow)
	api.HandleFunc("GET /api/history", d.serveHistory)
	api.HandleFunc("GET /api/config", d.serveConfig)
	api.HandleFunc("GET /api/object", d.serveObject)
	api.HandleFunc("GET /api/tap", d.serveTap)
	mux := http.NewServeMux()
	mux.Handle("/api/", known("Bearer "+d.options.Token, api))
	mux.Handle("/api/token", known("Once "+d.options.Once, http.HandlerFunc(d.serveToken)))
	mux.Handle("/", http.FileServerFS(d.options.Assets))
	return Guard(framed(policy, mux))
}
