package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// journalFile holds all parts while they are being written, so that a crash in
// between leaves no mixture of two authorities: it is written in one step, and
// whoever finds it writes the parts again.
const journalFile = "journal.json"

// partFiles are the files of an authority. CertFile is the last one.
var partFiles = []string{KeyFile, CASFile, RootFile, ChainFile, RotationFile, CertFile}

// Replace puts parts in the place of what the store's directory holds, as a
// whole: after a crash it holds either all of the old parts or all of the new
// ones. It returns the authority that they are; one Close is enough for both.
func (a *Authority) Replace(parts Parts) (*Authority, error) {
	out, err := Parse(parts)
	if err != nil {
		return nil, err
	}
	out.lock = a.lock
	return out, a.save(parts)
}

func (a *Authority) save(parts Parts) error {
	if a.lock == nil {
		return errors.New("ca store: it is not open")
	}
	dir := filepath.Dir(a.lock.Name())
	text, err := json.Marshal(maps.Collect(maps.All(parts)))
	if err != nil {
		return fmt.Errorf("ca store %s: %w", dir, err)
	}
	if err := writeFile(filepath.Join(dir, journalFile), text, 0o600); err != nil {
		return fmt.Errorf("ca store %s: %w", dir, err)
	}
	return replay(dir)
}

// replay writes the parts of a journal that is there, and removes it.
func replay(dir string) error {
	path := filepath.Join(dir, journalFile)
	text, err := readPrivate(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	var parts map[string][]byte
	if err == nil {
		err = json.Unmarshal(text, &parts)
	}
	if err != nil {
		return fmt.Errorf("ca store: %s: %w", path, err)
	}
	for _, name := range partFiles {
		if err := place(filepath.Join(dir, name), parts[name]); err != nil {
			return fmt.Errorf("ca store %s: %w", dir, err)
		}
	}
	return errors.Join(os.Remove(path), syncDir(dir))
}

// place writes a file, or removes it where there is nothing to write.
func place(path string, text []byte) error {
	if len(text) > 0 {
		return writeFile(path, text, 0o600)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// optional are the files that need not be there; of KeyFile and CASFile one has to.
func optional(name string) bool {
	return slices.Contains([]string{KeyFile, CASFile, ChainFile, RotationFile}, name)
}
