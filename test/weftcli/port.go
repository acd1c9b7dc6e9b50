package weftcli

import (
	"context"
	"fmt"
	"net"
)

// FreePort returns the first of the preferred TCP ports of 127.0.0.1 that is
// free, else any free one.
func FreePort(ctx context.Context, preferred ...int) (int, error) {
	var last error
	for _, port := range append(preferred, 0) {
		l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			last = err
			continue
		}
		port = l.Addr().(*net.TCPAddr).Port
		return port, l.Close()
	}
	return 0, fmt.Errorf("find a free port: %w", last)
}
