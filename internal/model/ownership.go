package model

// Ownership says what becomes of an object that claims a host of another
// namespace for that one's clients too: weft.mesh/host-ownership.
type Ownership int

// The zero value asks for nothing, as Istio does.
const (
	OwnershipOff     Ownership = iota
	OwnershipAudit             // it holds, and a finding says what would be refused
	OwnershipEnforce           // the claim has no effect
)

// String gives the name as the setting has it.
func (o Ownership) String() string { return [...]string{"off", "audit", "enforce"}[o] }
