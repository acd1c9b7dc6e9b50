package enroll

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"slices"

	"github.com/weftmesh/weft/internal/spiffe"
)

// Authorize says whether a peer that proved id may connect; its error says why
// not. nil accepts every identity that chains to the roots.
type Authorize func(id spiffe.ID) error

// CertificateFunc returns the certificate to present now.
type CertificateFunc func() (*tls.Certificate, error)

// AllowIDs accepts exactly the identities listed.
func AllowIDs(ids ...spiffe.ID) Authorize {
	return func(id spiffe.ID) error { return wantID(id, ids...) }
}

// AllowTrustDomain accepts every identity of one trust domain.
func AllowTrustDomain(td string) Authorize {
	return func(id spiffe.ID) error {
		if id.TrustDomain != td {
			return fmt.Errorf("peer %s is not of trust domain %s", id, td)
		}
		return nil
	}
}

func wantID(id spiffe.ID, want ...spiffe.ID) error {
	if !slices.Contains(want, id) {
		return fmt.Errorf("peer is %s, want %v", id, want)
	}
	return nil
}

// ServerTLS demands a client certificate that chains to roots and holds a
// SPIFFE identity that allow accepts. It presents what cert returns at each
// handshake, so a renewal needs no new configuration. TLS 1.2 is allowed,
// because Envoy's own xDS clients offer no more by default.
func ServerTLS(cert CertificateFunc, roots *Roots, allow Authorize) *tls.Config {
	return &tls.Config{
		MinVersion:       tls.VersionTLS12,
		NextProtos:       []string{"h2"},
		ClientAuth:       tls.RequireAnyClientCert, // verified below, against the roots of the moment
		GetCertificate:   func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert() },
		VerifyConnection: verifyPeer(roots, x509.ExtKeyUsageClientAuth, allow),
	}
}

// ClientTLS checks the server by its chain and SPIFFE identity instead of a
// host name. A nil cert presents no certificate.
func ClientTLS(cert CertificateFunc, roots *Roots, allow Authorize) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: []string{"h2"},
		// Turns off the check of a host name only: verifyPeer does the rest.
		InsecureSkipVerify: true,
		VerifyConnection:   verifyPeer(roots, x509.ExtKeyUsageServerAuth, allow),
	}
	if cert != nil {
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return cert() }
	}
	return config
}

// verifyPeer is a tls.Config.VerifyConnection, which unlike VerifyPeerCertificate
// also runs for resumed sessions.
func verifyPeer(roots *Roots, usage x509.ExtKeyUsage, allow Authorize) func(tls.ConnectionState) error {
	return func(state tls.ConnectionState) error {
		if len(state.PeerCertificates) == 0 {
			return errors.New("enroll: the peer sent no certificate")
		}
		if err := verifyChain(state.PeerCertificates, roots, usage); err != nil {
			return fmt.Errorf("enroll: peer certificate: %w", err)
		}
		if err := roots.Revoked().Check(state.PeerCertificates); err != nil {
			return fmt.Errorf("enroll: peer certificate: %w", err)
		}
		id, err := PeerID(state)
		if err != nil {
			return err
		}
		if allow == nil {
			return nil
		}
		if err := allow(id); err != nil {
			return fmt.Errorf("enroll: %w", err)
		}
		return nil
	}
}

// PeerID is the identity that the peer of a connection made with ServerTLS or
// ClientTLS has proved.
func PeerID(state tls.ConnectionState) (spiffe.ID, error) {
	if len(state.PeerCertificates) == 0 {
		return spiffe.ID{}, errors.New("enroll: the peer sent no certificate")
	}
	return spiffe.FromCertificate(state.PeerCertificates[0])
}
