package store

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"time"
)

// maxFile bounds what is read from the store, in bytes.
const maxFile = 1 << 20

// create makes a P-256 key and a self-signed root. There is no intermediate: its
// key would lie beside the root's, so it would only lengthen each handshake. The
// certificate is written last: a process killed before leaves a directory that
// does not count as complete, and the next one goes on with the key it finds.
func create(dir, trustDomain string, life time.Duration) error {
	if _, err := os.Stat(filepath.Join(dir, CASFile)); !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%s is there but %s is not: add the certificates of the CA that it names", CASFile, CertFile)
	}
	key, err := findOrMakeKey(dir)
	if err != nil {
		return err
	}
	if err := checkStrayRoot(filepath.Join(dir, RootFile), key); err != nil {
		return err
	}
	cert, err := selfSign(key, trustDomain, life)
	if err != nil {
		return err
	}
	certPEM := encode("CERTIFICATE", cert)
	if err := writeFile(filepath.Join(dir, RootFile), certPEM, 0o600); err != nil {
		return err
	}
	return writeFile(filepath.Join(dir, CertFile), certPEM, 0o600)
}

func findOrMakeKey(dir string) (crypto.Signer, error) {
	path := filepath.Join(dir, KeyFile)
	found, err := loadKey(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return found, err
	}
	key, text, err := makeKey()
	if err != nil {
		return nil, err
	}
	return key, writeFile(path, text, 0o600)
}

// checkStrayRoot refuses to overwrite a root that somebody else made.
func checkStrayRoot(path string, key crypto.Signer) error {
	roots, err := loadCerts(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !isKeyOf(key, roots[0]) {
		err = fmt.Errorf("ca store: %s is there but %s is not: add the signing certificate", path, CertFile)
	}
	return err
}

// load reads an authority that is complete and checks that its parts fit.
func load(dir string) (*Authority, error) {
	parts := Parts{}
	for _, name := range partFiles {
		text, err := readPart(dir, name)
		if err != nil {
			return nil, err
		}
		parts[name] = text
	}
	a, err := Parse(parts)
	if err != nil {
		return nil, fmt.Errorf("ca store %s: %w: restore the files of one CA, or empty the directory to start a new one", dir, err)
	}
	return a, nil
}

// readPart reads one file; what need not be there is empty.
func readPart(dir, name string) ([]byte, error) {
	path := filepath.Join(dir, name)
	read := os.ReadFile
	private := slices.Contains([]string{KeyFile, CASFile, RotationFile}, name)
	if private {
		read = readPrivate
	}
	text, err := read(path)
	if errors.Is(err, fs.ErrNotExist) && optional(name) {
		return nil, nil
	}
	if err != nil && !private {
		return nil, fmt.Errorf("ca store: %w", err)
	}
	return text, err
}

func loadKey(path string) (crypto.Signer, error) {
	text, err := readPrivate(path)
	if err != nil {
		return nil, err
	}
	key, err := parseKey(text)
	if err != nil {
		return nil, fmt.Errorf("ca store: %s: %w", path, err)
	}
	return key, nil
}

// readPrivate reads a file that only its owner may read. It asks the open file,
// so that a link cannot be swapped in between.
func readPrivate(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("ca store: %w", err)
	}
	defer func() { _ = f.Close() }()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("ca store: %w", err)
	}
	if err := checkPrivate(path, info); err != nil {
		return nil, err
	}
	return io.ReadAll(io.LimitReader(f, maxFile))
}

func loadCerts(path string) ([]*x509.Certificate, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("ca store: %w", err)
	}
	certs, err := parseCerts(text)
	if err != nil {
		return nil, fmt.Errorf("ca store: %s: %w", path, err)
	}
	return certs, nil
}
