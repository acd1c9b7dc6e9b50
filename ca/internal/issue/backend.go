package issue

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

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
	out, err := start(ctx, wanted)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", wanted.Type, err)
	}
	return out, nil
}

// readCAS reads smallstep's "cas". Source: step-ca, "Registration Authority mode".
func readCAS(text []byte) (apiv1.Options, error) {
	var out apiv1.Options
	in := json.NewDecoder(bytes.NewReader(text))
	in.DisallowUnknownFields()
	if err := in.Decode(&out); err != nil {
		return out, err
	}
	out.Type = strings.ToLower(out.Type)
	if out.Type == "" || out.Type == apiv1.SoftCAS {
		return out, fmt.Errorf("type: %q signs by a key of one's own: put that into ca-key.pem", out.Type)
	}
	by := out.CertificateIssuer
	// Without either, smallstep would ask for the password at a terminal.
	if by != nil && strings.EqualFold(by.Type, "jwk") && by.Key == "" && by.Password == "" {
		return out, errors.New("certificateIssuer.password: want that of the provisioner's key")
	}
	return out, nil
}
