package store

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// reopen opens and closes the store in dir.
func reopen(t *testing.T, dir string) *Authority {
	t.Helper()
	a, err := Open(dir, "cluster.local", RootLife)
	if err != nil {
		t.Fatal(err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	return a
}

func TestOpenMakesOneRootAndKeepsIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	first, second := reopen(t, dir), reopen(t, dir)
	if string(first.RootPEM) != string(second.RootPEM) || !isKeyOf(second.Signer(), first.Chain[0]) {
		t.Error("the second start has another root or key")
	}
	cert := first.Chain[0]
	if !cert.IsCA || len(first.Chain) != 1 || cert.Subject.Organization[0] != "cluster.local" {
		t.Errorf("chain %v", first.Chain)
	}
	if life := time.Until(cert.NotAfter); life < RootLife-time.Minute {
		t.Errorf("root lives %v", life)
	}
}

func TestModes(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	a := reopen(t, dir)
	out := filepath.Join(t.TempDir(), "root.pem")
	if err := a.WriteRoots(out); err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]os.FileMode{
		dir: 0o700, filepath.Join(dir, KeyFile): 0o600, filepath.Join(dir, CertFile): 0o600,
		filepath.Join(dir, RootFile): 0o600, out: 0o644,
	} {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := info.Mode().Perm(); got != want {
			t.Errorf("%s has mode %04o, want %04o", path, got, want)
		}
	}
	if text, err := os.ReadFile(out); err != nil || string(text) != string(a.RootPEM) {
		t.Errorf("roots for others: %q, %v", text, err)
	}
}

// A process that is killed leaves any prefix of the files written, and maybe a
// half-written one.
func TestOpenAfterAKill(t *testing.T) {
	whole := filepath.Join(t.TempDir(), "whole")
	made := reopen(t, whole)
	for _, have := range [][]string{{}, {KeyFile}, {KeyFile, RootFile}} {
		dir := filepath.Join(t.TempDir(), "store")
		copyFiles(t, whole, dir, have...)
		put(t, dir, ".new-123", "half a k")
		a := reopen(t, dir)
		if len(have) > 0 && !isKeyOf(a.Signer(), made.Chain[0]) {
			t.Errorf("with %q left, the key was replaced", have)
		}
		if again := reopen(t, dir); string(again.RootPEM) != string(a.RootPEM) {
			t.Errorf("with %q left, the root changes at each start", have)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, tempGlob)); len(left) > 0 {
			t.Errorf("leftovers %q", left)
		}
	}
}

func copyFiles(t *testing.T, from, to string, names ...string) {
	t.Helper()
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		put(t, to, name, string(text))
	}
}

func put(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOpenRefuses(t *testing.T) {
	other := filepath.Join(t.TempDir(), "other")
	reopen(t, other)
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"directory open to the group": {func(dir string) error { return os.Chmod(dir, 0o750) }, "chmod go="},
		"key open to all":             {func(dir string) error { return os.Chmod(filepath.Join(dir, KeyFile), 0o604) }, "chmod go="},
		"key missing":                 {func(dir string) error { return os.Remove(filepath.Join(dir, KeyFile)) }, KeyFile},
		"root missing":                {func(dir string) error { return os.Remove(filepath.Join(dir, RootFile)) }, RootFile},
		"key of another CA":           {func(dir string) error { copyFiles(t, other, dir, KeyFile); return nil }, "is not the key"},
		"root of another CA":          {func(dir string) error { copyFiles(t, other, dir, RootFile); return nil }, "does not chain"},
		"garbage key":                 {func(dir string) error { put(t, dir, KeyFile, "secret garbage"); return nil }, "holds no PEM key"},
		"garbage certificate":         {func(dir string) error { put(t, dir, CertFile, "garbage"); return nil }, CertFile},
		"empty certificate":           {func(dir string) error { put(t, dir, CertFile, ""); return nil }, "no certificate"},
		"two that sign":               {func(dir string) error { put(t, dir, CASFile, "{}"); return nil }, "are both there"},
		"another CA's words open to all": {func(dir string) error {
			return errors.Join(os.WriteFile(filepath.Join(dir, CASFile), []byte("{}"), 0o604), os.Remove(filepath.Join(dir, KeyFile)))
		}, "chmod go="},
		"another CA's words without its certificate": {func(dir string) error {
			put(t, dir, CASFile, "{}")
			return errors.Join(os.Remove(filepath.Join(dir, KeyFile)), os.Remove(filepath.Join(dir, CertFile)))
		}, "add the certificates"},
		"certificate missing, root of another": {func(dir string) error {
			copyFiles(t, other, dir, RootFile)
			return os.Remove(filepath.Join(dir, CertFile))
		}, "add the signing certificate"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "store")
			reopen(t, dir)
			if err := c.spoil(dir); err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, "cluster.local", RootLife)
			if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
				t.Errorf("error %v, want one with %q and no key", err, c.want)
			}
		})
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "store")
	a, err := Open(dir, "cluster.local", RootLife)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, "cluster.local", RootLife); err == nil || !strings.Contains(err.Error(), "another CA") {
		t.Errorf("second open: %v", err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	reopen(t, dir)
}

// A CA of one's own: root, intermediate and key under Istio's names.
func TestPluggedInCA(t *testing.T) {
	rootDir, dir := filepath.Join(t.TempDir(), "root"), filepath.Join(t.TempDir(), "store")
	top := reopen(t, rootDir)
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := *top.Chain[0]
	template.Subject.CommonName = "Intermediate"
	template.RawSubject = nil
	der, err := x509.CreateCertificate(rand.Reader, &template, top.Chain[0], key.Public(), top.Signer())
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	copyFiles(t, rootDir, dir, RootFile)
	cert := string(encode("CERTIFICATE", der))
	put(t, dir, CertFile, cert)
	put(t, dir, KeyFile, string(encode("EC PRIVATE KEY", keyDER)))
	put(t, dir, ChainFile, cert+string(top.RootPEM))
	a := reopen(t, dir)
	if len(a.Chain) != 1 || a.Chain[0].Subject.CommonName != "Intermediate" || !a.Roots[0].Equal(top.Roots[0]) {
		t.Errorf("chain %v, roots %v", a.Chain, a.Roots)
	}
}

func TestAuthorityDoesNotPrintItsKey(t *testing.T) {
	a := reopen(t, filepath.Join(t.TempDir(), "store"))
	raw, err := a.Signer().(*ecdsa.PrivateKey).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	secret := new(big.Int).SetBytes(raw).String()
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d"} {
		if text := fmt.Sprintf(verb, a); strings.Contains(text, secret) || !strings.Contains(text, "[redacted]") {
			t.Errorf("%s prints %s", verb, text)
		}
	}
}
