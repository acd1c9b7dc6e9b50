package enroll

import (
	"bytes"
	"cmp"
	"context"
	"encoding/pem"
	"errors"
	"slices"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const (
	// tellSoon is the pause before a change is told, time for a proxy to take it;
	// it doubles until the proxy has.
	tellSoon = time.Second
	// tellDefault and the bounds are for a CA that says nothing or nonsense, and
	// for one that is away.
	tellDefault = 5 * time.Minute
	tellMin     = time.Second
	tellMax     = 30 * time.Minute
	// tellRetry doubles with each failure, up to the pause that the CA wants, or
	// tellBefore while it has said none: it may have forgotten us, and counts on
	// hearing of us in that time.
	tellRetry   = time.Second
	tellBefore  = 10 * time.Second
	tellGoodbye = 2 * time.Second
)

// Held is what a workload serves with and verifies its peers with.
type Held struct {
	Chain []byte // PEM, leaf first; empty: nothing yet
	Roots []byte // PEM
}

// reporter is an Issuer whose CA also takes reports.
type reporter interface {
	Report(ctx context.Context, r Report) (Answer, error)
}

// held is what the Manager's user serves with; what the Manager has, where
// nobody says otherwise.
func (m *Manager) held() Held {
	if m.opts.Held != nil {
		return m.opts.Held()
	}
	cert := m.Current()
	if cert == nil {
		return Held{}
	}
	roots := m.opts.Roots.PEM()
	if others := m.peers.Load(); others != nil {
		bundles, known := (*others)()
		if !known {
			return Held{}
		}
		for _, theirs := range bundles {
			roots = common(roots, theirs)
		}
	}
	return Held{cert.ChainPEM, roots}
}

// common is what of a bundle is in another one too.
func common(bundle, other []byte) (out []byte) {
	known := map[string]bool{}
	for block, rest := pem.Decode(other); block != nil; block, rest = pem.Decode(rest) {
		known[string(block.Bytes)] = true
	}
	missing := false
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		if known[string(block.Bytes)] {
			out = append(out, pem.EncodeToMemory(block)...)
		} else {
			missing = true
		}
	}
	if !missing {
		return bundle
	}
	return out
}

// settled reports whether what is served with is what the Manager has.
func (m *Manager) settled(h Held) bool {
	cert := m.Current()
	return cert != nil && bytes.Equal(h.Chain, cert.ChainPEM) && bytes.Equal(h.Roots, m.opts.Roots.PEM())
}

// tell reports to the CA what is held, at each change and from time to time,
// until ctx is done; then it says goodbye. A CA that takes no reports is left
// alone.
func (m *Manager) tell(ctx context.Context, to reporter) {
	changes, cancel := m.Subscribe()
	defer cancel()
	if _, err := m.Wait(ctx); err != nil {
		return
	}
	var last Answer
	retry, soon, silent := tellRetry, tellSoon, false
	for pause := time.Duration(0); ; {
		if sleep(ctx, pause) != nil {
			m.goodbye(ctx, to)
			return
		}
		h := m.held()
		answer, err := m.report(ctx, to, h, last.Epoch)
		switch {
		case status.Code(err) == codes.Unimplemented: // another CA than ours
			return
		case err != nil:
			if errors.Is(err, errNothingHeld) && !silent {
				silent = true
				m.opts.Logger.Warn("the CA is told of no root yet: who else verifies this certificate does not trust what it chains to, or is not known")
			}
			pause, retry = spread(retry), min(2*retry, cmp.Or(last.Next, tellBefore))
			continue
		}
		retry, silent = tellRetry, false
		again := answer.Epoch != last.Epoch // what was said counts only in this epoch
		last = answer
		m.want(answer.Signer, h)
		switch {
		case again:
			pause, soon = 0, tellSoon
		case !m.settled(h) && soon < answer.Next:
			pause, soon = spread(soon), 2*soon
		default:
			pause, soon = m.untilNext(ctx, changes, answer.Next), tellSoon
		}
	}
}

// untilNext waits for a change, or until the CA wants to hear again; it returns
// what is left to wait.
func (m *Manager) untilNext(ctx context.Context, changes <-chan struct{}, next time.Duration) time.Duration {
	if next <= 0 {
		next = tellDefault
	}
	timer := time.NewTimer(spread(min(max(next, tellMin), tellMax)))
	defer timer.Stop()
	select {
	case <-changes:
		return spread(tellSoon)
	case <-timer.C:
	case <-ctx.Done():
	}
	return 0
}

func (m *Manager) report(ctx context.Context, to reporter, h Held, epoch uint64) (Answer, error) {
	r, err := reportOf(h)
	if err != nil {
		return Answer{}, err
	}
	r.Epoch = epoch
	return to.Report(ctx, r)
}

func reportOf(h Held) (Report, error) {
	if len(h.Chain) == 0 || len(h.Roots) == 0 {
		return Report{}, errNothingHeld
	}
	roots, err := Fingerprints(h.Roots)
	if err != nil {
		return Report{}, err
	}
	leaf, end, err := rootOf(h.Chain, h.Roots)
	return Report{Roots: roots, Leaf: leaf, Expires: end}, err
}

// goodbye is sent at the end, so that nobody waits for this workload.
func (m *Manager) goodbye(ctx context.Context, to reporter) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tellGoodbye)
	defer cancel()
	_, _ = to.Report(ctx, Report{Leaving: true}) // the CA forgets it when its certificate ends
}

// want has the certificate renewed if the CA has gone over to another root than
// the one that it chains to.
func (m *Manager) want(signer string, h Held) {
	cert := m.Current()
	if signer == "" || cert == nil {
		return
	}
	if all, _, err := rootsOf(cert.ChainPEM, m.opts.Roots.PEM()); err != nil || slices.Contains(all, signer) {
		return
	}
	roots, err := Fingerprints(h.Roots)
	if err != nil {
		return
	}
	for _, r := range roots {
		if r == signer { // else the answer could not be verified
			select {
			case m.renewNow <- struct{}{}:
			default:
			}
		}
	}
}
