package pod

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"
	"time"
)

// defaultLogBytes is kept of a process whose Spec says nothing.
const defaultLogBytes = 256 << 10

// How exactly it is known when something was written: the marks of time have at
// least so much between them, and are at most so many.
const (
	markEvery = 10 * time.Millisecond
	maxMarks  = 8192
)

// Log holds the latest output of one process, over its restarts, in memory. It
// is safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	limit int
	kept  []byte
	first int64  // position of kept[0] in all that was ever written
	marks []mark // when what is kept was written, oldest first
	now   func() time.Time
	more  chan struct{} // closed, and replaced, when something was written
	ended bool
}

// mark says that what is from at on, up to the next, was written then or before.
type mark struct {
	at   int64
	when time.Time
}

func newLog(limit int) *Log {
	if limit <= 0 {
		limit = defaultLogBytes
	}
	return &Log{limit: limit, now: time.Now, more: make(chan struct{})}
}

// fill takes what the pod writes into the pipe, until all of its writers ended.
func (l *Log) fill(from *os.File) {
	defer from.Close()
	_, _ = io.Copy(l, from) // a pipe's end is the pod's end, whatever the error
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ended = true
	close(l.more)
}

// Write implements io.Writer: the oldest whole lines make room.
func (l *Log) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return 0, os.ErrClosed
	}
	l.mark()
	l.kept = append(l.kept, p...)
	if over := len(l.kept) - l.limit; over > 0 {
		if eol := bytes.IndexByte(l.kept[over:], '\n'); eol >= 0 && over+eol+1 < len(l.kept) {
			over += eol + 1
		}
		l.kept = append([]byte(nil), l.kept[over:]...)
		l.first += int64(over)
		l.forget()
	}
	close(l.more)
	l.more = make(chan struct{})
	return len(p), nil
}

// mark notes that something is about to be written.
func (l *Log) mark() {
	now := l.now()
	if n := len(l.marks); n > 0 && now.Sub(l.marks[n-1].when) < markEvery {
		return
	}
	if len(l.marks) >= maxMarks { // two become one: the older is taken to be as new as the newer
		half := l.marks[:0]
		for i := 0; i+1 < len(l.marks); i += 2 {
			half = append(half, mark{l.marks[i].at, l.marks[i+1].when})
		}
		l.marks = half
	}
	l.marks = append(l.marks, mark{l.first + int64(len(l.kept)), now})
}

// forget drops the marks of what is no longer kept, but for the one that holds for
// the oldest that is.
func (l *Log) forget() {
	gone := 0
	for gone+1 < len(l.marks) && l.marks[gone+1].at <= l.first {
		gone++
	}
	l.marks = append(l.marks[:0], l.marks[gone:]...)
}

// Part is how much of a log is wanted.
type Part struct {
	Lines int       // the last ones; all with less than 0
	Since time.Time // only what was written then or later; zero: whenever
}

// Tail gives that part of what is kept.
func (l *Log) Tail(p Part) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.kept[l.from(p):])
}

// from is where in kept a part begins.
func (l *Log) from(p Part) int {
	return max(l.tail(p.Lines), l.since(p.Since))
}

// since is where in kept begins what was written at a time or later: with a line,
// if one was begun before.
func (l *Log) since(t time.Time) int {
	if t.IsZero() {
		return 0
	}
	for _, m := range l.marks {
		if m.when.Before(t) {
			continue
		}
		at := int(max(m.at-l.first, 0))
		return bytes.LastIndexByte(l.kept[:at], '\n') + 1
	}
	return len(l.kept)
}

// tail is where in kept the last n lines begin.
func (l *Log) tail(n int) int {
	if n < 0 {
		return 0
	}
	at := len(l.kept)
	for ; n > 0 && at > 0; n-- {
		at = bytes.LastIndexByte(l.kept[:at-1], '\n') + 1
	}
	return at
}

// Follow reads a part and what comes after it, until the pod is gone or ctx is
// done: then io.EOF. What was overwritten before it was read is left out.
func (l *Log) Follow(ctx context.Context, p Part) io.Reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &follower{ctx: ctx, log: l, at: l.first + int64(l.from(p))}
}

type follower struct {
	ctx context.Context
	log *Log
	at  int64
}

// Read implements io.Reader.
func (f *follower) Read(p []byte) (int, error) {
	for {
		n, more := f.next(p)
		if n > 0 || len(p) == 0 {
			return n, nil
		}
		if more == nil {
			return 0, io.EOF
		}
		select {
		case <-more:
		case <-f.ctx.Done():
			return 0, io.EOF
		}
	}
}

// next copies what there is; with nothing there, it gives what to wait for, or
// nil when nothing will come.
func (f *follower) next(p []byte) (int, <-chan struct{}) {
	l := f.log
	l.mu.Lock()
	defer l.mu.Unlock()
	f.at = max(f.at, l.first)
	n := copy(p, l.kept[f.at-l.first:])
	f.at += int64(n)
	if n == 0 && l.ended {
		return 0, nil
	}
	return n, l.more
}
