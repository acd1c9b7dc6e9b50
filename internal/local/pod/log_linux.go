package pod

import (
	"bytes"
	"context"
	"io"
	"os"
	"sync"
)

// defaultLogBytes is kept of a process whose Spec says nothing.
const defaultLogBytes = 256 << 10

// Log holds the latest output of one process, over its restarts, in memory. It
// is safe for concurrent use.
type Log struct {
	mu    sync.Mutex
	limit int
	kept  []byte
	first int64         // position of kept[0] in all that was ever written
	more  chan struct{} // closed, and replaced, when something was written
	ended bool
}

func newLog(limit int) *Log {
	if limit <= 0 {
		limit = defaultLogBytes
	}
	return &Log{limit: limit, more: make(chan struct{})}
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
	l.kept = append(l.kept, p...)
	if over := len(l.kept) - l.limit; over > 0 {
		if eol := bytes.IndexByte(l.kept[over:], '\n'); eol >= 0 && over+eol+1 < len(l.kept) {
			over += eol + 1
		}
		l.kept = append([]byte(nil), l.kept[over:]...)
		l.first += int64(over)
	}
	close(l.more)
	l.more = make(chan struct{})
	return len(p), nil
}

// Tail gives the last n lines that are kept; all with n < 0.
func (l *Log) Tail(n int) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.kept[l.tail(n):])
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

// Follow reads from the last n lines on (all with n < 0), until the pod is gone
// or ctx is done: then io.EOF. What was overwritten before it was read is left out.
func (l *Log) Follow(ctx context.Context, n int) io.Reader {
	l.mu.Lock()
	defer l.mu.Unlock()
	return &follower{ctx: ctx, log: l, at: l.first + int64(l.tail(n))}
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
