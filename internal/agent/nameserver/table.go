// Package nameserver answers the pod's DNS questions: names of the mesh from
// the pilot's table, all others from the pod's own resolver, if it has one.
//
// Inputs: DnsVirtualDomain resources of the agent's own ADS stream (Feed) and
// DNS messages. Outputs: DNS answers on UDP and TCP. Of the agent it may
// import nothing; the stream comes in as a gRPC connection. The table may be kept
// in a file, so that names outlive an agent while the pilot is away.
package nameserver

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/data/dns/v3"
)

// TTLs. An answer lives no longer than maxTTL, for a mesh changes: Envoy's
// default of the resource, 300 s, is for other uses.
const (
	defaultTTL = 5 * time.Second
	maxTTL     = 30 * time.Second
)

// record is what one name has. Both lists may be empty: the name exists.
type record struct {
	v4, v6 []netip.Addr
	ttl    uint32 // seconds
}

// Table holds the names of the mesh, fully qualified, in lower case and
// without the trailing dot. Use NewTable. It is safe for concurrent use.
type Table struct {
	search []string // suffixes for short names, tried in this order
	// lacks4 and lacks6: the pod has no address of that family.
	lacks4, lacks6 bool

	mu       sync.RWMutex
	records  map[string]record
	versions map[string]string // resource name -> version, of records
	parents  map[string]int    // how many names lie below a name
	synced   bool              // the pilot has answered once
	changed  chan struct{}     // closed with the next change
	count    uint64            // of changes by the pilot
}

// NewTable returns an empty Table whose short names are completed with search,
// such as default.svc.cluster.local, svc.cluster.local, cluster.local.
func NewTable(search []string) *Table {
	t := &Table{records: map[string]record{}, versions: map[string]string{}, parents: map[string]int{}, changed: make(chan struct{})}
	for _, s := range search {
		t.search = append(t.search, canonical(s))
	}
	return t
}

// For says which addresses the pod has, before the table is served: of a name
// with addresses of both families it is not given those it cannot reach.
func (t *Table) For(own []netip.Addr) *Table {
	t.lacks4 = !slices.ContainsFunc(own, func(a netip.Addr) bool { return a.Unmap().Is4() })
	t.lacks6 = !slices.ContainsFunc(own, func(a netip.Addr) bool { return !a.Unmap().Is4() })
	return t
}

// reachable drops the family that the pod lacks, where the name has the other.
func (t *Table) reachable(r record) record {
	if t.lacks4 && len(r.v6) > 0 {
		r.v4 = nil
	}
	if t.lacks6 && len(r.v4) > 0 {
		r.v6 = nil
	}
	return r
}

// canonical is how names are kept: DNS compares without regard to case.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// outcome says what a Table knows of a name.
type outcome int

const (
	unknown outcome = iota // not a name of the mesh
	found                  // a name of the mesh
	empty                  // no name itself, but names lie below it (RFC 8020)
)

// lookup finds name as it is, then completed with each search suffix, then by
// wildcard. name is canonical.
func (t *Table) lookup(name string) (record, outcome) {
	t.mu.RLock()
	defer t.mu.RUnlock()
	if r, ok := t.records[name]; ok {
		return r, found
	}
	for _, suffix := range t.search {
		if r, ok := t.records[name+"."+suffix]; ok {
			return r, found
		}
	}
	// Below a name of the mesh's own there is nothing else; of a domain outside, of
	// which the mesh knows a host, others may be asked.
	if t.parents[name] > 0 && t.within(name) {
		return record{}, empty
	}
	for rest := name; ; {
		_, parent, ok := strings.Cut(rest, ".")
		if !ok {
			return record{}, unknown
		}
		if r, ok := t.records["*."+parent]; ok {
			return r, found
		}
		rest = parent
	}
}

// within reports whether a name is one of the cluster's domain. A table
// without search has all names.
func (t *Table) within(name string) bool {
	for _, suffix := range t.search {
		if name == suffix || strings.HasSuffix(name, "."+suffix) {
			return true
		}
	}
	return len(t.search) == 0
}

// Synced reports whether the pilot's table has come once, so that what it does
// not hold is known not to exist.
func (t *Table) Synced() bool {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return t.synced
}

// Len is the number of names held.
func (t *Table) Len() int {
	t.mu.RLock()
	defer t.mu.RUnlock()
	return len(t.records)
}

// change is one resource of a delta: a domain to set, or, when nil, to remove.
type change struct {
	resource, version string
	domain            *dnsv3.DnsTable_DnsVirtualDomain
}

// apply takes one delta in as a whole, or nothing of it.
func (t *Table) apply(changes []change) error {
	records := make([]record, len(changes))
	for i, c := range changes {
		var err error
		if records[i], err = decode(c.domain); err != nil {
			return fmt.Errorf("nameserver: resource %q: %w", c.resource, err)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for i, c := range changes {
		t.set(c, records[i])
	}
	t.synced = true
	t.noteChange()
	return nil
}

// set stores or removes one record. The resource's name is the host name.
func (t *Table) set(c change, r record) {
	if c.domain == nil {
		delete(t.versions, c.resource)
		t.drop(canonical(c.resource))
		return
	}
	t.versions[c.resource] = c.version
	t.put(canonical(c.resource), r)
}

func (t *Table) countParents(name string, by int) {
	for {
		_, parent, ok := strings.Cut(name, ".")
		if !ok {
			return
		}
		if t.parents[parent] += by; t.parents[parent] == 0 {
			delete(t.parents, parent)
		}
		name = parent
	}
}

// held is what a new stream tells the pilot that the table has.
func (t *Table) held() map[string]string {
	t.mu.RLock()
	defer t.mu.RUnlock()
	out := make(map[string]string, len(t.versions))
	for name, version := range t.versions {
		out[name] = version
	}
	return out
}

// decode reads a domain's addresses.
// Source: envoy.data.dns.v3.DnsTable.DnsVirtualDomain.
func decode(d *dnsv3.DnsTable_DnsVirtualDomain) (record, error) {
	ttl := seconds(defaultTTL)
	if d.GetAnswerTtl() != nil {
		ttl = seconds(min(max(d.GetAnswerTtl().AsDuration(), time.Second), maxTTL))
	}
	var ips []netip.Addr
	for _, text := range d.GetEndpoint().GetAddressList().GetAddress() {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return record{}, fmt.Errorf("endpoint.address_list: %w", err)
		}
		ips = append(ips, ip.Unmap().WithZone(""))
	}
	return newRecord(ips, ttl), nil
}

// newRecord sorts addresses by family.
func newRecord(ips []netip.Addr, ttl uint32) record {
	r := record{ttl: ttl}
	for _, ip := range ips {
		if ip.Is4() {
			r.v4 = append(r.v4, ip)
		} else {
			r.v6 = append(r.v6, ip)
		}
	}
	return r
}

func seconds(d time.Duration) uint32 { return uint32(d / time.Second) }

// Put stores a name without the pilot: for a server that is not an agent's.
// name is fully qualified.
func (t *Table) Put(name string, addresses []netip.Addr) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.put(canonical(name), newRecord(addresses, seconds(defaultTTL)))
	t.synced = true
}

// Remove takes a name out that Put stored.
func (t *Table) Remove(name string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.drop(canonical(name))
}

func (t *Table) put(name string, r record) {
	_, had := t.records[name]
	if t.records[name] = r; !had {
		t.countParents(name, 1)
	}
}

func (t *Table) drop(name string) {
	if _, had := t.records[name]; had {
		delete(t.records, name)
		t.countParents(name, -1)
	}
}
