package enroll

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/weftmesh/weft/internal/spiffe"
)

// listener is an issuer whose CA takes reports.
type listener struct {
	issuer
	roots *Roots // read by each call, as a Client does

	mu    sync.Mutex
	said  []Report
	reply Answer
	err   error
}

func (l *listener) Report(_ context.Context, r Report) (Answer, error) {
	_, _ = l.roots.Reload()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.said = append(l.said, r)
	return l.reply, l.err
}

func (l *listener) answers(a Answer, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.reply, l.err = a, err
}

func (l *listener) last(t *testing.T) Report {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.said) == 0 {
		t.Fatal("nothing was reported")
	}
	return l.said[len(l.said)-1]
}

// TestTellsARotation: a workload says what it trusts and has, takes a second
// root, asks for a certificate of it when the CA signs by it, and says goodbye.
func TestTellsARotation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := newAuthority(t), newAuthority(t)
		file := filepath.Join(t.TempDir(), "roots.pem")
		write := func(text []byte) {
			t.Helper()
			if err := os.WriteFile(file, text, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		write(old.pem())
		roots, err := RootsFile(file)
		if err != nil {
			t.Fatal(err)
		}
		from := &listener{issuer: issuer{from: old, life: 24 * time.Hour}, roots: roots, reply: Answer{Signer: spiffe.Fingerprint(old.cert), Epoch: 1, Next: 5 * time.Second}}
		m := NewManager(ManagerOptions{Issuer: from, Roots: roots, Logger: slog.New(slog.DiscardHandler)})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = m.Run(ctx) }()
		changes, _ := m.Subscribe()
		pass(10 * time.Second)
		if r := from.last(t); r.Leaf != spiffe.Fingerprint(old.cert) || len(r.Roots) != 1 || r.Epoch != 1 {
			t.Errorf("at first %+v", r)
		}
		for len(changes) > 0 {
			<-changes
		}
		write(append(old.pem(), fresh.pem()...))
		pass(10 * time.Second)
		if r := from.last(t); len(r.Roots) != 2 {
			t.Errorf("with two roots %+v", r)
		}
		if len(changes) == 0 {
			t.Error("the roots changed, a report read them first, and nobody was told")
		}
		from.set(false, fresh)
		from.answers(Answer{Signer: spiffe.Fingerprint(fresh.cert), Epoch: 2, Next: 5 * time.Second}, nil)
		pass(10 * time.Second)
		if r := from.last(t); r.Leaf != spiffe.Fingerprint(fresh.cert) || r.Epoch != 2 {
			t.Errorf("when the new root signs %+v", r)
		}
		before := len(from.times())
		pass(time.Hour)
		if asked := len(from.times()); asked > before+1 { // one more may have been due
			t.Errorf("asked for %d certificates, has a good one", asked-before)
		}
		cancel()
		synctest.Wait()
		if !from.last(t).Leaving {
			t.Error("no goodbye")
		}
	})
}

// TestRootsThatOthersMustTrust: the CA hears of a root when those have it too who
// read it elsewhere, and the certificate does not go over to it before.
func TestRootsThatOthersMustTrust(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		old, fresh := newAuthority(t), newAuthority(t)
		both := append(old.pem(), fresh.pem()...)
		file := filepath.Join(t.TempDir(), "roots.pem")
		if err := os.WriteFile(file, both, 0o600); err != nil {
			t.Fatal(err)
		}
		roots, err := RootsFile(file)
		if err != nil {
			t.Fatal(err)
		}
		from := &listener{issuer: issuer{from: old, life: 24 * time.Hour}, roots: roots, reply: Answer{Signer: spiffe.Fingerprint(fresh.cert), Epoch: 1, Next: 5 * time.Second}}
		m := NewManager(ManagerOptions{Issuer: from, Roots: roots, Logger: slog.New(slog.DiscardHandler)})
		var theirs atomic.Pointer[[]byte]
		says := func(text []byte) { theirs.Store(&text) }
		says(old.pem())
		var known atomic.Bool
		m.KnownTo(func() ([][]byte, bool) { return [][]byte{both, *theirs.Load()}, known.Load() })
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() { _ = m.Run(ctx) }()
		pass(time.Minute)
		if from.said != nil {
			t.Errorf("before the others are known: %+v", from.said)
		}
		known.Store(true)
		pass(time.Minute)
		if r := from.last(t); len(r.Roots) != 1 || r.Roots[0] != spiffe.Fingerprint(old.cert) || r.Leaf != r.Roots[0] {
			t.Errorf("they lack the new root: %+v", r)
		}
		if asked := len(from.times()); asked != 1 {
			t.Errorf("asked for %d certificates", asked)
		}
		from.set(false, fresh)
		says(both)
		pass(time.Minute)
		if r := from.last(t); len(r.Roots) != 2 || r.Leaf != spiffe.Fingerprint(fresh.cert) {
			t.Errorf("they have it: %+v", r)
		}
		says(nil)
		before := len(from.said)
		pass(time.Hour)
		if len(from.said) != before {
			t.Errorf("one of them trusts nobody: %+v", from.last(t))
		}
	})
}

// TestReportsArePaced: often enough for a CA that counts on them, never without
// end, and not at all to one that does not know them.
func TestReportsArePaced(t *testing.T) {
	for name, c := range map[string]struct {
		reply       Answer
		err         error
		least, most int // in ten minutes
	}{
		"as the CA wants":     {Answer{Next: time.Minute}, nil, 10, 21},
		"a CA that is away":   {Answer{}, errAway, 50, 140},
		"one that knows none": {Answer{}, status.Error(codes.Unimplemented, ""), 1, 1},
		"one that wants all":  {Answer{Next: time.Nanosecond}, nil, 300, 1300},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				a := newAuthority(t)
				from := &listener{issuer: issuer{from: a, life: 24 * time.Hour}, roots: a.roots(), reply: c.reply, err: c.err}
				run(t, from, a.roots())
				pass(10 * time.Minute)
				from.mu.Lock()
				defer from.mu.Unlock()
				if n := len(from.said); n < c.least || n > c.most {
					t.Errorf("%d reports in ten minutes, want %d to %d", n, c.least, c.most)
				}
			})
		})
	}
}

// TestSaysWhatTheProxyHas: not what was handed to it.
func TestSaysWhatTheProxyHas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a, other := newAuthority(t), newAuthority(t)
		both, err := FixedRoots(append(a.pem(), other.pem()...))
		if err != nil {
			t.Fatal(err)
		}
		from := &listener{issuer: issuer{from: a, life: 24 * time.Hour}, roots: both, reply: Answer{Next: time.Minute}}
		m := NewManager(ManagerOptions{Issuer: from, Roots: both, Held: func() Held {
			return Held{Chain: a.issue(leaf(reviews, time.Hour)).ChainPEM, Roots: a.pem()}
		}})
		ctx, cancel := context.WithCancel(t.Context())
		go func() { _ = m.Run(ctx) }()
		pass(3 * time.Second)
		if r := from.last(t); len(r.Roots) != 1 {
			t.Errorf("said %+v", r)
		}
		cancel()
		synctest.Wait()
	})
}
