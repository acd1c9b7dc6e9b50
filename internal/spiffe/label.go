package spiffe

import (
	"crypto/sha256"
	"encoding/hex"
)

// Label names one of a workload's labels, as an organizational unit of its
// certificate begins.
type Label string

// Labels that a certificate holds beside the identity: of the workload's controller,
// its namespace, its canonical service and revision.
const (
	WorkloadLabel  Label = "wl"
	NamespaceLabel Label = "ns"
	AppLabel       Label = "app"
	VersionLabel   Label = "ver"
)

// MaxUnit is the longest organizational unit, in characters (RFC 5280, A.1,
// ub-organizational-unit-name).
const MaxUnit = 64

// Unit is the organizational unit that holds value.
func (l Label) Unit(value string) string { return string(l) + ":" + l.Short(value) }

// Short returns value if a unit has room for it, else its beginning with "-" and
// ten hex digits of its SHA-256 in the place of the rest. Equal values stay equal,
// others stay different. Whoever labels telemetry by another word than a
// certificate's must use it too, or the two sides of a call name one workload
// differently.
func (l Label) Short(value string) string {
	most := MaxUnit - len(l) - 1
	if len(value) <= most {
		return value
	}
	sum := sha256.Sum256([]byte(value))
	tail := "-" + hex.EncodeToString(sum[:5])
	return value[:most-len(tail)] + tail
}
