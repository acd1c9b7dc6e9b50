package dashboard

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/weftmesh/weft/internal/figures"
)

// defaultWindow is what figures are of where a page does not say.
const defaultWindow = 30 * time.Second

func (d *Dashboard) serveNow(w http.ResponseWriter, r *http.Request) {
	window := defaultWindow
	if text := r.URL.Query().Get("window"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > int(kept/time.Second) {
			http.Error(w, fmt.Sprintf("window=%q: it is seconds, 1 to %d", text, int(kept/time.Second)), http.StatusBadRequest)
			return
		}
		window = time.Duration(n) * time.Second
	}
	d.answer(w, d.now(window))
}

// serveToken gives the token to the first page that asks: what a browser is
// opened with can be seen by others on this machine, in its arguments.
func (d *Dashboard) serveToken(w http.ResponseWriter, _ *http.Request) {
	if d.taken.Swap(true) {
		d.options.Log.Warn("the address that the browser was opened with was asked for again: unless that was you, another user of this machine may see this page; end it with Ctrl-C")
		http.Error(w, "this address was opened before: open the one that weft dashboard printed", http.StatusUnauthorized)
		return
	}
	d.answer(w, map[string]string{"token": d.options.Token})
}

func (d *Dashboard) serveHistory(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	kind := figures.Kind(q.Get("kind"))
	if !slices.Contains(remembered, kind) {
		http.Error(w, fmt.Sprintf("kind=%q: it is one of %v", kind, remembered), http.StatusBadRequest)
		return
	}
	d.answer(w, d.history(r.Context(), rowName{kind, q.Get("namespace"), q.Get("name")}))
}

func (d *Dashboard) serveConfig(w http.ResponseWriter, r *http.Request) {
	c := d.config.get(r.Context())
	c.Objects, c.Splits = some(c.Objects), some(c.Splits)
	d.answer(w, c)
}

func (d *Dashboard) serveObject(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	text, there, err := d.options.Object(r.Context(), q.Get("kind"), q.Get("namespace"), q.Get("name"))
	switch {
	case err != nil:
		http.Error(w, err.Error(), http.StatusBadGateway)
	case !there:
		http.Error(w, fmt.Sprintf("%s %s/%s: there is none", q.Get("kind"), q.Get("namespace"), q.Get("name")), http.StatusNotFound)
	default:
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = w.Write(text) // who asked has gone
	}
}

func (d *Dashboard) answer(w http.ResponseWriter, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		d.options.Log.Error("figures could not be written", "error", err)
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(text) // who asked has gone
}

// some is a list that is never null.
func some[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}
