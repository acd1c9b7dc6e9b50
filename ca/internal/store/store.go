// Package store holds the CA's signing key and certificates, and keeps them in a
// directory.
//
// Inputs: a directory that only the CA's user may enter, or the parts of an
// authority as a Secret holds them. Outputs: an Authority, in a directory made
// at the first start and the same ever after, also when the process that was
// making it got killed. File names are those of Istio's plug-in CA secret
// (cacerts), so a folder with a CA of one's own works as it is. It imports the
// standard library, ca/internal/rotation and internal/spiffe only.
package store

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/weftmesh/weft/ca/internal/rotation"
)

// Names of the files, and of the keys of a Secret. Source: Istio, "Plug in CA Certificates".
const (
	KeyFile   = "ca-key.pem"     // signing key
	CertFile  = "ca-cert.pem"    // its certificate; written last, so its presence means "complete"
	ChainFile = "cert-chain.pem" // CertFile and the intermediates above it; optional
	RootFile  = "root-cert.pem"  // trusted roots
	// RotationFile says how far a change of roots is, and holds the authority that
	// does not sign now; ours, optional.
	RotationFile = "rotation.json"
	// CRLFile holds lists of revoked certificates; optional. It is not the CA's: who
	// keeps the CA's certificates writes it.
	CRLFile = "ca-crl.pem"
	// CASFile says which other CA signs, in the place of KeyFile: ours, in the form of
	// smallstep's "cas". It may hold a password.
	CASFile  = "cas.json"
	lockFile = "lock"
	tempGlob = ".new-*"
)

// Authority is a key that signs certificates. Print verbs do not show the key.
type Authority struct {
	Chain   []*x509.Certificate // signing certificate first; roots are left out unless a root signs
	Roots   []*x509.Certificate // trusted roots, the one above Chain first
	RootPEM []byte              // Roots as PEM

	signer   crypto.Signer // nil: cas signs
	cas      []byte
	parts    Parts
	rotation rotation.State
	lock     *os.File
}

// Signer is the key of Chain[0]; nil: it is with the CA that CAS names.
func (a *Authority) Signer() crypto.Signer { return a.signer }

// CAS is the content of CASFile; empty: Signer signs.
func (a *Authority) CAS() []byte { return a.cas }

// Format prints the signing certificate's name only.
func (a *Authority) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "authority %s [redacted]", a.Chain[0].Subject)
}

// Close lets another process open the store.
func (a *Authority) Close() error {
	if a.lock == nil { // of no directory
		return nil
	}
	return a.lock.Close()
}

// Open reads the authority of directory dir, or makes dir and a self-signed
// root for trustDomain, valid for life, where there is none. Errors name the file and the cure:
// others may read it, a part is missing or does not fit, another process has it
// open. An existing key is never replaced.
func Open(dir, trustDomain string, life time.Duration) (*Authority, error) {
	if err := prepareDir(dir); err != nil {
		return nil, err
	}
	lock, err := takeLock(filepath.Join(dir, lockFile))
	if err != nil {
		return nil, err
	}
	a, err := open(dir, trustDomain, life)
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	a.lock = lock
	return a, nil
}

func open(dir, trustDomain string, life time.Duration) (*Authority, error) {
	if err := removeLeftovers(dir); err != nil {
		return nil, err
	}
	if err := replay(dir); err != nil {
		return nil, err
	}
	_, err := os.Stat(filepath.Join(dir, CertFile))
	if errors.Is(err, fs.ErrNotExist) {
		err = create(dir, trustDomain, life)
	}
	if err != nil {
		return nil, fmt.Errorf("ca store %s: %w", dir, err)
	}
	return load(dir)
}

func prepareDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("ca store: %w", err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		return fmt.Errorf("ca store: %w", err)
	}
	return checkPrivate(dir, info)
}

// checkPrivate refuses what others than the owner may read, write or enter, and
// what another user owns.
func checkPrivate(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("ca store: %s has mode %04o, others may use it: run chmod go= %s, and replace the key if they have", path, mode, path)
	}
	if sys, ok := info.Sys().(*syscall.Stat_t); ok && sys.Uid != 0 && int(sys.Uid) != os.Geteuid() {
		return fmt.Errorf("ca store: %s belongs to user %d: run the CA as that user, or chown it", path, sys.Uid)
	}
	return nil
}

// takeLock keeps a second CA out of the same store. The lock dies with the
// process.
func takeLock(path string) (*os.File, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("ca store: %w", err)
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(fmt.Errorf("ca store: %s is held by another CA process: stop it first (%w)", path, err), f.Close())
	}
	return f, nil
}

// removeLeftovers deletes half-written files of a process that was killed.
func removeLeftovers(dir string) error {
	old, err := filepath.Glob(filepath.Join(dir, tempGlob))
	if err != nil {
		return err
	}
	for _, f := range old {
		if err := os.Remove(f); err != nil {
			return fmt.Errorf("ca store: %w", err)
		}
	}
	return nil
}

// WriteRoots writes the trusted roots to path for everybody to read, atomically.
func (a *Authority) WriteRoots(path string) error {
	if err := writeFile(path, a.RootPEM, 0o644); err != nil {
		return fmt.Errorf("ca: roots for others: %w", err)
	}
	return nil
}

// WriteLists writes lists of revoked certificates to path for everybody to read,
// atomically; none: it removes the file.
func WriteLists(path string, text []byte) error {
	var err error
	if len(text) > 0 {
		err = writeFile(path, text, 0o644)
	} else {
		err = os.Remove(path)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("ca: lists for others: %w", err)
	}
	return nil
}

// writeFile replaces path by data in one step, also across a crash.
func writeFile(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, tempGlob)
	if err != nil {
		return err
	}
	if err = fill(f, data, mode); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(f.Name()))
	}
	return syncDir(dir)
}

// fill writes data to f, makes it durable and closes f.
func fill(f *os.File, data []byte, mode fs.FileMode) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Chmod(mode)
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
