package enroll

import (
	"bytes"
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// revokedState is what Roots know of revoked certificates.
type revokedState struct {
	use   Revoked
	fault string    // which lists are not used, and why; "": all of them are
	bad   string    // why the file cannot be read; "": it can
	again time.Time // when to look at the lists again though the file is the same

	text []byte
	all  []*x509.RevocationList // of text
	stat fileStat
	read time.Time
}

// Revoked is what peers are checked with beside the roots, kept fresh with them: of
// file CRLFile beside the roots' file. Without one, and before there is a
// certificate of our own, nothing is checked.
func (r *Roots) Revoked() Revoked {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.revoked.use
}

func (r *Roots) listsFault() string {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return cmp.Or(r.revoked.bad, r.revoked.fault)
}

func (r *Roots) crlFile() string { return filepath.Join(filepath.Dir(r.file), CRLFile) }

// owned notes the certificate in use: whether lists can be used depends on its CA.
func (r *Roots) owned(c *Certificate) {
	chain, err := parseChain(c.ChainPEM)
	if err != nil {
		return // it was parsed before, when it was made
	}
	r.mu.Lock()
	r.own, r.revoked.again = chain, time.Time{}
	r.mu.Unlock()
	if r.file != "" {
		r.reviewLists(time.Now())
	}
}

// reviewLists reads the file of lists if it may have changed, and chooses what of
// it can be used now. A file that cannot be read leaves the last lists in force,
// each until its end.
func (r *Roots) reviewLists(now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	s := &r.revoked
	s.bad = ""
	if err := s.load(r.crlFile(), now); err != nil {
		s.bad = err.Error()
	}
	if now.Before(s.again) {
		return
	}
	use, again, err := useLists(s.all, r.own, r.certs, now)
	s.use, s.again, s.fault = use, again, ""
	if err != nil {
		s.fault = err.Error()
	}
}

// load takes the file's lists where it looks changed, or was not read for a minute.
// A file that is not there is one without lists.
func (s *revokedState) load(path string, now time.Time) error {
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		if len(s.text) > 0 {
			*s = revokedState{}
		}
		return nil
	}
	if err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	stat := fileStat{info.Size(), info.ModTime()}
	if stat == s.stat && now.Sub(s.read) < rootsReread {
		return nil
	}
	text, err := ReadLists(path)
	if err != nil {
		return fmt.Errorf("enroll: %w", err)
	}
	if !bytes.Equal(text, s.text) {
		all, err := ParseCRLs(text)
		if err != nil {
			return fmt.Errorf("%s: %w; the last lists stay in force", path, err)
		}
		s.text, s.all, s.again = text, all, time.Time{}
	}
	s.stat, s.read = stat, now
	return nil
}
