package ca

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/weftmesh/weft/ca/internal/cluster"
	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/rotation"
	"github.com/weftmesh/weft/ca/internal/store"
)

// fence is how long a replica signs after the others could last read that it is
// there, and it what is in force. Then it stops; a while later they wait for it no
// longer. It says so three times as often, while a rotation is under way; nobody
// writes at other times.
const fence = 15 * time.Second

// sweepMost bounds the pods that are asked after each sweepEvery, of those that are
// silent.
const (
	sweepMost  = 10
	sweepEvery = time.Second
)

// record is what one replica tells the others: whom it waits for in one state.
type record struct {
	Of       string `json:"of"`       // version of the Secret with the state
	Instance string `json:"instance"` // of the process
	Beat     uint64 `json:"beat"`
	Waits    int    `json:"waits"`           // for how many
	Asks     []byte `json:"asks,omitempty"`  // for whom: the first of them
	Tells    []byte `json:"tells,omitempty"` // of whom others ask for
}

// lives is an Authenticator that can tell whether a pod is still there.
type lives interface {
	Lives(ctx context.Context, namespace string, pod identity.Pod) (bool, error)
}

// peers bring together what the replicas of a CA in a cluster know. The word of a
// proxy counts whichever replica heard it; a stage ends when each replica says
// that it waits for nobody.
type peers struct {
	board    *cluster.Cluster
	roster   *roster
	turn     sync.Locker // held, nobody is issued to
	use      func(context.Context) func(*store.Authority) error
	pods     lives
	instance string
	fence    time.Duration
	log      *slog.Logger

	mu      sync.Mutex
	version string // the state that was looked at last
	since   time.Time
	changed time.Time // when a replica came or went
	others  map[string]other
	waits   []rotation.Wait
	told    time.Time // when this one's record was last written
	toldOf  record
	vouched time.Time // until a fence after then it may sign
	swept   time.Time
}

// other is another replica.
type other struct {
	record
	seen time.Time // when its beat changed
}

// exchange reads what the other replicas say, takes what they know, and says what
// this one does. now is before all of it.
func (p *peers) exchange(ctx context.Context, st *store.Authority, version string, now time.Time) error {
	p.enter(version, now)
	s := st.State()
	if !s.Active() {
		return p.rest(ctx)
	}
	texts, err := p.board.Board(ctx)
	if err != nil {
		return err
	}
	asked, gone := p.read(s, texts, now)
	p.bury(ctx, gone)
	p.turn.Lock()
	waiting := p.roster.waiting(s, now)
	_, still := p.board.Current()
	p.turn.Unlock()
	if still != version {
		return nil // the next look is at that
	}
	mine := record{
		Of: version, Instance: p.instance, Waits: len(waiting),
		Asks: packed(waiting[:min(len(waiting), askMost)]), Tells: packed(p.roster.answers(s, asked)),
	}
	return p.tell(ctx, mine, now)
}

// enter notes when a state was first seen: clocks of replicas differ.
func (p *peers) enter(version string, now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.version != version {
		p.version, p.since = version, now
	}
}

// rest: nothing is to be told.
func (p *peers) rest(ctx context.Context) error {
	p.mu.Lock()
	p.waits, p.others = nil, map[string]other{}
	there := !p.told.IsZero()
	p.told, p.vouched = time.Time{}, time.Time{}
	p.mu.Unlock()
	if there {
		return p.board.Wipe(ctx, p.board.Replica())
	}
	return nil
}

// bury takes away what replicas told that are gone, if this one leads.
func (p *peers) bury(ctx context.Context, gone []string) {
	if !p.board.Leads() {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, p.fence/5)
	defer cancel()
	for _, name := range gone {
		if err := p.board.Wipe(ctx, name); err == nil {
			p.log.Warn("a replica of the CA is gone", "replica", name)
		}
	}
}

// read takes what the others told, and returns whom they ask for, and who of them
// is gone.
func (p *peers) read(s rotation.State, texts map[string]string, now time.Time) (asked []word, gone []string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	there := map[string]other{}
	p.waits = nil
	for name, text := range texts {
		if name == p.board.Replica() {
			continue
		}
		o := p.heard(name, text, now)
		if now.Sub(o.seen) > p.fence*4/3 {
			gone = append(gone, name)
		}
		there[name] = o
		if o.Of != p.version {
			p.waits = append(p.waits, rotation.Wait{Name: "replica " + name + " of the CA", Why: "has not said that it knows of this stage"})
			continue
		}
		p.roster.learn(s, unpacked(o.Tells), now)
		asked = append(asked, unpacked(o.Asks)...)
		if o.Waits > 0 {
			p.waits = append(p.waits, rotation.Wait{Name: "replica " + name + " of the CA", Why: fmt.Sprintf("waits for %d", o.Waits)})
		}
	}
	for name := range p.others {
		if _, is := there[name]; !is {
			p.changed = now
		}
	}
	p.others = there
	slices.SortFunc(p.waits, func(a, b rotation.Wait) int { return slices.Compare([]byte(a.Name), []byte(b.Name)) })
	return asked, gone
}

// heard is what another replica says; p.mu is held.
func (p *peers) heard(name, text string, now time.Time) other {
	var r record
	if err := json.Unmarshal([]byte(text), &r); err != nil {
		r = record{} // of no state: it is waited for, until it is buried
	}
	was, known := p.others[name]
	if !known || was.Instance != r.Instance {
		p.changed = now
	}
	if !known || was.Instance != r.Instance || was.Beat != r.Beat {
		was.seen = now
	}
	return other{r, was.seen}
}

// tell says it to the others if it is new or time for it.
func (p *peers) tell(ctx context.Context, mine record, now time.Time) error {
	p.mu.Lock()
	due := p.told.IsZero() || mine.Of != p.toldOf.Of || now.Sub(p.told) >= p.fence/3 || mine.Waits == 0 && p.toldOf.Waits > 0
	mine.Beat = p.toldOf.Beat + 1
	p.mu.Unlock()
	if !due {
		return nil
	}
	text, err := json.Marshal(mine)
	if err != nil {
		return err
	}
	if err := p.board.Tell(ctx, string(text)); err != nil {
		return err
	}
	p.mu.Lock()
	p.told, p.toldOf = now, mine
	p.mu.Unlock()
	// Who went on before this was there to be read is followed before anything is
	// signed.
	if err := p.board.Refresh(ctx, p.use(ctx)); err != nil {
		return err
	}
	p.mu.Lock()
	p.vouched = now
	p.mu.Unlock()
	return nil
}

// mayNotSign is why this replica must not sign now; "": it may.
func (p *peers) mayNotSign(active bool, now time.Time) string {
	if !active {
		if now.Sub(p.board.Read()) > p.fence {
			return "this replica could not read which key is in force; is the API server away?"
		}
		return ""
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.vouched.IsZero() || now.Sub(p.vouched) > p.fence {
		return "the root changes, and this replica could not tell the others that it is there; is the API server away?"
	}
	return ""
}

// leave has the others not wait for this replica, which signs no more.
func (p *peers) leave(ctx context.Context) {
	p.turn.Lock()
	p.mu.Lock()
	there := !p.told.IsZero()
	p.vouched = time.Time{}
	p.mu.Unlock()
	p.turn.Unlock()
	if there {
		_ = p.board.Wipe(context.WithoutCancel(ctx), p.board.Replica()) // else they wait until it is buried
	}
}

// sweep asks the API server after pods that have gone silent: of one that was
// killed, nobody says goodbye. It takes a part of the fence at most, and ends at the
// first that cannot be told.
func (p *peers) sweep(ctx context.Context, silence time.Duration, now time.Time) error {
	if now.Sub(p.swept) < sweepEvery {
		return nil
	}
	p.swept = now
	ctx, cancel := context.WithTimeout(ctx, p.fence/5)
	defer cancel()
	for pod, namespace := range p.roster.silent(silence, sweepMost, now) {
		is, err := p.pods.Lives(ctx, namespace, pod)
		if err != nil {
			return fmt.Errorf("whether %s/%s is still there: %w", namespace, pod.Name, err)
		}
		if !is {
			p.roster.gone(pod, now)
		}
	}
	return nil
}

// view is the state and what is seen, by this replica's clock.
func (p *peers) view(s rotation.State, seen rotation.Seen, version string) (rotation.State, rotation.Seen) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.version == version && !p.since.IsZero() {
		s.Since = p.since
	}
	if p.changed.After(seen.Since) {
		seen.Since = p.changed
	}
	seen.Replicas = slices.Clone(p.waits)
	return s, seen
}

// instanceOf tells a process from the one before it in the same pod.
func instanceOf(now time.Time) string { return fmt.Sprint(now.UnixNano()) }
