//go:build vaultcas

package issue

// Signing by HashiCorp Vault is an optional build: nobody has tried it.
import _ "github.com/smallstep/certificates/cas/vaultcas"
