package rotation

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

const window = 15 * time.Second

var start = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// peer is a proxy of the model: what it holds, and the report that is on its way.
type peer struct {
	trusts  []string
	leaf    string
	ends    time.Time
	knows   uint64 // epoch
	issuing string // root of a certificate that is on its way; "" none
	arrives time.Time
	due     time.Time // of its next report
}

// world is a mesh with its CA, which may die between any two events.
type world struct {
	r      *rand.Rand
	now    time.Time
	stored []byte // the CA's state, as JSON
	root   string // that signs where no rotation is
	roots  int
	since  time.Time
	known  map[string]*Proxy
	peers  map[string]*peer
	born   int
}

func newWorld(seed uint64) *world {
	w := &world{r: rand.New(rand.NewPCG(seed, 6)), now: start, root: "r0", since: start, known: map[string]*Proxy{}, peers: map[string]*peer{}}
	w.store(State{})
	return w
}

func (w *world) state() (s State) {
	if err := json.Unmarshal(w.stored, &s); err != nil {
		panic(err)
	}
	return s
}

func (w *world) store(s State) { w.stored, _ = json.Marshal(s) }

func (w *world) bundle() []string {
	s := w.state()
	if s.Stage == None {
		return []string{w.root}
	}
	out := []string{s.New}
	if s.Trusts(s.Old) {
		out = append(out, s.Old)
	}
	return out
}

func (w *world) signer() string {
	if s := w.state(); s.Stage != None {
		return s.Signer()
	}
	return w.root
}

func (w *world) seen() Seen {
	out := Seen{Since: w.since, Window: window}
	for _, p := range w.known {
		out.Proxies = append(out.Proxies, *p)
	}
	return out
}

// enrol has the CA sign for a proxy; the certificate may take a while.
func (w *world) enrol(name string, p *peer) {
	p.issuing, p.arrives = w.signer(), w.now.Add(time.Duration(w.r.Int64N(int64(9*time.Second))))
	k := w.known[name]
	if k == nil {
		k = &Proxy{Name: name}
		w.known[name] = k
	}
	k.Ends = w.now.Add(24 * time.Hour)
}

func (w *world) report(name string, p *peer) {
	s := w.state()
	k := w.known[name]
	if k == nil {
		k = &Proxy{Name: name}
		w.known[name] = k
	}
	k.Trusts, k.Leaf, k.Epoch, k.Heard = slices.Clone(p.trusts), p.leaf, p.knows, w.now
	if k.Ends.Before(p.ends) {
		k.Ends = p.ends
	}
	p.knows = s.Epoch
	p.due = w.now.Add(time.Duration(w.r.Int64N(int64(5 * time.Second))))
	if p.leaf != w.signer() && p.issuing == "" {
		w.enrol(name, p)
	}
}

// tick lets a moment pass: what is on its way arrives, reports are made.
func (w *world) tick() {
	w.now = w.now.Add(time.Duration(w.r.Int64N(int64(2 * time.Second))))
	for name, p := range w.peers {
		if p.issuing != "" && !w.now.Before(p.arrives) {
			if slices.Contains(p.trusts, p.issuing) { // else it refuses the certificate and asks again
				p.leaf, p.ends = p.issuing, w.now.Add(24*time.Hour)
			}
			p.issuing = ""
		}
		if w.r.IntN(3) == 0 {
			p.trusts = w.bundle()
		}
		if p.leaf == "" && p.issuing == "" {
			w.enrol(name, p)
		}
		if p.leaf != "" && !w.now.Before(p.due) {
			w.report(name, p)
		}
	}
}

// check is what the package promises.
func (w *world) check() error {
	for a, p := range w.peers {
		for b, q := range w.peers {
			if p.leaf != "" && q.leaf != "" && !slices.Contains(q.trusts, p.leaf) {
				return fmt.Errorf("%s trusts %v, %s has a certificate of %s, in %+v", b, q.trusts, a, p.leaf, w.state())
			}
		}
	}
	return nil
}

func (w *world) command() {
	s := w.state()
	var next State
	var err error
	switch w.r.IntN(8) {
	case 0, 1, 2:
		old := w.signer()
		if next, err = Begin(s, old, fmt.Sprintf("r%d", w.roots+1), w.now); err == nil {
			w.roots++
		}
	case 3:
		next, err = Pause(s)
	case 4, 5, 6:
		next, err = Resume(s)
	case 7:
		next, err = RollBack(s, w.now)
	}
	if err == nil {
		w.store(next)
	}
}

// event is one thing that happens.
func (w *world) event() {
	switch n := w.r.IntN(100); {
	case n < 60:
		w.tick()
	case n < 80:
		if next, moved := Step(w.state(), w.seen(), w.now); moved {
			w.store(next)
		}
	case n < 83 && len(w.peers) < 6: // a proxy is born
		w.born++
		w.peers[fmt.Sprintf("p%d", w.born)] = &peer{trusts: w.bundle()}
	case n < 85: // one ends, and says so or not
		for name := range w.peers {
			delete(w.peers, name)
			if w.r.IntN(2) == 0 {
				delete(w.known, name)
			}
			break
		}
	case n < 87: // the CA dies, and with it what it has heard
		w.known, w.since = map[string]*Proxy{}, w.now
	case n < 90:
		w.command()
	default:
		w.tick()
	}
}

// TestNoHandshakeFails: whatever happens in whatever order, two proxies that
// hold certificates trust each other.
func TestNoHandshakeFails(t *testing.T) {
	dropped := 0
	for seed := range uint64(120) {
		w := newWorld(seed)
		for n := range 1000 {
			before := w.state().Stage
			w.event()
			if err := w.check(); err != nil {
				t.Fatalf("seed %d, event %d: %v", seed, n, err)
			}
			if after := w.state(); after.Stage == Dropped && before != Dropped && !after.Back {
				dropped++
			}
		}
	}
	if dropped < 20 {
		t.Errorf("only %d rotations came to their end: the test shows little", dropped)
	}
}

// TestEndsByItself: a rotation that nobody disturbs ends, though proxies come and
// the CA dies meanwhile, and leaves the new root alone.
func TestEndsByItself(t *testing.T) {
	for seed := range uint64(50) {
		w := newWorld(seed)
		for n := range 4 {
			w.peers[fmt.Sprint("p", n)] = &peer{trusts: w.bundle()}
		}
		for range 50 {
			w.tick()
		}
		s, err := Begin(w.state(), "r0", "r1", w.now)
		if err != nil {
			t.Fatal(err)
		}
		w.store(s)
		for n := 0; w.state().Stage != Dropped; n++ {
			if n == 3000 {
				t.Fatalf("seed %d: still %+v, waiting for %v", seed, w.state(), Waits(w.state(), w.seen(), w.now))
			}
			w.tick()
			if n == 20 {
				w.known, w.since = map[string]*Proxy{}, w.now
			}
			if next, moved := Step(w.state(), w.seen(), w.now); moved {
				w.store(next)
			}
		}
		if got := w.bundle(); !slices.Equal(got, []string{"r1"}) || w.signer() != "r1" {
			t.Errorf("at the end %v is trusted and %s signs", got, w.signer())
		}
	}
}

func TestWaits(t *testing.T) {
	live := start.Add(time.Hour)
	s := State{Stage: Issue, Old: "a", New: "b", Since: start, Epoch: 2}
	cases := []struct {
		name  string
		proxy Proxy
		waits bool
	}{
		{"never heard", Proxy{Ends: live}, true},
		{"old certificate", Proxy{Ends: live, Heard: start, Leaf: "a", Epoch: 2}, true},
		{"says it of another time", Proxy{Ends: live, Heard: start, Leaf: "b", Epoch: 1}, true},
		{"has the new one", Proxy{Ends: live, Heard: start, Leaf: "b", Epoch: 2}, false},
		{"its certificate has ended", Proxy{Ends: start, Heard: start, Leaf: "a", Epoch: 2}, false},
	}
	for _, c := range cases {
		if got := Waits(s, Seen{Proxies: []Proxy{c.proxy}}, start.Add(time.Minute)); len(got) > 0 != c.waits {
			t.Errorf("%s: waits for %v", c.name, got)
		}
	}
}

func TestCommands(t *testing.T) {
	begun, err := Begin(State{}, "a", "b", start)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Begin(begun, "a", "c", start); err == nil {
		t.Error("a second rotation beside the first")
	}
	back, err := RollBack(begun, start)
	if err != nil || back.Stage != Dropped || back.Signer() != "a" || back.Trusts("b") {
		t.Errorf("rolled back from Distribute: %+v, %v", back, err)
	}
	issues := begun.signs(start)
	if back, err = RollBack(issues, start); err != nil || back.Stage != Issue || back.Signer() != "a" || !back.Trusts("b") || back.Epoch == issues.Epoch {
		t.Errorf("rolled back from Issue: %+v, %v", back, err)
	}
	paused, err := Pause(begun)
	if _, moved := Step(paused, Seen{}, start.Add(time.Hour)); err != nil || moved {
		t.Errorf("a paused rotation moves: %v", err)
	}
	if resumed, err := Resume(paused); err != nil || resumed != begun {
		t.Errorf("resumed: %+v, %v", resumed, err)
	}
	if _, err := RollBack(begun.at(Dropped, start), start); err == nil {
		t.Error("a dropped root came back")
	}
	for name, do := range map[string]func(State) (State, error){"pause": Pause, "resume": Resume} {
		if _, err := do(State{}); err == nil {
			t.Errorf("%s of nothing", name)
		}
	}
}
