package network

import (
	"errors"
	"fmt"
	"os"
)

// sysctl is one setting of a network namespace, by its path below /proc/sys.
type sysctl struct{ path, value string }

// ErrSysctl is in the chain of errors of settings that could not be written.
var ErrSysctl = errors.New("sysctl")

func setSysctls(list []sysctl) error {
	for _, s := range list {
		if err := os.WriteFile("/proc/sys/"+s.path, []byte(s.value), 0); err != nil {
			return fmt.Errorf("network: %w %s=%s: %w", ErrSysctl, s.path, s.value, err)
		}
	}
	return nil
}
