// Package file is a source that reads folders of YAML and JSON files, and
// follows their changes.
//
// In: folders (*.yaml, *.yml, *.json directly in them, as `kubectl apply -f`
// takes them). Out: whole states. A file with a mistake keeps its last good
// objects, but for those that guard workloads; other files still apply. Imports: source, config, diag, fsnotify.
package file

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/source"
)

const (
	// settle is how long a file that is written in place must be left alone
	// before it is read, so that no half of it is taken for the whole.
	settle = 25 * time.Millisecond
	// emptied is how long a file that had objects must be empty before that is
	// believed: most are about to be written.
	emptied = time.Second
	// rescan looks for changes that no event told of.
	rescan = 10 * time.Second
)

// Source follows folders.
type Source struct {
	folders []string
	log     *slog.Logger
	files   map[string]*fileState
	faulty  map[string]struct{} // files with findings, so that a change does not cost a look at all
	claims  claims
}

// fileState is a file as it was last read.
type fileState struct {
	stamp   stamp
	objects []*config.Object // the last good ones
	found   []diag.Diagnostic
}

// New returns a source over folders. Objects given in extra are part of every
// state, and give way to those of the same kind and name in a file.
func New(log *slog.Logger, folders []string, extra ...*config.Object) *Source {
	return &Source{folders: folders, log: log, files: map[string]*fileState{}, faulty: map[string]struct{}{}, claims: newClaims(folders, extra)}
}

// Observe adds a folder that holds what a cluster's controllers would have
// made of the users' objects (Services with their addresses, Pods,
// EndpointSlices): it wins over the other folders, silently. Call it before
// Run.
func (s *Source) Observe(folder string) *Source {
	s.folders = append(slices.Clone(s.folders), folder)
	s.claims.observed = filepath.Clean(folder)
	return s
}

// Read returns the present state of the folders, once. An unreadable folder is
// an error; a wrong file is a finding.
func Read(folders ...string) (source.State, error) {
	s := New(slog.New(slog.DiscardHandler), folders)
	for _, f := range folders {
		if _, err := os.ReadDir(f); err != nil {
			return source.State{}, fmt.Errorf("configuration folder: %w", err)
		}
	}
	s.scan(nil)
	return s.state(), nil
}

// Run publishes states until ctx ends. A folder that does not exist is an
// error.
func (s *Source) Run(ctx context.Context, publish func(source.State)) error {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return fmt.Errorf("watch folders: %w", err)
	}
	defer func() { _ = w.Close() }()
	for _, f := range s.folders {
		if err := w.Add(f); err != nil {
			return fmt.Errorf("configuration folder %s: %w", f, err)
		}
	}
	s.scan(nil)
	publish(s.state())
	return s.follow(ctx, w, publish)
}

// follow reads what events name: at once what was renamed into place, and
// after settle what was written to.
func (s *Source) follow(ctx context.Context, w *fsnotify.Watcher, publish func(source.State)) error {
	tick := time.NewTicker(rescan)
	defer tick.Stop()
	quiet := map[string]time.Time{} // when each file may be read
	wait := time.NewTimer(time.Hour)
	defer wait.Stop()
	for {
		changed := false
		select {
		case <-ctx.Done():
			return nil
		case err := <-w.Errors:
			s.log.Warn("watching folders; all files are looked at again", "error", err)
			changed = s.scan(quiet)
		case <-tick.C:
			changed = s.scan(quiet)
		case ev := <-w.Events:
			if !wanted(ev.Name) {
				continue
			}
			if ev.Has(fsnotify.Create) && renamed(ev.Name) {
				delete(quiet, ev.Name)
				changed = s.read(ev.Name)
			} else {
				quiet[ev.Name] = time.Now().Add(s.patience(ev.Name))
			}
		case <-wait.C:
			changed = s.readQuiet(quiet)
		}
		if changed {
			publish(s.state())
		}
		wait.Reset(next(quiet))
	}
}

func next(quiet map[string]time.Time) time.Duration {
	d := time.Hour
	for _, at := range quiet {
		d = min(d, max(time.Until(at), 0))
	}
	return d
}

// patience is how long to leave a file alone that was just written to.
func (s *Source) patience(name string) time.Duration {
	old := s.files[name]
	if info, err := os.Stat(name); err == nil && info.Size() == 0 && old != nil && len(old.objects) > 0 {
		return emptied
	}
	return settle
}

func (s *Source) readQuiet(quiet map[string]time.Time) (changed bool) {
	for name, at := range quiet {
		if time.Until(at) <= 0 {
			delete(quiet, name)
			changed = s.read(name) || changed
		}
	}
	return changed
}

func wanted(path string) bool {
	base := filepath.Base(path)
	switch filepath.Ext(base) {
	case ".yaml", ".yml", ".json":
		return !strings.HasPrefix(base, ".")
	}
	return false
}

// scan reads every file that differs from what is known, but for those that
// are being waited for.
func (s *Source) scan(quiet map[string]time.Time) (changed bool) {
	present := map[string]bool{}
	for _, folder := range s.folders {
		entries, err := os.ReadDir(folder)
		if err != nil {
			s.log.Warn("read folder; its last good state is kept", "folder", folder, "error", err)
			for name := range s.files {
				present[name] = present[name] || filepath.Dir(name) == filepath.Clean(folder)
			}
			continue
		}
		for _, e := range entries {
			if name := filepath.Join(folder, e.Name()); wanted(name) && !e.IsDir() {
				present[name] = true
			}
		}
	}
	for name := range s.files {
		present[name] = present[name] || false
	}
	// In the order of their names, so that a folder's mark, which is written
	// last and sorts first, is never newer here than what it vouches for.
	for _, name := range slices.Sorted(maps.Keys(present)) {
		if _, later := quiet[name]; !later {
			changed = s.read(name) || changed
		}
	}
	return changed
}

// errIrregular is of a pipe, a device or a socket: to read one may never end.
var errIrregular = errors.New("no regular file")

// read brings one file up to date and reports whether anything differs.
func (s *Source) read(name string) bool {
	old := s.files[name]
	st, err := statFile(name)
	if err != nil {
		if old != nil {
			s.claims.replace(name, old.objects, nil)
			delete(s.files, name)
			delete(s.faulty, name)
		}
		return old != nil
	}
	if old != nil && old.stamp == st {
		return false
	}
	data, err := os.ReadFile(name)
	if err != nil {
		s.log.Warn("read file; its last good state is kept", "file", name, "error", err)
		return false
	}
	objects, found := config.Decode(name, data)
	next := &fileState{stamp: st, objects: objects, found: found}
	var before []*config.Object
	if old != nil {
		before = old.objects
		next.objects = keep(before, objects, slices.ContainsFunc(found, isError))
	}
	s.claims.replace(name, before, next.objects)
	s.files[name] = next
	delete(s.faulty, name)
	if len(found) > 0 {
		s.faulty[name] = struct{}{}
	}
	return true
}

func isError(d diag.Diagnostic) bool { return d.Severity == diag.Error }

// keep returns the objects of a file after it changed: those of guarded if it
// has a mistake now; else the new ones, with the old pointer where an object is
// the same.
func keep(old, next []*config.Object, mistake bool) []*config.Object {
	if mistake {
		next = guarded(old, next)
	}
	known := make(map[objectID]*config.Object, len(old))
	for _, o := range old {
		known[idOf(o)] = o
	}
	out := make([]*config.Object, len(next))
	for i, o := range next {
		out[i] = o
		if was := known[idOf(o)]; was != nil && was.Equal(o) {
			out[i] = was
		}
	}
	return out
}

// guarded are the old objects of a file that has a mistake now, but for those
// that guard workloads: what can be read of them is in force at once, for what
// they close must not stay open until the file is right.
func guarded(old, next []*config.Object) []*config.Object {
	out := slices.DeleteFunc(slices.Clone(next), func(o *config.Object) bool { return !o.Kind.Guards() })
	for _, o := range old {
		if !slices.ContainsFunc(out, func(g *config.Object) bool { return idOf(g) == idOf(o) }) {
			out = append(out, o)
		}
	}
	return out
}

// state puts together what the files say.
func (s *Source) state() source.State {
	out := source.State{Set: s.claims.set}
	for _, name := range slices.Sorted(maps.Keys(s.faulty)) {
		out.Findings = append(out.Findings, s.files[name].found...)
	}
	out.Findings = append(out.Findings, s.claims.conflicts()...)
	return out
}
