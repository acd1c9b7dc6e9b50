package nameserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"time"
)

// keptName is one line of the file in which names outlive the agent.
type keptName struct {
	Resource  string       `json:"resource"`
	Version   string       `json:"version"`
	TTL       uint32       `json:"ttl"` // seconds
	Addresses []netip.Addr `json:"addresses,omitempty"`
}

// keepEvery bounds how often the whole file is written: a change that comes alone
// is written at once.
const keepEvery = 5 * time.Second

// Keep writes the table to a file, readable by this user alone, after each
// change, until ctx ends. An agent that starts while the pilot is away Loads it:
// Envoy serves on then, and so must names.
func (t *Table) Keep(ctx context.Context, path string) error {
	var kept uint64
	tick := time.NewTicker(keepEvery)
	defer tick.Stop()
	for {
		changed, count := t.changes()
		if count != kept {
			if err := t.save(path); err != nil {
				return err
			}
			kept = count
			tick.Reset(keepEvery)
			select {
			case <-tick.C:
			case <-ctx.Done():
				return ctx.Err()
			}
			continue
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// changes gives the number of changes so far, and a channel that is closed with
// the next one.
func (t *Table) changes() (<-chan struct{}, uint64) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.changed, t.count
}

// noteChange wakes Keep. t.mu is held.
func (t *Table) noteChange() {
	t.count++
	close(t.changed)
	t.changed = make(chan struct{})
}

// save replaces the file at once, so that none is ever half written.
func (t *Table) save(path string) error {
	f, err := os.OpenFile(path+".new", os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("nameserver: keep names: %w", err)
	}
	out := bufio.NewWriter(f)
	err = errors.Join(t.write(out), out.Flush(), f.Close())
	if err == nil {
		err = os.Rename(path+".new", path)
	}
	if err != nil {
		return fmt.Errorf("nameserver: keep names: %w", err)
	}
	return nil
}

func (t *Table) write(out io.Writer) error {
	t.mu.RLock()
	defer t.mu.RUnlock()
	enc := json.NewEncoder(out)
	for resource, version := range t.versions {
		r := t.records[canonical(resource)]
		line := keptName{Resource: resource, Version: version, TTL: r.ttl, Addresses: append(r.v4[:len(r.v4):len(r.v4)], r.v6...)}
		if err := enc.Encode(line); err != nil {
			return err
		}
	}
	return nil
}

// Load fills an empty table with what an agent before this one kept. The pilot
// is told the versions, and sends what has changed since. No file is no error;
// of one that cannot be read nothing is taken.
func (t *Table) Load(path string) error {
	f, err := os.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("nameserver: kept names: %w", err)
	}
	defer f.Close()
	var lines []keptName
	for in := json.NewDecoder(bufio.NewReader(f)); ; {
		var line keptName
		if err := in.Decode(&line); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return fmt.Errorf("nameserver: kept names: %s: %w", path, err)
		}
		lines = append(lines, line)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, line := range lines {
		t.versions[line.Resource] = line.Version
		t.put(canonical(line.Resource), newRecord(line.Addresses, line.TTL))
	}
	t.synced = true
	return nil
}
