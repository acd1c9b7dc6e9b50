package grpcbootstrap

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// Identity is a workload's certificate, in PEM. String hides the key.
type Identity struct{ Chain, Key, Roots []byte }

// String hides the key.
func (Identity) String() string { return "[redacted]" }

// GoString hides the key.
func (Identity) GoString() string { return "[redacted]" }

// current is the link to the version in force, as Kubernetes' volumes have it.
const current = "..data"

// Readers are who may read what is written, beside the caller.
type Readers os.FileMode

// Nobody is the zero value; Group is the caller's group.
const (
	Nobody Readers = 0
	Group  Readers = 0o040
)

// allow gives path a mode for its readers, whatever the process's mask is.
func (r Readers) allow(path string, own os.FileMode) error {
	mode := own | os.FileMode(r)
	if own&0o100 != 0 {
		mode |= os.FileMode(r) >> 2 // a folder is entered
	}
	return os.Chmod(path, mode)
}

// WriteIdentity puts the three files into dir, all at once: a reader never finds
// a certificate beside the key of another. dir must exist and be the caller's
// own.
func WriteIdentity(dir string, id Identity, readers Readers) error {
	version, err := os.MkdirTemp(dir, "..v-")
	if err != nil {
		return fmt.Errorf("certificate files: %w", err)
	}
	contents := map[string][]byte{Chain: id.Chain, Key: id.Key, Roots: id.Roots}
	for name, text := range contents {
		path := filepath.Join(version, name)
		if err := errors.Join(os.WriteFile(path, text, 0o600), readers.allow(path, 0o600)); err != nil {
			return fmt.Errorf("certificate files: %w", err)
		}
	}
	if err := readers.allow(version, 0o700); err != nil {
		return fmt.Errorf("certificate files: %w", err)
	}
	if err := relink(dir, current, filepath.Base(version)); err != nil {
		return err
	}
	for name := range contents {
		if err := relink(dir, name, filepath.Join(current, name)); err != nil {
			return err
		}
	}
	return removeOld(dir, filepath.Base(version))
}

// relink makes name in dir a link to target, replacing at once what was there.
func relink(dir, name, target string) error {
	path := filepath.Join(dir, name)
	if was, err := os.Readlink(path); err == nil && was == target {
		return nil
	}
	next := path + ".next"
	if err := os.Remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("certificate files: %w", err)
	}
	if err := os.Symlink(target, next); err != nil {
		return fmt.Errorf("certificate files: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("certificate files: %w", err)
	}
	return nil
}

// removeOld removes the versions before, with the keys in them.
func removeOld(dir, keep string) error {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("certificate files: %w", err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), "..v-") && e.Name() != keep {
			if err := os.RemoveAll(filepath.Join(dir, e.Name())); err != nil {
				return fmt.Errorf("certificate files: %w", err)
			}
		}
	}
	return nil
}

// WriteFile replaces the file at path at once.
func WriteFile(path string, text []byte, readers Readers) error {
	next := path + ".next"
	if err := errors.Join(os.WriteFile(next, text, 0o600), readers.allow(next, 0o600)); err != nil {
		return fmt.Errorf("gRPC bootstrap: %w", err)
	}
	if err := os.Rename(next, path); err != nil {
		return fmt.Errorf("gRPC bootstrap: %w", err)
	}
	return nil
}
