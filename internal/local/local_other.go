//go:build !linux

package local

import "context"

// Mesh exists on Linux only.
type Mesh struct{}

// Reexec has nothing to do where no mesh can run.
func Reexec(Controllers) {}

// Run gives ErrLinuxOnly.
func Run(context.Context, Options) error { return ErrLinuxOnly }

// Probe says that no mesh can run.
func Probe(context.Context) Verdict {
	return Verdict{Cause: ErrLinuxOnly.Error(), Cure: "use Linux, or a cluster"}
}
