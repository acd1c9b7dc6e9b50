//go:build cloudcas

package issue

// Signing by Google Cloud is an optional build: nobody has tried it.
import _ "github.com/smallstep/certificates/cas/cloudcas"
