package main

import (
	"crypto/x509"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

func TestKeyFlags(t *testing.T) {
	for says, k := range map[string]keyFlags{
		"a second at least":    {refresh: time.Millisecond},
		"such as 127.0.0.1/32": {refresh: time.Minute, allow: []string{"127.0.0.1"}},
		"no such file":         {refresh: time.Minute, roots: "/nonexistent"},
		"holds no PEM":         {refresh: time.Minute, roots: "keys.go"},
	} {
		if _, err := k.read(); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%+v: %v", k, err)
		}
	}
	got, err := (&keyFlags{refresh: time.Minute, allow: []string{"127.0.0.1/8"}}).read()
	if err != nil || len(got.Allow) != 1 || got.Allow[0].String() != "127.0.0.0/8" || got.Roots != nil {
		t.Errorf("%+v, %v", got, err)
	}
}

// TestRoots: the image has no files of roots, and still public issuers are
// trusted.
func TestRoots(t *testing.T) {
	const none = "/nonexistent"
	if os.Getenv("SSL_CERT_DIR") != none { // a process reads them once
		c := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestRoots$")
		c.Env = append(os.Environ(), "SSL_CERT_FILE="+none, "SSL_CERT_DIR="+none)
		if out, err := c.CombinedOutput(); err != nil {
			t.Errorf("%v: %s", err, out)
		}
		return
	}
	pool, err := x509.SystemCertPool()
	if err != nil || pool.Equal(x509.NewCertPool()) {
		t.Errorf("no roots without files: %v", err)
	}
}
