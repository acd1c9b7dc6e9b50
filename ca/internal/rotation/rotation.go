// Package rotation says how a mesh goes from one root certificate to the next
// without a connection that fails: a state machine without any I/O.
//
// Inputs: a State, what the proxies were seen to hold, the time, and what a
// person wants. Outputs: the next State, and who is waited for. It keeps
// nothing and imports the standard library alone: package ca stores the State
// beside the keys, before it acts on it, and acts again after a crash.
//
//	Distribute  both roots are trusted, the old one signs; until every proxy is seen to trust the new one
//	Trusted     so it is; nobody gets a certificate, so that it stays so. Or back to Distribute
//	Issue       the new root signs; until no proxy has a certificate of the old one
//	Drained     so it is
//	Dropped     the new root alone is trusted: the end
//
// What holds at any moment, however stale what was seen: a certificate in use is
// of a root that every proxy trusts.
package rotation

import (
	"errors"
	"fmt"
	"slices"
	"time"
)

// Stage is how far a rotation has come. The zero value: none was begun.
type Stage string

// The stages, in their order; see the package's comment.
const (
	None       Stage = ""
	Distribute Stage = "Distribute"
	Trusted    Stage = "Trusted"
	Issue      Stage = "Issue"
	Drained    Stage = "Drained"
	Dropped    Stage = "Dropped"
)

// State is a rotation. The zero value: there was none yet. Roots are told by
// their fingerprints.
type State struct {
	Stage  Stage     `json:"stage"`
	Old    string    `json:"old,omitempty"` // the root that goes
	New    string    `json:"new,omitempty"` // the root that stays
	Since  time.Time `json:"since,omitzero"`
	Paused bool      `json:"paused,omitempty"`
	// Back: New was in force when the rotation began, for it was rolled back.
	Back bool `json:"back,omitempty"`
	// Epoch counts the changes of what signs. What a proxy says of its
	// certificate counts if it knew the epoch that it is said in.
	Epoch uint64 `json:"epoch,omitempty"`
}

// Active reports whether a rotation is under way.
func (s State) Active() bool { return s.Stage != None && s.Stage != Dropped }

// Signer is the root that signs; "" where no rotation says so.
func (s State) Signer() string {
	switch s.Stage {
	case Distribute, Trusted:
		return s.Old
	case Issue, Drained, Dropped:
		return s.New
	case None:
	}
	return ""
}

// Trusts reports whether a root belongs into the bundle; where no rotation says
// so, none does.
func (s State) Trusts(root string) bool {
	return root != "" && (root == s.New && s.Stage != None || root == s.Old && s.Active())
}

// Proxy is what is known of one holder of certificates.
type Proxy struct {
	Name    string    // for people
	Trusts  []string  // roots that it verifies its peers with
	Leaf    string    // root of the certificate that it serves
	Epoch   uint64    // that it knew when it said so
	Ends    time.Time // of the last certificate that it may hold
	Heard   time.Time // when it last said what it holds; zero: never
	Expires time.Time // of the certificate that it serves
}

// Seen is what is known of all of them.
type Seen struct {
	Proxies []Proxy
	Since   time.Time // from when on is listened without a gap
	// Window is the time in which every proxy that lives says what it holds, and
	// every certificate that was being issued has arrived.
	Window time.Duration
	// Replicas are the CA's others that are waited for: for who they know of, or
	// because they have not said that they know the State.
	Replicas []Wait
}

// Wait is one that is waited for.
type Wait struct {
	Name string `json:"name"`
	Why  string `json:"why"`
}

// Waits are the proxies that keep s in its stage, in the order of seen. One whose
// last certificate has ended is waited for no more: nobody talks to it.
func Waits(s State, seen Seen, now time.Time) (out []Wait) {
	for _, p := range seen.Proxies {
		if !p.Ends.After(now) {
			continue
		}
		if why := lacks(s, p); why != "" {
			out = append(out, Wait{p.Name, why})
		}
	}
	if !s.Active() {
		return out
	}
	return append(out, seen.Replicas...)
}

// Lacks is what p lacks for the stage after s, in words; "": nothing.
func (s State) Lacks(p Proxy) string { return lacks(s, p) }

// Holds reports whether no certificate may be issued now: in Trusted each replica
// says that there is nobody left, and that must stay true until the new root
// signs.
func (s State) Holds() bool { return s.Stage == Trusted && !s.Paused }

// lacks is what p lacks for the next stage; "": nothing.
func lacks(s State, p Proxy) string {
	switch s.Stage {
	case Distribute, Trusted:
		if p.Heard.IsZero() {
			return "has not said what it trusts"
		}
		if !slices.Contains(p.Trusts, s.New) {
			return "does not trust the new root yet"
		}
	case Issue, Drained:
		switch {
		case p.Heard.IsZero():
			return "has not said what certificate it has"
		case p.Epoch != s.Epoch:
			return "has not heard of the new root's certificates yet"
		case p.Leaf != s.New:
			return "has a certificate of the old root"
		}
	case None, Dropped:
	}
	return ""
}

// Listens is until when nobody can be sure of having heard every proxy; the zero
// time where the stage does not ask for it.
func Listens(s State, seen Seen) time.Time {
	if s.Stage != Distribute && s.Stage != Issue {
		return time.Time{}
	}
	from := s.Since
	if seen.Since.After(from) {
		from = seen.Since
	}
	return from.Add(seen.Window)
}

// Step is the stage after s, if what was seen allows it: at most one at a time,
// so that each is stored before it is acted on.
func Step(s State, seen Seen, now time.Time) (next State, moved bool) {
	if s.Paused || !s.Active() {
		return s, false
	}
	if s.falls(seen, now) {
		return s.at(Distribute, now), true
	}
	if now.Before(Listens(s, seen)) || len(Waits(s, seen, now)) > 0 {
		return s, false
	}
	switch s.Stage {
	case Distribute:
		return s.at(Trusted, now), true
	case Trusted:
		return s.signs(now), true
	case Issue:
		return s.at(Drained, now), true
	default:
		return s.at(Dropped, now), true
	}
}

// holdMost is how long certificates are held back for replicas that do not answer.
const holdMost = 20 * time.Second

// falls reports whether Trusted turned out not to be so: somebody came meanwhile,
// a replica of the CA came or went, or one does not answer.
func (s State) falls(seen Seen, now time.Time) bool {
	if s.Stage != Trusted {
		return false
	}
	proxies := Waits(s, Seen{Proxies: seen.Proxies}, now)
	return len(proxies) > 0 || seen.Since.After(s.Since) || len(seen.Replicas) > 0 && now.After(s.Since.Add(holdMost))
}

func (s State) at(stage Stage, now time.Time) State {
	s.Stage, s.Since = stage, now
	return s
}

// signs has the new root sign.
func (s State) signs(now time.Time) State {
	s.Epoch++
	return s.at(Issue, now)
}

// Begin starts a rotation from root old to root fresh.
func Begin(s State, old, fresh string, now time.Time) (State, error) {
	switch {
	case s.Active():
		return s, fmt.Errorf("a rotation is under way, in stage %s: let it end, or roll it back", s.Stage)
	case old == "" || fresh == "" || old == fresh:
		return s, errors.New("a rotation needs two roots")
	}
	return State{Stage: Distribute, Old: old, New: fresh, Since: now, Epoch: s.Epoch + 1}, nil
}

var errNone = errors.New("no rotation is under way: weft ca rotate begins one")

// Pause keeps s in its stage until Resume.
func Pause(s State) (State, error) {
	if !s.Active() {
		return s, errNone
	}
	s.Paused = true
	return s, nil
}

// Resume lets a rotation go on.
func Resume(s State) (State, error) {
	if !s.Active() {
		return s, errNone
	}
	s.Paused = false
	return s, nil
}

// RollBack has the root stay that was to go. Before the new one signs that is
// done at once, for nobody has a certificate of it; later the roots change
// places, and the way back has the stages of the way there: both are trusted
// everywhere already.
func RollBack(s State, now time.Time) (State, error) {
	switch s.Stage {
	case Distribute, Trusted:
		s.Old, s.New, s.Back, s.Paused = s.New, s.Old, true, false
		return s.at(Dropped, now), nil
	case Issue, Drained:
		s.Old, s.New, s.Back, s.Paused = s.New, s.Old, !s.Back, false
		return s.signs(now), nil
	case None:
		return s, errNone
	case Dropped:
		return s, errors.New("the old root is dropped and its key deleted: there is no way back but another rotation")
	}
	return s, errNone
}
