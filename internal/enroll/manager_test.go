package enroll

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"
)

// The tests of this file run in a bubble of testing/synctest, where the clock
// jumps to the next timer whenever every goroutine waits: days take no time.

// run runs a Manager until the test ends.
func run(t *testing.T, from Issuer, roots *Roots) *Manager {
	t.Helper()
	m := NewManager(ManagerOptions{Issuer: from, Roots: roots, Logger: slog.New(slog.DiscardHandler)})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run returned %v", err)
		}
	})
	return m
}

// pass lets d go by.
func pass(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

func TestRenewsAtTwoThirds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, life := range []time.Duration{24 * time.Hour, time.Minute, 3 * time.Second} {
			a := newAuthority(t)
			from := &issuer{from: a, life: life}
			m := run(t, from, a.roots())
			pass(5 * life)
			asked := from.times()
			if len(asked) < 7 {
				t.Errorf("life %v: asked %d times in five lives", life, len(asked))
			}
			for n := 1; n < len(asked); n++ {
				// Certificates count whole seconds, so up to one is missing of each.
				part := float64(asked[n].Sub(asked[n-1])) / float64(life)
				if slack := float64(time.Second) / float64(life); part > renewAt+0.001 || part < renewAt-renewJitter-slack {
					t.Errorf("life %v: renewed after %.3f of it", life, part)
				}
			}
			if time.Until(m.Current().Leaf.NotAfter) <= 0 {
				t.Errorf("life %v: an expired certificate is held", life)
			}
		}
	})
}

func TestServesTheOldOneWhileTheCAIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		from := &issuer{from: a, life: 24 * time.Hour}
		m := run(t, from, a.roots())
		synctest.Wait()
		old := m.Current()
		from.set(true, a)
		pass(20 * time.Hour)
		if m.Current() != old {
			t.Fatal("the old certificate is gone")
		}
		if tries := len(from.times()); tries < 400 || tries > 1300 {
			t.Errorf("%d tries in the four hours after two thirds of the life, want one in 15 s to 30 s", tries)
		}
		pass(10 * time.Hour) // past its end: peers will say so, and the CA may come back
		from.set(false, a)
		pass(retryMaxWithout)
		if m.Current() == old {
			t.Error("no new certificate after the CA's return")
		}
	})
}

func TestFirstCertificateComesSoonAfterTheCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		from := &issuer{from: a, life: time.Hour, away: true}
		m := run(t, from, a.roots())
		pass(10 * time.Minute)
		if _, err := m.Certificate(); err == nil || m.Current() != nil {
			t.Error("a certificate from nowhere")
		}
		from.set(false, a)
		start := time.Now()
		if _, err := m.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(start); took > retryMaxWithout {
			t.Errorf("took %v", took)
		}
	})
}

func TestWaitEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		m := run(t, &issuer{from: a, away: true}, a.roots())
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if _, err := m.Wait(ctx); err == nil {
			t.Error("no error")
		}
	})
}

func TestSubscribersHearOfEachRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newAuthority(t)
		m := run(t, &issuer{from: a, life: time.Hour}, a.roots())
		if _, err := m.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		changes, cancel := m.Subscribe()
		idle, cancelIdle := m.Subscribe() // never read: it must not hold up the rest
		defer cancelIdle()
		last := m.Current()
		for range 3 {
			<-changes
			if m.Current() == last {
				t.Error("told of a change that is not there")
			}
			last = m.Current()
		}
		if len(idle) != 1 {
			t.Errorf("%d changes wait for one who does not read, want them merged into 1", len(idle))
		}
		cancel()
		pass(2 * time.Hour)
		if len(changes) != 0 {
			t.Error("told of a change after cancel")
		}
	})
}

func TestNewRootsRenewAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		first, second := newAuthority(t), newAuthority(t)
		file := filepath.Join(t.TempDir(), "root.pem")
		writeRoots(t, file, first.pem())
		roots, err := RootsFile(file)
		if err != nil {
			t.Fatal(err)
		}
		from := &issuer{from: first, life: 24 * time.Hour}
		m := run(t, from, roots)
		synctest.Wait()
		old := m.Current()
		changes, cancel := m.Subscribe()
		defer cancel()

		// Both roots: the certificate still fits, and only the roots are news.
		both := append(first.pem(), second.pem()...)
		writeRoots(t, file, both)
		<-changes
		if m.Current() != old || !bytes.Equal(m.Roots().PEM(), both) {
			t.Error("want the new bundle and the old certificate")
		}
		// A file that is being written, or broken, changes nothing.
		writeRoots(t, file, []byte("-----BEGIN CERT"))
		pass(2 * rootsPoll)
		if !bytes.Equal(m.Roots().PEM(), both) {
			t.Error("a broken file replaced the roots")
		}
		// The second root alone: the certificate has to follow.
		from.set(false, second)
		writeRoots(t, file, second.pem())
		pass(2 * rootsPoll)
		if err := m.Current().Verify(m.Roots(), reviews); err != nil || m.Current() == old {
			t.Errorf("after the roots changed: %v", err)
		}
	})
}

func writeRoots(t *testing.T, file string, text []byte) {
	t.Helper()
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
}
