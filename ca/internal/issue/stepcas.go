//go:build stepcas

package issue

// Signing by a step-ca is an optional build: its client brings 42 modules along
// (docs/decisions/031).
import _ "github.com/smallstep/certificates/cas/stepcas"
