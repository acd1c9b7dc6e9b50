package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/source/file"
	"github.com/weftmesh/weft/internal/spiffe"
	"github.com/weftmesh/weft/pilot"
)

// flags of the command; the zero value is completed by register.
type flags struct {
	opts       pilot.Options
	folders    []string
	state      string
	meshConfig string
	ca         string
	rootCert   string
	token      string
}

func (f *flags) register(set *pflag.FlagSet) {
	set.StringArrayVar(&f.folders, "config", nil, "`DIR` with YAML; may be given several times, the first that holds an object wins")
	set.StringVar(&f.state, "state", "", "`DIR` with what controllers make (Pods, EndpointSlices); it wins over --config")
	set.StringVar(&f.meshConfig, "mesh-config", "", "`FILE` with a MeshConfig")
	// The ports listen on every address by default: in its pod, the pilot must
	// be reached by the other pods. Only /metrics, /ready and /version answer
	// callers without a certificate that are not on loopback.
	set.StringVar(&f.opts.XDS, "xds", pilot.DefaultXDS, "`HOST:PORT` for proxies, over mTLS; empty: none")
	set.StringVar(&f.opts.InsecureXDS, "insecure-xds", "", "`IP:PORT` on loopback for clients without identity, such as 127.0.0.1:15010; without --ca it is the only xDS port")
	set.StringVar(&f.opts.Monitoring, "monitoring", pilot.DefaultMonitoring, "`HOST:PORT` of /metrics, /version and (for loopback) /debug; empty: none")
	set.StringVar(&f.opts.Ready, "ready", pilot.DefaultReady, "`HOST:PORT` of /ready; empty: none")
	set.StringVar(&f.opts.TrustDomain, "trust-domain", "cluster.local", "trust `DOMAIN` of the identities")
	set.StringVar(&f.ca, "ca", "", "`HOST:PORT` of the CA that signs the pilot's certificate")
	set.StringVar(&f.rootCert, "root-cert", "", "PEM `FILE` with the mesh's roots")
	set.StringVar(&f.token, "token", "", "`FILE` with the token that proves this pod to the CA")
}

// run serves until ctx ends.
func (f *flags) run(ctx context.Context) error {
	if len(f.folders) == 0 {
		return errors.New("no configuration: give --config DIR")
	}
	extra, err := f.readMeshConfig()
	if err != nil {
		return err
	}
	f.opts.Version = version
	src := file.New(slog.Default(), f.folders, extra...)
	if f.state != "" {
		src.Observe(f.state)
	}
	f.opts.Source = src
	if f.ca == "" && f.opts.InsecureXDS != "" {
		f.opts.XDS = "" // a folder served for debugging needs no mesh around it
	} else if f.opts.Identity, err = f.identity(); err != nil {
		return err
	}
	return pilot.Run(ctx, f.opts)
}

func (f *flags) identity() (*enroll.Manager, error) {
	if f.ca == "" || f.rootCert == "" || f.token == "" {
		return nil, errors.New("xDS over mTLS needs --ca, --root-cert and --token; or serve --insecure-xds 127.0.0.1:15010")
	}
	roots, err := enroll.RootsFile(f.rootCert)
	if err != nil {
		return nil, fmt.Errorf("--root-cert: %w", err)
	}
	client, err := enroll.NewClient(enroll.ClientOptions{
		Address:  f.ca,
		CA:       spiffe.ID{TrustDomain: f.opts.TrustDomain, Namespace: "weft-system", ServiceAccount: "weft-ca"},
		Identity: pilot.ID(f.opts.TrustDomain),
		Roots:    roots, TokenFile: f.token,
	})
	if err != nil {
		return nil, err
	}
	return enroll.NewManager(enroll.ManagerOptions{Issuer: client, Roots: roots}), nil
}

// readMeshConfig reads --mesh-config; a wrong one stops the start.
func (f *flags) readMeshConfig() ([]*config.Object, error) {
	if f.meshConfig == "" {
		return nil, nil
	}
	text, err := os.ReadFile(f.meshConfig)
	if err != nil {
		return nil, fmt.Errorf("--mesh-config: %w", err)
	}
	o, found := config.DecodeMeshConfig(f.meshConfig, text)
	if len(found) > 0 {
		return nil, fmt.Errorf("--mesh-config: %s", found[0])
	}
	return []*config.Object{o}, nil
}
