package store

import (
	"encoding/base64"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/ca/internal/rotation"
	"github.com/weftmesh/weft/internal/spiffe"
)

func parsed(t *testing.T, p Parts) *Authority {
	t.Helper()
	a, err := Parse(p)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func made(t *testing.T) Parts {
	t.Helper()
	p, err := Make("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// TestMove goes through all stages, there and half way back, and looks each time
// at who signs and who is trusted.
func TestMove(t *testing.T) {
	now := time.Now()
	first, second := made(t), made(t)
	old, fresh := spiffe.Fingerprint(parsed(t, first).Root()), spiffe.Fingerprint(parsed(t, second).Root())
	s, err := rotation.Begin(rotation.State{}, old, fresh, now)
	if err != nil {
		t.Fatal(err)
	}
	parts, err := Begin(first, second, s)
	if err != nil {
		t.Fatal(err)
	}
	bundle := string(parts[RootFile])
	is := func(signer string, roots int, others bool) {
		t.Helper()
		a := parsed(t, parts)
		if spiffe.Fingerprint(a.Root()) != signer || len(a.Roots) != roots || !isKeyOf(a.Signer(), a.Root()) {
			t.Errorf("in %s %s signs, %d roots", s.Stage, a.Root().Subject, len(a.Roots))
		}
		if a.State().Stage != s.Stage {
			t.Errorf("kept is stage %q, want %q", a.State().Stage, s.Stage)
		}
		if roots > 1 && string(a.RootPEM) != bundle {
			t.Errorf("in %s the bundle is another text: each proxy would take it again", s.Stage)
		}
		if got := strings.Contains(string(parts[RotationFile]), "PRIVATE KEY"); got != others {
			t.Errorf("in %s another key is kept: %v", s.Stage, got)
		}
	}
	step := func() {
		t.Helper()
		var moved bool
		if s, moved = rotation.Step(s, rotation.Seen{}, now); !moved {
			t.Fatalf("%+v stays", s)
		}
		if parts, err = Move(parts, s); err != nil {
			t.Fatal(err)
		}
	}
	is(old, 2, true)
	step()
	is(old, 2, true) // Trusted
	step()
	is(fresh, 2, true) // Issue
	if s, err = rotation.RollBack(s, now); err != nil {
		t.Fatal(err)
	}
	if parts, err = Move(parts, s); err != nil {
		t.Fatal(err)
	}
	is(old, 2, true)
	if s, err = rotation.RollBack(s, now); err != nil {
		t.Fatal(err)
	}
	if parts, err = Move(parts, s); err != nil {
		t.Fatal(err)
	}
	is(fresh, 2, true)
	again, err := Move(parts, s)
	if err != nil || !maps.EqualFunc(again, parts, func(a, b []byte) bool { return string(a) == string(b) }) {
		t.Errorf("the same move twice is another thing: %v", err)
	}
	step()
	is(fresh, 2, true) // Drained
	step()
	is(fresh, 1, false) // Dropped: the old key is gone
}

func TestDropInDistribute(t *testing.T) {
	now := time.Now()
	first, second := made(t), made(t)
	old := spiffe.Fingerprint(parsed(t, first).Root())
	s, _ := rotation.Begin(rotation.State{}, old, spiffe.Fingerprint(parsed(t, second).Root()), now)
	parts, err := Begin(first, second, s)
	if err != nil {
		t.Fatal(err)
	}
	if s, err = rotation.RollBack(s, now); err != nil {
		t.Fatal(err)
	}
	if parts, err = Move(parts, s); err != nil {
		t.Fatal(err)
	}
	if a := parsed(t, parts); spiffe.Fingerprint(a.Root()) != old || len(a.Roots) != 1 || strings.Contains(string(parts[RotationFile]), "KEY") {
		t.Errorf("rolled back: %d roots", len(a.Roots))
	}
}

// TestReplaceIsWhole: a process killed at any moment of Replace leaves either all of the
// old parts or all of the new ones.
func TestReplaceIsWhole(t *testing.T) {
	fresh := made(t)
	fresh[RotationFile] = []byte("{}\n")
	want := spiffe.Fingerprint(parsed(t, fresh).Root())
	for n := range len(partFiles) + 1 {
		dir := filepath.Join(t.TempDir(), "store")
		a, err := Open(dir, "cluster.local", RootLife)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := a.Replace(fresh); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		// What a kill after n files leaves: the journal, and old files.
		journal := filepath.Join(t.TempDir(), "journal")
		b, err := Open(journal, "cluster.local", RootLife)
		if err != nil {
			t.Fatal(err)
		}
		text := `{`
		for i, name := range partFiles {
			if i > 0 {
				text += ","
			}
			text += `"` + name + `":"` + encode64(fresh[name]) + `"`
		}
		if err := os.WriteFile(filepath.Join(journal, journalFile), []byte(text+"}"), 0o600); err != nil {
			t.Fatal(err)
		}
		for _, name := range partFiles[:n] {
			if err := place(filepath.Join(journal, name), fresh[name]); err != nil {
				t.Fatal(err)
			}
		}
		if err := b.Close(); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{dir, journal} {
			if got := reopen(t, dir); spiffe.Fingerprint(got.Root()) != want {
				t.Errorf("after %d files: root %s", n, got.Root().Subject)
			}
			if _, err := os.Stat(filepath.Join(dir, journalFile)); err == nil {
				t.Errorf("after %d files: the journal is still there", n)
			}
		}
	}
}

// TestRotationIsSecret: what a damaged file holds is in no error.
func TestRotationIsSecret(t *testing.T) {
	p := made(t)
	p[RotationFile] = []byte(`{"other": "top secret"`)
	if _, err := Parse(p); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("error %v", err)
	}
}

func encode64(text []byte) string { return base64.StdEncoding.EncodeToString(text) }
