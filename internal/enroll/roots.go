package enroll

import (
	"bytes"
	"context"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// rootsPoll is how often the roots file is looked at: one stat(2), so that it
// works on every file system and with Kubernetes' swapped symlinks.
const rootsPoll = 2 * time.Second

// Roots are the trusted root certificates. It is safe for concurrent use and
// always holds a usable bundle: a file that turns unreadable or bad leaves the
// last good bundle in force.
type Roots struct {
	file string // "" for fixed roots

	mu   sync.RWMutex
	text []byte
	pool *x509.CertPool
	stat fileStat
}

// fileStat is what must differ when a file has been written or replaced.
type fileStat struct {
	size     int64
	modified time.Time
}

// RootsFile reads a PEM bundle from path and can read it again. Errors name the
// file: it is missing, or holds something else than certificates.
func RootsFile(path string) (*Roots, error) {
	r := &Roots{file: path}
	if _, err := r.Reload(); err != nil {
		return nil, err
	}
	return r, nil
}

// FixedRoots are roots that never change.
func FixedRoots(pemText []byte) (*Roots, error) {
	r := &Roots{}
	_, err := r.set(pemText)
	return r, err
}

// PEM is the current bundle. The caller must not change it.
func (r *Roots) PEM() []byte {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.text
}

// Pool is the current bundle for crypto/x509. The caller must not change it.
func (r *Roots) Pool() *x509.CertPool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.pool
}

// Reload reads the file again if its size or time of change differ, and
// reports whether the bundle changed.
func (r *Roots) Reload() (changed bool, err error) {
	if r.file == "" {
		return false, nil
	}
	info, err := os.Stat(r.file)
	if err != nil {
		return false, fmt.Errorf("enroll: roots: %w", err)
	}
	now := fileStat{info.Size(), info.ModTime()}
	r.mu.RLock()
	same := r.pool != nil && now == r.stat
	r.mu.RUnlock()
	if same {
		return false, nil
	}
	text, err := os.ReadFile(r.file)
	if err != nil {
		return false, fmt.Errorf("enroll: roots: %w", err)
	}
	if changed, err = r.set(text); err != nil {
		return false, fmt.Errorf("enroll: roots file %s: %w", r.file, err)
	}
	r.mu.Lock()
	r.stat = now
	r.mu.Unlock()
	return changed, nil
}

func (r *Roots) set(text []byte) (changed bool, err error) {
	certs, err := parsePEM(text)
	if err != nil {
		return false, err
	}
	pool := x509.NewCertPool()
	for _, c := range certs {
		pool.AddCert(c)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if bytes.Equal(r.text, text) {
		return false, nil
	}
	r.text, r.pool = text, pool
	return true, nil
}

// watch reloads the bundle until ctx is done and calls changed after each
// change. A fault is logged once, not at each look.
func (r *Roots) watch(ctx context.Context, log *slog.Logger, changed func()) {
	if r.file == "" {
		return
	}
	tick := time.NewTicker(rootsPoll)
	defer tick.Stop()
	var last string
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		changedNow, err := r.Reload()
		switch {
		case err != nil && err.Error() != last:
			last = err.Error()
			log.Error("the roots file cannot be used; the last good roots stay in force", "error", err)
		case err == nil:
			last = ""
		}
		if changedNow {
			log.Info("trusted roots changed", "file", r.file)
			changed()
		}
	}
}
