package identity

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// errKeyFile marks a fault of the key file, which is not the caller's.
var errKeyFile = errors.New("the local identity key cannot be used")

// keyFile is a file of public keys that is read again when it changes. A file
// that turns bad leaves the last good keys in force.
type keyFile struct {
	path string

	mu       sync.Mutex
	keys     jwt.VerificationKeySet
	size     int64
	modified time.Time
}

func openKeys(path string) (*keyFile, error) {
	f := &keyFile{path: path}
	if _, err := f.current(); err != nil {
		return nil, err
	}
	return f, nil
}

// current returns the keys, read again if the file's size or time changed.
func (f *keyFile) current() (jwt.VerificationKeySet, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.refresh(); err != nil && len(f.keys.Keys) == 0 {
		return jwt.VerificationKeySet{}, fmt.Errorf("%w: %w", errKeyFile, err)
	}
	return f.keys, nil
}

func (f *keyFile) refresh() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	if info.Size() == f.size && info.ModTime().Equal(f.modified) {
		return nil
	}
	text, err := os.ReadFile(f.path)
	if err != nil {
		return err
	}
	keys, err := parseKeys(text)
	if err != nil {
		return fmt.Errorf("%s: %w", f.path, err)
	}
	f.keys, f.size, f.modified = keys, info.Size(), info.ModTime()
	return nil
}

// parseKeys reads PEM blocks of type PUBLIC KEY that hold P-256 keys.
func parseKeys(text []byte) (jwt.VerificationKeySet, error) {
	var out jwt.VerificationKeySet
	for rest := bytes.TrimSpace(text); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "PUBLIC KEY" {
			return out, errors.New("want PEM blocks of type PUBLIC KEY only")
		}
		parsed, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return out, err
		}
		key, ok := parsed.(*ecdsa.PublicKey)
		if !ok || key.Curve != elliptic.P256() {
			return out, fmt.Errorf("key %d is not an ECDSA P-256 key", len(out.Keys)+1)
		}
		out.Keys = append(out.Keys, key)
	}
	if len(out.Keys) == 0 {
		return out, errors.New("no public key found")
	}
	return out, nil
}
