package ca

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/internal/enroll"
)

const (
	// listsTick is how often the lists of revoked certificates are looked at.
	listsTick = 2 * time.Second
	// listsReview is how long what was found of them holds while they are the same:
	// lists begin and end.
	listsReview = time.Minute
)

// Lists is what GET /debug/rotation tells of revoked certificates.
type Lists struct {
	Of []enroll.ListStatus `json:"of,omitempty"`
	// Fault is why proxies use none of the lists, or not all; "": they do.
	Fault string `json:"fault,omitempty"`
	good  []byte // what is published
}

// reviewed is what was last found of lists, and of which: to check their signatures
// is not for every look at them.
type reviewed struct {
	mu    sync.Mutex
	text  []byte
	by    *store.Authority
	at    time.Time
	found Lists
}

// of returns what of text a CA may publish at a moment, and what is wrong with it.
func (r *reviewed) of(text []byte, st *store.Authority, now time.Time) Lists {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by != st || !bytes.Equal(r.text, text) || now.Sub(r.at) >= listsReview {
		r.text, r.by, r.at, r.found = text, st, now, review(text, st, now)
	}
	return r.found
}

// lists looks at what is said of revoked certificates.
func (a *authority) lists(st *store.Authority, now time.Time) Lists {
	text, err := a.backing.lists()
	if err != nil {
		return Lists{Fault: err.Error()}
	}
	return a.reviewed.of(text, st, now)
}

func review(text []byte, st *store.Authority, now time.Time) (out Lists) {
	var err error
	out.good, out.Of, err = enroll.CheckLists(text, st.Chain, st.Roots, now)
	switch {
	case err != nil:
		out.Fault = err.Error()
	case len(out.Of) > 0:
		out.Fault = enroll.ListsFault(out.good, st.Chain, st.Roots, now)
		if len(out.good) == 0 {
			out.Fault = "none of the lists can be used"
		}
	}
	return out
}

// followLists logs what is wrong with the lists, once, and without a cluster
// publishes them beside the roots, until ctx is done. Lists that cannot be read
// leave the last ones in force.
func (a *authority) followLists(ctx context.Context) error {
	tick := time.NewTicker(listsTick)
	defer tick.Stop()
	last := ""
	for {
		now := a.lists(a.signing.Load().store, time.Now())
		fault := now.Fault
		if len(now.Of) > 0 || fault == "" {
			if err := a.writeLists(now.good); err != nil {
				fault = err.Error()
			}
		}
		if fault != last {
			if last = fault; fault != "" {
				a.log.Error("lists of revoked certificates ("+store.CRLFile+")", "error", fault)
			}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// writeLists publishes lists that differ from those that are published. Where the
// roots are written beside the key, what the user wrote is what is published.
func (a *authority) writeLists(good []byte) error {
	if a.opts.RootOut == "" {
		return nil
	}
	dir := filepath.Dir(a.opts.RootOut)
	if same, err := sameFolder(dir, a.opts.Store); err != nil || same {
		return err
	}
	path := filepath.Join(dir, store.CRLFile)
	there, err := os.ReadFile(path)
	if err == nil && bytes.Equal(good, there) || errors.Is(err, fs.ErrNotExist) && len(good) == 0 {
		return nil
	}
	if err := store.WriteLists(path, good); err != nil {
		return err
	}
	a.log.Info("lists of revoked certificates published", "bytes", len(good))
	return nil
}

func sameFolder(a, b string) (bool, error) {
	one, err := os.Stat(a)
	if err != nil {
		return false, fmt.Errorf("ca: lists for others: %w", err)
	}
	other, err := os.Stat(b)
	if err != nil {
		return false, fmt.Errorf("ca: lists for others: %w", err)
	}
	return os.SameFile(one, other), nil
}

// listMetrics are read when they are asked for.
type listMetrics struct{ *authority }

var (
	listExpiry = prometheus.NewDesc("weft_ca_crl_expiry_timestamp_seconds",
		"End (nextUpdate) of each list of revoked certificates, in seconds since the epoch; no later than that the next one has to be published.", []string{"issuer"}, nil)
	listRevoked = prometheus.NewDesc("weft_ca_crl_revoked_certificates", "Certificates on each list of revoked ones.", []string{"issuer"}, nil)
	listFault   = prometheus.NewDesc("weft_ca_crl_fault",
		"1 while lists of revoked certificates are there that are not used, or not all; weft ca status and the log say why. Else 0.", nil, nil)
)

// Describe implements prometheus.Collector.
func (listMetrics) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{listExpiry, listRevoked, listFault} {
		to <- d
	}
}

// Collect implements prometheus.Collector. Before there is a key it tells nothing.
func (m listMetrics) Collect(to chan<- prometheus.Metric) {
	s := m.signing.Load()
	if s == nil {
		return
	}
	all, fault := m.lists(s.store, time.Now()), false
	told := map[string]bool{}
	for _, list := range all.Of {
		fault = fault || list.Fault != ""
		if !told[list.Issuer] { // of two of one issuer the first
			told[list.Issuer] = true
			to <- prometheus.MustNewConstMetric(listExpiry, prometheus.GaugeValue, float64(list.Expires.Unix()), list.Issuer)
			to <- prometheus.MustNewConstMetric(listRevoked, prometheus.GaugeValue, float64(list.Revoked), list.Issuer)
		}
	}
	to <- prometheus.MustNewConstMetric(listFault, prometheus.GaugeValue, one(fault || all.Fault != ""))
}
