package issue

import (
	"bytes"
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"github.com/smallstep/certificates/cas/apiv1"
	_ "github.com/smallstep/certificates/cas/softcas" // back ends register themselves with apiv1; other files have the optional ones
)

// startBackend starts what signs: the key, or the CA that opts.CAS names.
func startBackend(ctx context.Context, opts Options) (apiv1.CertificateAuthorityService, error) {
	wanted := apiv1.Options{Type: apiv1.SoftCAS, CertificateChain: opts.Chain, Signer: opts.Signer}
	if opts.Signer == nil {
		var err error
		if wanted, err = readCAS(opts.CAS); err != nil {
			return nil, fmt.Errorf("cas.json: %w", err)
		}
	}
	start, ok := apiv1.LoadCertificateAuthorityServiceNewFunc(apiv1.Type(wanted.Type))
	if !ok {
		return nil, fmt.Errorf("cas.json: type: %q is not built into this CA: build it with make images CA_TAGS=%[1]s (stepcas, vaultcas or cloudcas)", wanted.Type)
	}
	if opts.Signer != nil {
		return start(ctx, wanted)
	}
	out, err := within(starts, func() (apiv1.CertificateAuthorityService, error) { return start(ctx, wanted) })
	if err != nil {
		return nil, fmt.Errorf("%s: %w", wanted.Type, err)
	}
	return remote{out, make(chan struct{}, asked)}, nil
}

// Bounds of a CA that signs elsewhere: smallstep's clients wait for an answer
// without an end.
const (
	patience = 6 * time.Second // less than who wants a certificate has
	asked    = 64              // signatures that are waited for at once
)

// starts bounds the starts of back ends that are waited for, in all.
var starts = make(chan struct{}, 8)

// remote is a CA that signs elsewhere.
type remote struct {
	apiv1.CertificateAuthorityService
	turns chan struct{}
}

// CreateCertificate implements apiv1.CertificateAuthorityService.
func (r remote) CreateCertificate(req *apiv1.CreateCertificateRequest) (*apiv1.CreateCertificateResponse, error) {
	return within(r.turns, func() (*apiv1.CreateCertificateResponse, error) {
		return r.CertificateAuthorityService.CreateCertificate(req)
	})
}

var errNoAnswer = fmt.Errorf("no answer in %s", patience)

// within gives do's answer, if it comes soon. One that comes later is nobody's, and
// has its turn until then.
func within[T any](turns chan struct{}, do func() (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	late := time.NewTimer(patience)
	defer late.Stop()
	var none T
	select {
	case turns <- struct{}{}:
	case <-late.C:
		return none, errNoAnswer
	}
	answers := make(chan answer, 1)
	go func() {
		defer func() { <-turns }()
		value, err := do()
		answers <- answer{value, err}
	}()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-late.C:
		return none, errNoAnswer
	}
}

// Away reports whether err is that of a CA that could not be reached, from here
// and now.
func Away(err error) bool {
	var call net.Error
	return errors.Is(err, errNoAnswer) || errors.As(err, &call)
}

// readCAS reads smallstep's "cas". Source: step-ca, "Registration Authority mode".
func readCAS(text []byte) (apiv1.Options, error) {
	var out apiv1.Options
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&out); err != nil {
		return out, err
	}
	if in.More() {
		return out, errors.New("there is more than one object")
	}
	out.Type = strings.ToLower(out.Type)
	if out.Type == "" || out.Type == apiv1.SoftCAS {
		return out, fmt.Errorf("type: %q signs by a key of one's own: put that into ca-key.pem", out.Type)
	}
	return out, checkPassword(out.CertificateIssuer)
}

// checkPassword refuses a provisioner whose key is encrypted and has no password:
// smallstep would ask for it at a terminal, or say nothing of where it belongs.
func checkPassword(by *apiv1.CertificateIssuer) error {
	switch {
	case by == nil || by.Password != "":
		return nil
	case by.Key == "" && strings.EqualFold(by.Type, "jwk"):
		return errors.New("certificateIssuer.password: want that of the provisioner's key")
	case by.Key == "":
		return nil
	}
	text, err := os.ReadFile(by.Key)
	if err != nil {
		return fmt.Errorf("certificateIssuer.key: %w", err)
	}
	if encrypted(text) {
		return fmt.Errorf("certificateIssuer.key: %s is encrypted: add certificateIssuer.password, or take a key that is not", by.Key)
	}
	return nil
}

// encrypted reports whether a file holds a private key that wants a password: of
// PKCS #8, of OpenSSL's older form, or a JSON web key (JWE, compact or as JSON).
// Source: RFC 5958, RFC 1421 4.6.1.1, RFC 7516 7.
func encrypted(text []byte) bool {
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type == "ENCRYPTED PRIVATE KEY" || strings.Contains(block.Headers["Proc-Type"], "ENCRYPTED") {
			return true
		}
	}
	text = bytes.TrimSpace(text)
	return bytes.HasPrefix(text, []byte("eyJ")) || bytes.HasPrefix(text, []byte("{")) && bytes.Contains(text, []byte(`"ciphertext"`))
}
