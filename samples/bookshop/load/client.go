package load

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"
)

// Dial says how a client reaches its server. The zero value resolves the URL's
// host and trusts the machine's roots.
type Dial struct {
	// Address (HOST:PORT) is connected to whatever the URL says; the URL still
	// gives the name in TLS and in the Host header. Empty is the URL's.
	Address string
	// CA is a PEM file of the roots to trust; empty is the machine's.
	CA string
	// Cert and Key are PEM files of the client's certificate; both or neither.
	Cert string
	Key  string
	// Timeout bounds one request; 0 is 10 s.
	Timeout time.Duration
}

// NewClient returns a client that keeps its connections and follows no
// redirect, so that a caller sees each answer.
func NewClient(d Dial) (*http.Client, error) {
	config, err := d.tls()
	if err != nil {
		return nil, err
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	transport := &http.Transport{
		TLSClientConfig:     config,
		MaxIdleConnsPerHost: 64,
		ForceAttemptHTTP2:   true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if d.Address != "" {
				address = d.Address
			}
			return dialer.DialContext(ctx, network, address)
		},
	}
	timeout := d.Timeout
	if timeout == 0 {
		timeout = 10 * time.Second
	}
	return &http.Client{
		Transport:     transport,
		Timeout:       timeout,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}, nil
}

func (d Dial) tls() (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12}
	if d.CA != "" {
		pem, err := os.ReadFile(d.CA)
		if err != nil {
			return nil, fmt.Errorf("read the trusted roots: %w", err)
		}
		config.RootCAs = x509.NewCertPool()
		if !config.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s holds no PEM certificate", d.CA)
		}
	}
	if d.Cert != "" || d.Key != "" {
		pair, err := tls.LoadX509KeyPair(d.Cert, d.Key)
		if err != nil {
			return nil, fmt.Errorf("read the client's certificate: %w", err)
		}
		config.Certificates = []tls.Certificate{pair}
	}
	return config, nil
}
