package main

import (
	"crypto/x509"
	"fmt"
	"net/netip"
	"os"
	"time"

	"github.com/spf13/pflag"
	// The image has no roots of its own. These are Mozilla's, as a module that is
	// pinned and updated like any other, where a copy of the build machine's would
	// make images differ. They are in force only where the system has none.
	_ "golang.org/x/crypto/x509roots/fallback"

	"github.com/weftmesh/weft/pilot"
)

// keyFlags say how keys of RequestAuthentications are fetched.
type keyFlags struct {
	allow   []string
	roots   string
	refresh time.Duration
}

func (k *keyFlags) register(set *pflag.FlagSet) {
	set.StringSliceVar(&k.allow, "jwks-allow", nil, "`CIDR` of loopback, link-local, multicast or metadata addresses that a jwksUri may lead to; others need no leave")
	set.StringVar(&k.roots, "jwks-roots", "", "PEM `FILE` with roots that key servers may have beside the system's")
	set.DurationVar(&k.refresh, "jwks-refresh", 20*time.Minute, "how often keys of a jwksUri are fetched again, at least a second")
}

func (k *keyFlags) read() (out pilot.KeyFetch, err error) {
	if out.Refresh = k.refresh; k.refresh < time.Second {
		return out, fmt.Errorf("--jwks-refresh %v: want a second at least", k.refresh)
	}
	for _, text := range k.allow {
		prefix, err := netip.ParsePrefix(text)
		if err != nil {
			return out, fmt.Errorf("--jwks-allow %s: want ADDRESS/BITS, such as 127.0.0.1/32", text)
		}
		out.Allow = append(out.Allow, prefix.Masked())
	}
	if k.roots == "" {
		return out, nil
	}
	text, err := os.ReadFile(k.roots)
	if err != nil {
		return out, fmt.Errorf("--jwks-roots: %w", err)
	}
	if out.Roots, err = x509.SystemCertPool(); err != nil {
		return out, fmt.Errorf("--jwks-roots: the system's roots: %w", err)
	}
	if !out.Roots.AppendCertsFromPEM(text) {
		return out, fmt.Errorf("--jwks-roots: %s holds no PEM certificate", k.roots)
	}
	return out, nil
}
