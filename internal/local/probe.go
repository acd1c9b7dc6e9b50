package local

import "fmt"

// Verdict tells how a mesh can run here.
type Verdict struct {
	// Mode is empty when it cannot.
	Mode Mode
	// Cause and Cure are for the user; empty when it can.
	Cause, Cure string
}

// Err is nil when a mesh can run.
func (v Verdict) Err() error {
	if v.Mode != "" {
		return nil
	}
	return fmt.Errorf("local mesh: it cannot run here: %s. What to do: %s", v.Cause, v.Cure)
}
