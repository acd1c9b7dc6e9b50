package counts

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"time"
)

// kept is what the next agent needs, to go on where this one was. It is of one
// moment, so that a stream's next entry adds exactly what came after that.
type kept struct {
	Envoy   string             `json:"envoy"`
	Counted Counted            `json:"counted"`
	Streams map[string]*stream `json:"streams"`
}

// load takes what was kept of l.envoy. A file that cannot be read costs what is in
// it, and nothing else.
func (l *Ledger) load() {
	text, err := os.ReadFile(l.o.File)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	var was kept
	if err == nil {
		err = json.Unmarshal(text, &was)
	}
	if err != nil {
		l.o.Log.Warn("what the agent before counted is not taken", "error", err)
		return
	}
	if was.Envoy != l.envoy || was.Counted == nil || was.Streams == nil {
		return
	}
	l.counted, l.streams = was.Counted, was.Streams
	for metric, of := range l.counted {
		if of == nil {
			delete(l.counted, metric)
		}
		for labels := range of {
			l.bytes[metric] += len(labels)
		}
	}
	maps.DeleteFunc(l.streams, func(_ string, s *stream) bool { return s == nil || s.Values == nil })
	l.resume()
}

// resume takes the time without an agent for none: nobody heard then what streams
// said.
func (l *Ledger) resume() {
	var stopped time.Time
	for _, s := range l.streams {
		if s.Last.After(stopped) {
			stopped = s.Last
		}
	}
	now := l.now()
	for _, s := range l.streams {
		s.Last = now.Add(-stopped.Sub(s.Last))
	}
}

// save replaces the file at once, so that none is ever half written. Where it
// cannot, counters begin anew with the next agent.
func (l *Ledger) save() {
	if !l.changed {
		return
	}
	if err := write(l.o.File, kept{l.envoy, l.counted, l.streams}); err != nil {
		if err.Error() != l.saving {
			l.o.Log.Warn("messages and bytes will be counted anew when the agent is restarted", "error", err)
		}
		l.saving = err.Error()
		return
	}
	l.changed, l.saving = false, ""
}

func write(path string, what kept) error {
	text, err := json.Marshal(what)
	if err != nil {
		return fmt.Errorf("counts: %w", err)
	}
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return fmt.Errorf("counts: %w", err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		return fmt.Errorf("counts: %w", err)
	}
	return nil
}
