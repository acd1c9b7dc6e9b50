package enroll

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"
)

// CRLFile is the name of the file with lists of revoked certificates: beside the
// parts of a plugged-in CA, and beside the roots that are given to workloads.
// Source: Istio, "ca-crl.pem".
const CRLFile = "ca-crl.pem"

// MaxCRL bounds such a file, in bytes: it travels in a ConfigMap, beside the roots.
const MaxCRL = 512 << 10

// ReadLists is the text of a file of lists, empty where there is no file. Of one
// that is larger than MaxCRL it is as much as ParseCRLs needs to refuse it.
func ReadLists(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	return io.ReadAll(io.LimitReader(f, MaxCRL+1))
}

// crlLeeway is how long before its end a list is no longer used: Envoy would
// refuse every peer from the end on, and has to be told before.
const crlLeeway = 15 * time.Second

// Revoked is what can be used of a bundle of lists. The zero value checks nothing.
type Revoked struct {
	PEM []byte // the lists; empty: nothing is checked
	// Chain: there is a list of every CA from the leaf's to the root, so that
	// intermediates are checked too; else the leaf alone.
	Chain bool
	lists []*x509.RevocationList
}

// ParseCRLs reads PEM blocks of type X509 CRL, and nothing else. An empty text is no
// list.
func ParseCRLs(text []byte) (out []*x509.RevocationList, err error) {
	if len(text) > MaxCRL {
		return nil, fmt.Errorf("%s: more than %d kB", CRLFile, MaxCRL>>10)
	}
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "X509 CRL" {
			return nil, fmt.Errorf("%s: want PEM blocks of type X509 CRL only", CRLFile)
		}
		list, err := x509.ParseRevocationList(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%s: list %d: %w", CRLFile, len(out)+1, err)
		}
		out = append(out, list)
	}
	return out, nil
}

// ListFault is why a list cannot be used at a moment; nil if it can.
func ListFault(list *x509.RevocationList, now time.Time) error {
	switch {
	case list.ThisUpdate.After(now):
		return fmt.Errorf("the list of %s begins at %s", list.Issuer, list.ThisUpdate.UTC().Format(time.RFC3339))
	case list.NextUpdate.IsZero():
		return fmt.Errorf("the list of %s has no end (nextUpdate)", list.Issuer)
	case !list.NextUpdate.Add(-crlLeeway).After(now):
		return fmt.Errorf("the list of %s ended at %s: publish the next one", list.Issuer, list.NextUpdate.UTC().Format(time.RFC3339))
	}
	return nil
}

// useLists picks what of the lists a proxy may be given at a moment, for chain, its
// own certificate and those above, and the roots it trusts. Once a proxy has any
// list it refuses every peer whose CA has none, or an old one: so it gets none where
// that would cut peers off. The error says what is left out, and why; again is when
// the choice may be another.
// Source: OpenSSL, X509_V_FLAG_CRL_CHECK and X509_V_FLAG_CRL_CHECK_ALL.
func useLists(all []*x509.RevocationList, chain, roots []*x509.Certificate, now time.Time) (out Revoked, again time.Time, err error) {
	again = now.Add(time.Hour)
	if len(all) == 0 || len(chain) == 0 {
		return out, again, nil
	}
	var faults []error
	has := map[string]bool{}
	for _, list := range all {
		for _, at := range []time.Time{list.ThisUpdate, list.NextUpdate.Add(-crlLeeway)} {
			if at.After(now) && at.Before(again) {
				again = at
			}
		}
		if fault := ListFault(list, now); fault != nil {
			faults = append(faults, fault)
			continue
		}
		has[string(list.RawIssuer)] = true
		out.lists = append(out.lists, list)
	}
	if missing := uncovered(has, chain, roots); missing != nil {
		faults = append(faults, missing)
		return Revoked{}, again, fmt.Errorf("%s: none of it is used, for proxies would refuse everybody: %w", CRLFile, errors.Join(faults...))
	}
	out.Chain = !slices.ContainsFunc(chain, func(c *x509.Certificate) bool { return !has[string(c.RawIssuer)] })
	for _, list := range out.lists {
		out.PEM = append(out.PEM, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list.Raw})...)
	}
	if len(faults) > 0 {
		err = fmt.Errorf("%s: %w", CRLFile, errors.Join(faults...))
	}
	return out, again, err
}

// uncovered is which CA of peers has no list, by the lists' issuers: that of the
// own leaf, and every root that is trusted beside the own one.
func uncovered(has map[string]bool, chain, roots []*x509.Certificate) error {
	if !has[string(chain[0].RawIssuer)] {
		return fmt.Errorf("there is no list in force of %s, which signs", chain[0].Issuer)
	}
	top := chain[len(chain)-1].RawIssuer
	for _, root := range roots {
		if !bytes.Equal(root.RawSubject, top) && !has[string(root.RawSubject)] {
			return fmt.Errorf("there is no list in force of root %s, which is trusted too", root.Subject)
		}
	}
	return nil
}

// Check reports whether a verified chain, leaf first, holds a certificate that is
// revoked.
func (r Revoked) Check(chain []*x509.Certificate) error {
	for i, c := range chain {
		if i > 0 && !r.Chain {
			break
		}
		for _, list := range r.lists {
			if !bytes.Equal(list.RawIssuer, c.RawIssuer) {
				continue
			}
			for _, entry := range list.RevokedCertificateEntries {
				if entry.SerialNumber.Cmp(c.SerialNumber) == 0 {
					return fmt.Errorf("certificate %x of %s was revoked at %s", c.SerialNumber, c.Issuer, entry.RevocationTime.UTC().Format(time.RFC3339))
				}
			}
		}
	}
	return nil
}

// ListStatus is one list as people are told of it.
type ListStatus struct {
	Issuer  string    `json:"issuer"`
	Revoked int       `json:"revoked"` // certificates
	Expires time.Time `json:"expires"` // nextUpdate
	Fault   string    `json:"fault,omitempty"`
}

// CheckLists is what a CA, whose own chain, signing certificate first, and roots
// these are, may publish of a bundle of lists: those that one of its certificates
// has signed. It tells of each list; an error is a bundle that cannot be read.
func CheckLists(text []byte, chain, roots []*x509.Certificate, now time.Time) (good []byte, told []ListStatus, err error) {
	all, err := ParseCRLs(text)
	if err != nil {
		return nil, nil, err
	}
	for _, list := range all {
		s := ListStatus{Issuer: list.Issuer.String(), Revoked: len(list.RevokedCertificateEntries), Expires: list.NextUpdate}
		if signedByOne(list, chain, roots) {
			good = append(good, pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: list.Raw})...)
			if fault := ListFault(list, now); fault != nil {
				s.Fault = fault.Error()
			}
		} else {
			s.Fault = "no certificate of this CA, and no root, has signed the list: it is left out"
		}
		told = append(told, s)
	}
	return good, told, nil
}

func signedByOne(list *x509.RevocationList, sets ...[]*x509.Certificate) bool {
	for _, set := range sets {
		for _, c := range set {
			if bytes.Equal(c.RawSubject, list.RawIssuer) && list.CheckSignatureFrom(c) == nil {
				return true
			}
		}
	}
	return false
}

// ListsFault is why proxies would use none, or not all, of the lists that a CA
// publishes, "" where they would; for status.
func ListsFault(good []byte, chain, roots []*x509.Certificate, now time.Time) string {
	all, err := ParseCRLs(good)
	if err == nil {
		// A leaf of this CA is all that is missing of the chain of a proxy.
		proxy := []*x509.Certificate{{RawIssuer: chain[0].RawSubject, Issuer: chain[0].Subject}}
		for _, c := range chain {
			if !bytes.Equal(c.RawIssuer, c.RawSubject) {
				proxy = append(proxy, c)
			}
		}
		_, _, err = useLists(all, proxy, roots, now)
	}
	if err != nil {
		return strings.ReplaceAll(err.Error(), "\n", "; ")
	}
	return ""
}
