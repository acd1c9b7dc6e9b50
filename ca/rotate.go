package ca

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/weftmesh/weft/ca/internal/rotation"
	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/spiffe"
)

// rotateTick is how often a rotation is looked at.
const rotateTick = 500 * time.Millisecond

// rotator takes the root of the CA from one to the next.
type rotator struct {
	*authority
	mu sync.Mutex // one change at a time
}

// window is the time in which every proxy that lives has reported, and every
// replica of the CA either knows of the stage or has ceased to sign.
func (o Options) window() time.Duration {
	if o.Kube {
		return max(o.ReportEvery, o.fence) + o.inFlight
	}
	return o.ReportEvery + o.inFlight
}

// run moves a rotation on whenever that is possible, until ctx is done, and
// begins one when the root is near its end.
func (r *rotator) run(ctx context.Context) error {
	tick := time.NewTicker(rotateTick)
	defer tick.Stop()
	if r.peers != nil {
		defer r.peers.leave(ctx)
	}
	last := ""
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		err := r.step(ctx)
		if err == nil {
			last = ""
		} else if err.Error() != last && ctx.Err() == nil {
			last = err.Error()
			r.log.Error("the root's rotation has to wait; will try again", "error", err)
		}
	}
}

func (r *rotator) step(ctx context.Context) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, st := time.Now(), r.signing.Load().store
	err := r.share(ctx, st, now)                    // first: else this replica would cease to sign
	swept := r.sweep(ctx, st.State().Active(), now) // without it somebody is waited for longer
	if errors.Is(err, errChanging) {
		return nil
	}
	if err == nil && r.backing.drives() {
		err = r.drive(ctx, st, now)
	}
	return errors.Join(err, swept)
}

// drive moves the rotation on, if it may go on, or begins one that is due.
func (r *rotator) drive(ctx context.Context, st *store.Authority, now time.Time) error {
	if r.due(st, now) {
		r.log.Info("the root is near its end; its rotation begins", "root", st.Root().Subject.String(), "expires", st.Root().NotAfter)
		return r.begin(ctx, st, now)
	}
	if st.Signer() == nil { // another CA's root: it does not change here, and that CA may be slow to sign
		return nil
	}
	// Whoever is being issued to is known to the next look.
	r.turn.Lock()
	in := r.signing.Load().store
	r.turn.Unlock()
	s, seen := r.view(st, now)
	next, moved := rotation.Step(s, seen, now)
	if in != st || !moved {
		return nil
	}
	return r.move(ctx, st, next)
}

// share brings together what the replicas know, where there may be several.
func (r *rotator) share(ctx context.Context, st *store.Authority, now time.Time) error {
	if r.peers == nil {
		return nil
	}
	if in, version := r.peers.board.Current(); in == st {
		return r.peers.exchange(ctx, st, version, now)
	}
	return errChanging
}

// errChanging: another authority comes into force in this moment.
var errChanging = errors.New("the signing key changes")

// sweep forgets pods that are gone, where somebody can tell.
func (r *rotator) sweep(ctx context.Context, active bool, now time.Time) error {
	if r.peers == nil {
		return nil
	}
	silence := r.opts.window()
	if !active {
		silence = 3 * silence
	}
	return r.peers.sweep(ctx, silence, now)
}

// view is the rotation's state and what is known of the proxies.
func (r *rotator) view(st *store.Authority, now time.Time) (rotation.State, rotation.Seen) {
	s, seen := st.State(), r.roster.seen(r.opts.window(), now)
	if r.peers == nil {
		return s, seen
	}
	_, version := r.peers.board.Current()
	return r.peers.view(s, seen, version)
}

// mayRotate reports why the root cannot be changed; nil if it can.
func (r *rotator) mayRotate(st *store.Authority) error {
	if err := r.backing.mayRotate(); err != nil {
		return err
	}
	return st.MayRotate()
}

// byItself reports whether the next rotation begins by itself. A root that cannot
// be changed is left to those who plugged it in, and one that somebody went back
// to is left to them.
func (r *rotator) byItself(st *store.Authority) bool {
	return r.opts.RotateBefore > 0 && !st.State().Active() && !st.State().Back && r.mayRotate(st) == nil
}

// due reports whether that is now.
func (r *rotator) due(st *store.Authority, now time.Time) bool {
	return r.byItself(st) && now.Add(r.opts.RotateBefore).After(st.Root().NotAfter)
}

// move puts a state in force: it is kept first, so that a crash resumes in it.
func (r *rotator) move(ctx context.Context, st *store.Authority, next rotation.State) error {
	parts, err := store.Move(st.Parts(), next)
	if err != nil {
		return err
	}
	if err := r.backing.save(ctx, st, parts, r.takes(ctx)); err != nil {
		return err
	}
	r.log.Info("the root's rotation", "stage", string(next.Stage), "paused", next.Paused, "back", next.Back, "old", short(next.Old), "new", short(next.New))
	return nil
}

func (a *authority) takes(ctx context.Context) func(*store.Authority) error {
	return func(st *store.Authority) error { return a.use(ctx, st) }
}

func (r *rotator) begin(ctx context.Context, st *store.Authority, now time.Time) error {
	if err := r.mayRotate(st); err != nil {
		return err
	}
	fresh, err := store.MakeFor(r.opts.TrustDomain, r.opts.RootTTL)
	if err != nil {
		return err
	}
	made, err := store.Parse(fresh)
	if err != nil {
		return err
	}
	s, err := rotation.Begin(st.State(), spiffe.Fingerprint(st.Root()), spiffe.Fingerprint(made.Root()), now)
	if err != nil {
		return err
	}
	parts, err := store.Begin(st.Parts(), fresh, s)
	if err != nil {
		return err
	}
	return r.backing.save(ctx, st, parts, r.takes(ctx))
}

// Commands of a person. Their names are those of the query "do".
const (
	doBegin    = "begin"
	doPause    = "pause"
	doResume   = "resume"
	doRollBack = "rollback"
)

var errCommand = errors.New("do: want begin, pause, resume or rollback")

// command does what a person asks for. An error says why it cannot be done.
func (r *rotator) command(ctx context.Context, do string) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, held := time.Now(), r.signing.Load()
	if held == nil {
		return errors.New("there is no signing key yet")
	}
	st := held.store
	next := st.State()
	var err error
	switch do {
	case doBegin:
		if next.Active() {
			_, err = rotation.Begin(next, "", "", now)
			return err
		}
		return r.begin(ctx, st, now)
	case doPause:
		next, err = rotation.Pause(next)
	case doResume:
		next, err = rotation.Resume(next)
	case doRollBack:
		next, err = rotation.RollBack(next, now)
	default:
		return errCommand
	}
	if err != nil {
		return err
	}
	return r.move(ctx, st, next)
}

// short is how a fingerprint is shown to people.
func short(fingerprint string) string { return fingerprint[:min(len(fingerprint), 12)] }

func (r *rotator) replica() string {
	if r.peers == nil {
		return ""
	}
	return r.peers.board.Replica()
}

// RotationStatus is what GET /debug/rotation tells.
type RotationStatus struct {
	// Replica of the CA that tells it, and whether it is the one that moves a
	// rotation on; "" of a CA without replicas.
	Replica string `json:"replica,omitempty"`
	Drives  bool   `json:"drives,omitempty"`

	Stage  string    `json:"stage"` // "None" before the first; see package rotation
	Paused bool      `json:"paused,omitempty"`
	Back   bool      `json:"rolledBack,omitempty"`
	Since  time.Time `json:"since,omitzero"`
	// Listens: until then not every proxy need have been heard.
	Listens time.Time `json:"listens,omitzero"`
	// Waiting are the proxies that are waited for.
	Waiting []rotation.Wait `json:"waiting,omitempty"`
	Roots   []RootStatus    `json:"roots"`
	// Revoked are the lists of revoked certificates, and how they are used.
	Revoked Lists `json:"revoked,omitzero"`
	// ByItself is when the next rotation begins without anybody; zero: never.
	ByItself time.Time `json:"byItself,omitzero"`
	// Proxies hold a certificate; the one that ends first does at FirstExpiry,
	// and it is FirstExpires.
	Proxies      int       `json:"proxies"`
	FirstExpiry  time.Time `json:"firstExpiry,omitzero"`
	FirstExpires string    `json:"firstExpires,omitempty"`
}

// RootStatus is a root that is trusted.
type RootStatus struct {
	Fingerprint string    `json:"fingerprint"`
	Subject     string    `json:"subject"`
	Expires     time.Time `json:"expires"`
	Signs       bool      `json:"signs,omitempty"`
}

func (r *rotator) status(now time.Time) (out RotationStatus, err error) {
	held := r.signing.Load()
	if held == nil {
		return out, errors.New("there is no signing key yet: is the API server away?")
	}
	st := held.store
	s, seen := r.view(st, now)
	out = RotationStatus{
		Replica: r.replica(), Drives: r.backing.drives(),
		Stage: string(s.Stage), Paused: s.Paused, Back: s.Back, Since: st.State().Since,
		Waiting: rotation.Waits(s, seen, now), Proxies: len(seen.Proxies), Revoked: r.lists(st, now),
	}
	if s.Stage == rotation.None {
		out.Stage = "None"
	}
	if listens := rotation.Listens(s, seen); listens.After(now) {
		out.Listens = listens
	}
	for i, c := range st.Roots {
		out.Roots = append(out.Roots, RootStatus{Fingerprint: spiffe.Fingerprint(c), Subject: c.Subject.String(), Expires: c.NotAfter, Signs: i == 0})
	}
	if r.byItself(st) {
		out.ByItself = st.Root().NotAfter.Add(-r.opts.RotateBefore)
	}
	for _, p := range seen.Proxies {
		if !p.Expires.IsZero() && (out.FirstExpiry.IsZero() || p.Expires.Before(out.FirstExpiry)) {
			out.FirstExpiry, out.FirstExpires = p.Expires, p.Name
		}
	}
	return out, nil
}

// checkRotation refuses times that cannot be.
func (o Options) checkRotation() error {
	switch {
	case o.ReportEvery < time.Second || o.ReportEvery > time.Hour:
		return fmt.Errorf("ca: --report-every %v: it may be 1s to 1h", o.ReportEvery)
	case o.RootTTL < time.Hour:
		return fmt.Errorf("ca: --root-ttl %v: it may be 1h or more", o.RootTTL)
	case o.RotateBefore >= o.RootTTL:
		return fmt.Errorf("ca: --rotate-before %v: it must be less than --root-ttl, %v", o.RotateBefore, o.RootTTL)
	}
	return nil
}
