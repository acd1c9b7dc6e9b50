package store

import (
	"bytes"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/weftmesh/weft/ca/internal/rotation"
	"github.com/weftmesh/weft/internal/spiffe"
)

// kept is what RotationFile holds.
type kept struct {
	State rotation.State `json:"state"`
	// Other is the authority that does not sign now, while both are there.
	Other map[string]string `json:"other,omitempty"`
}

// Root is the root that the authority's certificates chain to.
func (a *Authority) Root() *x509.Certificate { return a.Roots[0] }

// Parts are what the authority was read from.
func (a *Authority) Parts() Parts { return maps.Clone(a.parts) }

// State is the rotation that the authority is in.
func (a *Authority) State() rotation.State { return a.rotation }

// MayRotate reports why a new root of our own cannot take the place of this
// authority's; nil if it can.
func (a *Authority) MayRotate() error {
	if a.signer == nil {
		return fmt.Errorf("another CA signs, by %s: change the root there, and put the next one beside the old one into %s first", CASFile, RootFile)
	}
	if !a.Chain[0].Equal(a.Roots[0]) {
		return fmt.Errorf("the CA signs as %s, which %s has signed: its key is not here. Plug in the next certificate beside a bundle of both roots instead", a.Chain[0].Subject, a.Roots[0].Subject)
	}
	return nil
}

// Begin adds to parts a second authority, whose root is trusted from now on
// while the first one signs.
func Begin(parts, fresh Parts, s rotation.State) (Parts, error) {
	out := maps.Clone(parts)
	out[RootFile] = append(append(bytes.TrimSpace(bytes.Clone(parts[RootFile])), '\n'), fresh[RootFile]...)
	return out, out.keep(kept{State: s, Other: texts(fresh)})
}

// Move makes of parts what a state of their rotation asks for: who signs, and
// what is trusted. Parts that are so already stay as they are.
func Move(parts Parts, s rotation.State) (Parts, error) {
	a, err := Parse(parts)
	if err != nil {
		return nil, err
	}
	k, err := parts.kept()
	if err != nil {
		return nil, err
	}
	out := maps.Clone(parts)
	k.State = s
	if len(k.Other) == 0 {
		return out, out.keep(k)
	}
	other, err := parseCerts([]byte(k.Other[RootFile]))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", RotationFile, err)
	}
	signs, idle := a.Root(), other[0]
	if s.Signer() == spiffe.Fingerprint(idle) {
		k.Other = out.swap(k.Other, signs)
		signs, idle = idle, signs
	}
	if s.Signer() != spiffe.Fingerprint(signs) {
		return nil, fmt.Errorf("%s: root %s is to sign, and its key is not here", RotationFile, s.Signer())
	}
	if !s.Trusts(spiffe.Fingerprint(idle)) {
		k.Other = nil
		if out[RootFile], err = without(out[RootFile], idle); err != nil {
			return nil, err
		}
	}
	return out, out.keep(k)
}

// swap has the other authority sign, and returns the one that did. The bundle
// stays as it is.
func (p Parts) swap(other map[string]string, root *x509.Certificate) map[string]string {
	was := texts(p)
	delete(was, RotationFile)
	delete(was, CRLFile)
	was[RootFile] = string(encode("CERTIFICATE", root.Raw))
	for _, name := range []string{KeyFile, CertFile, ChainFile} {
		delete(p, name)
		if text := other[name]; text != "" {
			p[name] = []byte(text)
		}
	}
	return was
}

// without is a bundle without one root; at least one must be left.
func without(bundle []byte, root *x509.Certificate) (out []byte, err error) {
	all, err := parseCerts(bundle)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", RootFile, err)
	}
	for _, c := range all {
		if !c.Equal(root) {
			out = append(out, encode("CERTIFICATE", c.Raw)...)
		}
	}
	if len(out) == 0 {
		return nil, errors.New("no root would be left")
	}
	return out, nil
}

func texts(p Parts) map[string]string {
	out := map[string]string{}
	for name, text := range p {
		out[name] = string(text)
	}
	return out
}

func (p Parts) kept() (k kept, err error) {
	if text := bytes.TrimSpace(p[RotationFile]); len(text) > 0 {
		if err = json.Unmarshal(text, &k); err != nil {
			return k, fmt.Errorf("%s: it is not what the CA wrote", RotationFile) // never quote it: it holds a key
		}
	}
	return k, nil
}

func (p Parts) keep(k kept) error {
	text, err := json.Marshal(k)
	p[RotationFile] = append(text, '\n')
	return err
}
