// Package dashboard serves a mesh's figures, objects and splits as a web page,
// to one person on this machine.
//
// In: what the proxies counted, looked at again and again, and the mesh's
// objects, by functions of the caller; the page's files. Out: an HTTP handler for
// a loopback port. It may import of Weft only figures, diag and tap: how a mesh is
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
	Missing   []string   // pods that did not answer, and why
}

// Options say what is shown, and to whom. All fields but Log are needed.
type Options struct {
	Mesh   Mesh
	Look   func(context.Context) (Look, error)
	Config func(context.Context) (Config, error)
	// Object gives an object as YAML; false: there is none.
	Object func(ctx context.Context, kind, namespace, name string) ([]byte, bool, error)
	// Tap writes requests as they end, one JSON object a line, until ctx ends.
	Tap    func(ctx context.Context, of Tapped, to io.Writer) error
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
	taken  atomic.Bool   // the token, for Once
	taps   chan struct{} // one for each page that watches requests
}

// New makes a dashboard; Run makes it look.
func New(o Options) *Dashboard {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return &Dashboard{options: o, wake: make(chan struct{}, 1), seen: newMemory(), config: recent{read: o.Config}, taps: make(chan struct{}, maxTaps)}
}

// How often the proxies are asked: while someone watches, and for the charts of
// the last hour else; and how long someone watches who has asked.
const (
	lively   = 2 * time.Second
	idle     = step
	watching = 30 * time.Second
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
		l, err := d.options.Look(ctx)
		if ctx.Err() != nil {
			return
		}
		next.Reset(d.note(l, err))
	}
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
	if time.Since(d.watched) < watching {
		return lively
	}
	return idle
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

// maxConfigAge is how old the objects may be that are shown: reading a cluster's
// costs it a list of each kind.
const maxConfigAge = 5 * time.Second

// recent keeps the objects, and reads them for one at a time.
type recent struct {
	read func(context.Context) (Config, error)
	mu   sync.Mutex
	kept Config
	at   time.Time
}

func (r *recent) get(ctx context.Context) Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	if time.Since(r.at) < maxConfigAge {
		return r.kept
	}
	fresh, err := r.read(ctx)
	switch {
	case ctx.Err() != nil: // who asked has gone
		return r.kept
	case err != nil:
		r.kept.Failed = err.Error()
	default:
		fresh.At = time.Now()
		r.kept = fresh
	}
	r.at = time.Now()
	return r.kept
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
	return Guard(framed(mux))
}
