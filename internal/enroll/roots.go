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

// rootsReread is how often the file is read though it looks the same: not every
// file system tells each change by size and time.
const rootsReread = time.Minute

// Roots are the trusted root certificates. It is safe for concurrent use and
// always holds a usable bundle: a file that turns unreadable or bad leaves the
// last good bundle in force.
type Roots struct {
	file string // "" for fixed roots

	mu   sync.RWMutex
	text []byte
	pool *x509.CertPool
	stat fileStat
	read time.Time // when the file was last read

	certs   []*x509.Certificate // of text
	own     []*x509.Certificate // the certificate in use and those above it; nil before
	revoked revokedState
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

// Reload reads the file again if its size or time of change differ, or if it was
// not read for a minute, and reports whether the bundle changed. It reads the lists
// of revoked certificates beside it too, whose faults are no error: see Revoked.
func (r *Roots) Reload() (changed bool, err error) {
	if r.file == "" {
		return false, nil
	}
	defer r.reviewLists(time.Now())
	info, err := os.Stat(r.file)
	if err != nil {
		return false, fmt.Errorf("enroll: roots: %w", err)
	}
	now := fileStat{info.Size(), info.ModTime()}
	r.mu.RLock()
	same := r.pool != nil && now == r.stat && time.Since(r.read) < rootsReread
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
	r.stat, r.read = now, time.Now()
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
	r.text, r.pool, r.certs = text, pool, certs
	r.revoked.again = time.Time{}
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
	var last, lastLists string
	told, lists := r.PEM(), r.Revoked().PEM
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		_, err := r.Reload()
		switch {
		case err != nil && err.Error() != last:
			last = err.Error()
			log.Error("the roots file cannot be used; the last good roots stay in force", "error", err)
		case err == nil:
			last = ""
		}
		// Not what Reload says: a call to the CA may have read the file first.
		if now := r.PEM(); !bytes.Equal(now, told) {
			told = now
			log.Info("trusted roots changed", "file", r.file)
			changed()
		}
		if fault := r.listsFault(); fault != lastLists {
			if lastLists = fault; fault != "" {
				log.Error("lists of revoked certificates", "error", fault)
			}
		}
		if now := r.Revoked().PEM; !bytes.Equal(now, lists) {
			lists = now
			log.Info("revoked certificates changed", "file", r.crlFile(), "bytes", len(now))
			changed()
		}
	}
}
