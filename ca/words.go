package ca

import (
	"crypto/sha256"
	"encoding/binary"
	"maps"
	"slices"
	"time"

	"github.com/weftmesh/weft/ca/internal/identity"
	"github.com/weftmesh/weft/ca/internal/rotation"
)

// Replicas of the CA ask one another for those whom they wait for: a proxy tells
// whichever replica it reaches.

// askMost bounds whom a replica asks for at once: 16 kB. The others are asked for
// when these are answered.
const askMost = 1000

// key tells a holder of a certificate to another replica.
type key [8]byte

func keyOf(p identity.Pod) (k key) {
	sum := sha256.Sum256([]byte(p.Name + "\x00" + p.UID))
	copy(k[:], sum[:])
	return k
}

// word is what a replica knows, or wants to know, of one holder.
type word struct {
	key  key
	said time.Time // when the holder said it, by its own clock
	left bool      // it is gone; else it has what the stage asks for
}

const wordSize = 8 + 8 + 1

func packed(words []word) []byte {
	out := make([]byte, 0, len(words)*wordSize)
	for _, w := range words {
		out = append(out, w.key[:]...)
		out = binary.BigEndian.AppendUint64(out, uint64(w.said.UnixMilli()))
		left := byte(0)
		if w.left {
			left = 1
		}
		out = append(out, left)
	}
	return out
}

// unpacked reads what packed made; a part of a word is left out.
func unpacked(text []byte) []word {
	out := make([]word, 0, len(text)/wordSize)
	for ; len(text) >= wordSize; text = text[wordSize:] {
		w := word{said: time.UnixMilli(int64(binary.BigEndian.Uint64(text[8:]))), left: text[16] == 1}
		copy(w.key[:], text)
		out = append(out, w)
	}
	return out
}

// waiting are those that keep s in its stage, as far as is known here.
func (r *roster) waiting(s rotation.State, now time.Time) (out []word) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for pod, p := range r.proxies {
		if !p.left && p.Ends.After(now) && s.Lacks(p.Proxy) != "" {
			out = append(out, word{key: keyOf(pod), said: p.said})
		}
	}
	slices.SortFunc(out, func(a, b word) int { return slices.Compare(a.key[:], b.key[:]) })
	return out
}

// answers are those of asked of whom is known here, by a later word, that they
// keep s no longer.
func (r *roster) answers(s rotation.State, asked []word) (out []word) {
	if len(asked) == 0 {
		return nil
	}
	wanted := make(map[key]time.Time, len(asked))
	for _, w := range asked {
		wanted[w.key] = w.said
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for pod, p := range r.proxies {
		k := keyOf(pod)
		if since, ok := wanted[k]; ok && p.said.After(since) && (p.left || s.Lacks(p.Proxy) == "") {
			out = append(out, word{k, p.said, p.left})
		}
	}
	return out[:min(len(out), askMost)]
}

// learn takes what another replica has heard in the same state.
func (r *roster) learn(s rotation.State, words []word, now time.Time) {
	if len(words) == 0 {
		return
	}
	told := make(map[key]word, len(words))
	for _, w := range words {
		told[w.key] = w
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for pod, p := range r.proxies {
		w, ok := told[keyOf(pod)]
		if !ok || !w.said.After(p.said) {
			continue
		}
		p.said, p.since, p.left = w.said, now, w.left
		if w.left {
			p.leave()
		} else {
			p.Heard, p.Epoch, p.Leaf = now, s.Epoch, s.Signer()
			p.Trusts = []string{s.Old, s.New}
		}
	}
}

// silent are at most most holders of whom nothing was heard for so long; they are
// not named again before that has passed once more. Who holds nothing more is
// forgotten.
func (r *roster) silent(since time.Duration, most int, now time.Time) map[identity.Pod]string {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[identity.Pod]string{}
	maps.DeleteFunc(r.proxies, func(_ identity.Pod, p *member) bool { return !p.Ends.After(now) })
	for pod, p := range r.proxies {
		if len(out) == most {
			break
		}
		if pod.UID != "" && !p.left && now.Sub(p.since) > since {
			p.since, out[pod] = now, p.namespace
		}
	}
	return out
}

// gone notes that a pod does not exist any more.
func (r *roster) gone(pod identity.Pod, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.proxies[pod]; p != nil {
		p.leave()
		p.said = now
	}
}
