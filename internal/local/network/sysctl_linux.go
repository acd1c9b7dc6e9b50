package network

import (
	"fmt"
	"os"
)

// sysctl is one setting of a network namespace, by its path below /proc/sys.
type sysctl struct{ path, value string }

func setSysctls(list []sysctl) error {
	for _, s := range list {
		if err := os.WriteFile("/proc/sys/"+s.path, []byte(s.value), 0); err != nil {
			return fmt.Errorf("network: sysctl %s=%s: %w", s.path, s.value, err)
		}
	}
	return nil
}
