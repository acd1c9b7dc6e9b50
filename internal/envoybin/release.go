package envoybin

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

// Release is what an Envoy binary says of itself with --version:
// "version: COMMIT/VERSION/STATE/TYPE/TLS".
type Release struct {
	Version string // "1.40.0"; "1.41.0-dev" for a build between releases
	Commit  string // the full hash of the source
	State   string // "Clean", or "Modified" or "Distribution"
	Type    string // "RELEASE" or "DEBUG"
	TLS     string // "BoringSSL", or another TLS library
}

// String is the release as users know it: "1.40.0 (9e5580933739, RELEASE)".
func (r Release) String() string {
	return fmt.Sprintf("%s (%.12s, %s)", r.Version, r.Commit, r.Type)
}

var versionLine = regexp.MustCompile(`version: ([0-9a-f]+)/(\d+\.\d+\.\d+[^/\s]*)/([^/\s]*)/([^/\s]*)/(\S*)`)

// Query runs the binary at path with --version. An error says why the binary
// cannot run on this machine, as far as that can be told: not a file, not
// executable, another architecture, another C library.
func Query(ctx context.Context, path string) (Release, error) {
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return Release{}, runError(ctx, path, out, err)
	}
	m := versionLine.FindStringSubmatch(string(out))
	if m == nil {
		return Release{}, fmt.Errorf("%s --version: not an Envoy: %q", path, tail(out, 1))
	}
	return Release{Commit: m[1], Version: m[2], State: m[3], Type: m[4], TLS: m[5]}, nil
}

// runError explains err, which came of starting the binary at path.
func runError(ctx context.Context, path string, out []byte, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s --version: %w", path, ctx.Err())
	}
	_, statErr := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && statErr == nil:
		return fmt.Errorf("%s: its loader is not on this machine: it needs a Linux with glibc 2.31 or newer (not musl, as Alpine has): %w", path, err)
	case strings.Contains(string(out), "GLIBC_"):
		return fmt.Errorf("%s: this machine's glibc is too old, it needs 2.31 or newer: %w\n%s", path, err, tail(out, 3))
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("%s: is built for another architecture: %w", path, err)
	case errors.Is(err, fs.ErrPermission) && statErr == nil:
		return fmt.Errorf("%s: may not be executed (file mode, or a file system mounted noexec; XDG_CACHE_HOME moves the cache): %w", path, err)
	default:
		return fmt.Errorf("%s --version: %w %s", path, err, tail(out, 3))
	}
}

// atLeast compares the first two numbers of the version.
func (r Release) atLeast(major, minor int) bool {
	parts := strings.SplitN(r.Version, ".", 3)
	if len(parts) < 2 {
		return false
	}
	x, errX := strconv.Atoi(parts[0])
	y, errY := strconv.Atoi(parts[1])
	return errX == nil && errY == nil && (x > major || x == major && y >= minor)
}
