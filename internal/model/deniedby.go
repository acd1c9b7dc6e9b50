package model

// DeniedBy is what the answer to a denied request tells of the policy that denied
// it.
type DeniedBy int

// The zero value tells nothing: whoever tries doors would learn what guards them.
const (
	DeniedByUntold DeniedBy = iota
	DeniedByHeader          // NAMESPACE/NAME in DenierHeader
)

// DenierHeader has the policy's name; DenierNone where ALLOW policies hold and none
// of them takes the request.
const (
	DenierHeader = "x-weft-denied-by"
	DenierNone   = "none"
)

// String gives the name as the setting has it.
func (d DeniedBy) String() string { return [...]string{"OFF", "HEADER"}[d] }
