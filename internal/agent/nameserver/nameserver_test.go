package nameserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/data/dns/v3"
	discoveryv3 "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
)

var search = []string{"shop.svc.cluster.local", "svc.cluster.local", "cluster.local"}

func domain(name string, addresses ...string) *dnsv3.DnsTable_DnsVirtualDomain {
	return &dnsv3.DnsTable_DnsVirtualDomain{Name: name, Endpoint: &dnsv3.DnsTable_DnsEndpoint{
		EndpointConfig: &dnsv3.DnsTable_DnsEndpoint_AddressList{AddressList: &dnsv3.DnsTable_AddressList{Address: addresses}}}}
}

func shopTable(t testing.TB) *Table {
	t.Helper()
	table := NewTable(search)
	var changes []change
	for name, addresses := range map[string][]string{
		"reviews.shop.svc.cluster.local":  {"10.96.0.1"},
		"dual.shop.svc.cluster.local":     {"10.96.0.2", "fd00::2"},
		"six.shop.svc.cluster.local":      {"fd00::6"},
		"headless.shop.svc.cluster.local": {"10.244.0.1", "10.244.0.2", "10.244.0.3"},
		"empty.shop.svc.cluster.local":    {},
		"db.other.svc.cluster.local":      {"10.96.1.1"},
		"*.wild.example.com":              {"10.96.2.1"},
		"exact.wild.example.com":          {"10.96.2.2"},
	} {
		changes = append(changes, change{resource: name, version: "1", domain: domain(name, addresses...)})
	}
	for i := range 200 {
		changes = append(changes, change{resource: "many.shop.svc.cluster.local", version: "1",
			domain: domain("", slices.Repeat([]string{fmt.Sprintf("10.244.1.%d", i)}, 200)...)})
	}
	if err := table.apply(changes); err != nil {
		t.Fatal(err)
	}
	return table
}

func newServer(table *Table, forward *Forwarder) *Server {
	return NewServer(table, forward, prometheus.NewRegistry(), slog.New(slog.DiscardHandler))
}

func question(name string, kind uint16) *dns.Msg {
	return new(dns.Msg).SetQuestion(name, kind)
}

// A name above a host that the mesh knows is not the mesh's, but one of the
// cluster's domain is; and a pod is not given addresses that it cannot reach.
func TestOutsideAndFamilies(t *testing.T) {
	table := shopTable(t).For([]netip.Addr{netip.MustParseAddr("10.1.0.1")})
	if m := table.answer(question("example.com.", dns.TypeA), 0); m != nil {
		t.Errorf("example.com is answered: %v", m)
	}
	if m := table.answer(question("other.svc.cluster.local.", dns.TypeA), 0); m == nil {
		t.Error("other.svc.cluster.local is not known to be empty")
	}
	for own, want := range map[string][2]string{
		"10.1.0.1": {"NOERROR 10.96.0.2", "NOERROR"},
		"fd00::9":  {"NOERROR", "NOERROR fd00::2"},
	} {
		table := shopTable(t).For([]netip.Addr{netip.MustParseAddr(own)})
		for i, kind := range []uint16{dns.TypeA, dns.TypeAAAA} {
			if got := summary(table.answer(question("dual.shop.svc.cluster.local.", kind), 0)); got != want[i] {
				t.Errorf("a pod at %s asks for %s: %q, want %q", own, dns.TypeToString[kind], got, want[i])
			}
		}
	}
	table = table.For([]netip.Addr{netip.MustParseAddr("10.1.0.1")})
	if got := summary(table.answer(question("six.shop.svc.cluster.local.", dns.TypeAAAA), 0)); got != "NOERROR fd00::6" {
		t.Errorf("a name of one family: %q", got)
	}
}

// summary is RCODE and the addresses, sorted.
func summary(m *dns.Msg) string {
	var out []string
	for _, rr := range m.Answer {
		switch rr := rr.(type) {
		case *dns.A:
			out = append(out, rr.A.String())
		case *dns.AAAA:
			out = append(out, rr.AAAA.String())
		}
	}
	slices.Sort(out)
	return strings.TrimSpace(dns.RcodeToString[m.Rcode] + " " + strings.Join(out, " "))
}

func TestAnswers(t *testing.T) {
	server := newServer(shopTable(t), nil)
	for _, c := range []struct {
		name string
		kind uint16
		want string
	}{
		{"reviews.shop.svc.cluster.local.", dns.TypeA, "NOERROR 10.96.0.1"},
		{"REVIEWS.Shop.svc.cluster.LOCAL.", dns.TypeA, "NOERROR 10.96.0.1"},
		{"reviews.", dns.TypeA, "NOERROR 10.96.0.1"},
		{"reviews.shop.", dns.TypeA, "NOERROR 10.96.0.1"},
		{"reviews.shop.svc.", dns.TypeA, "NOERROR 10.96.0.1"},
		{"db.", dns.TypeA, "NXDOMAIN"}, // another namespace's
		{"db.other.", dns.TypeA, "NOERROR 10.96.1.1"},
		{"reviews.", dns.TypeAAAA, "NOERROR"},
		{"dual.", dns.TypeA, "NOERROR 10.96.0.2"},
		{"dual.", dns.TypeAAAA, "NOERROR fd00::2"},
		{"six.", dns.TypeA, "NOERROR"},
		{"headless.", dns.TypeA, "NOERROR 10.244.0.1 10.244.0.2 10.244.0.3"},
		{"empty.", dns.TypeA, "NOERROR"},
		{"reviews.", dns.TypeTXT, "NOERROR"},
		{"svc.cluster.local.", dns.TypeA, "NOERROR"}, // names lie below it
		{"nobody.shop.svc.cluster.local.", dns.TypeA, "NXDOMAIN"},
		{"example.com.", dns.TypeA, "NXDOMAIN"},
		{"example.org.", dns.TypeA, "NXDOMAIN"},
		{"a.wild.example.com.", dns.TypeA, "NOERROR 10.96.2.1"},
		{"b.a.wild.example.com.", dns.TypeA, "NOERROR 10.96.2.1"},
		{"exact.wild.example.com.", dns.TypeA, "NOERROR 10.96.2.2"},
		{"reviews.shop.svc.cluster.local.shop.svc.cluster.local.", dns.TypeA, "NXDOMAIN"},
		{".", dns.TypeA, "NXDOMAIN"},
	} {
		m := server.Answer(t.Context(), question(c.name, c.kind), true)
		if got := summary(m); got != c.want {
			t.Errorf("%s %s is %q, want %q", c.name, dns.TypeToString[c.kind], got, c.want)
		}
		if len(m.Answer) == 0 && (len(m.Ns) != 1 || m.Ns[0].Header().Rrtype != dns.TypeSOA) {
			t.Errorf("%s: a negative answer without SOA: %v", c.name, m.Ns)
		}
		for _, rr := range m.Answer {
			if rr.Header().Name != c.name || rr.Header().Ttl != 5 {
				t.Errorf("%s: answered as %v", c.name, rr.Header())
			}
		}
	}
}

func TestOddQuestions(t *testing.T) {
	server := newServer(shopTable(t), nil)
	chaos := question("version.bind.", dns.TypeTXT)
	chaos.Question[0].Qclass = dns.ClassCHAOS
	update := new(dns.Msg).SetUpdate("cluster.local.")
	two := question("reviews.", dns.TypeA)
	two.Question = append(two.Question, two.Question[0])
	for _, c := range []struct {
		q    *dns.Msg
		want int
	}{
		{chaos, dns.RcodeRefused}, {update, dns.RcodeNotImplemented}, {two, dns.RcodeFormatError}, {new(dns.Msg), dns.RcodeFormatError},
	} {
		if m := server.Answer(t.Context(), c.q, true); m.Rcode != c.want {
			t.Errorf("%v is answered with %s", c.q.Question, dns.RcodeToString[m.Rcode])
		}
	}
	if m := server.Answer(t.Context(), new(dns.Msg).SetReply(question("reviews.", dns.TypeA)), true); m != nil {
		t.Errorf("an answer is answered with %v", m)
	}
}

func TestBeforeTheTableCame(t *testing.T) {
	table := NewTable(search)
	server := newServer(table, nil)
	if m := server.Answer(t.Context(), question("reviews.", dns.TypeA), true); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("before: %s", summary(m))
	}
	if err := table.apply(nil); err != nil {
		t.Fatal(err)
	}
	if m := server.Answer(t.Context(), question("reviews.", dns.TypeA), true); m.Rcode != dns.RcodeNameError {
		t.Errorf("after: %s", summary(m))
	}
}

func TestRotation(t *testing.T) {
	server := newServer(shopTable(t), nil)
	first := map[string]int{}
	for range 9 {
		m := server.Answer(t.Context(), question("headless.", dns.TypeA), true)
		first[m.Answer[0].(*dns.A).A.String()]++
	}
	for address, n := range first {
		if n != 3 {
			t.Errorf("%s came first %d times of 9", address, n)
		}
	}
}

func TestSizes(t *testing.T) {
	server := newServer(shopTable(t), nil)
	edns := question("many.", dns.TypeA)
	edns.SetEdns0(4096, false)
	for _, c := range []struct {
		what  string
		q     *dns.Msg
		udp   bool
		limit int
		whole bool
	}{
		{"plain UDP", question("many.", dns.TypeA), true, dns.MinMsgSize, false},
		{"EDNS", edns, true, udpSize, false},
		{"TCP", question("many.", dns.TypeA), false, dns.MaxMsgSize, true},
	} {
		m := server.Answer(t.Context(), c.q, c.udp)
		packed, err := m.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if len(packed) > c.limit || m.Truncated == c.whole {
			t.Errorf("%s: %d bytes, truncated %t", c.what, len(packed), m.Truncated)
		}
		if (c.q.IsEdns0() != nil) != (m.IsEdns0() != nil) {
			t.Errorf("%s: EDNS is answered with %v", c.what, m.IsEdns0())
		}
	}
}

// TestOverTheWire forwards to an upstream that knows one name, by UDP and TCP.
func TestOverTheWire(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	upstream := serve(ctx, t, newServer(withName(t, "example.org", "192.0.2.1"), nil))
	dead, err := net.ListenPacket("udp", "127.0.0.1:0") // takes and says nothing
	if err != nil {
		t.Fatal(err)
	}
	address := dead.LocalAddr().String()
	_ = dead.Close()
	forward, err := NewForwarder([]string{address, upstream}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := serve(ctx, t, newServer(shopTable(t), forward))
	if m, err := dns.Exchange(question("reviews.", dns.TypeHTTPS), server); err != nil || summary(m) != "NOERROR" {
		t.Errorf("another type of a mesh name: %v, %v", m, err) // the upstream says NXDOMAIN
	}
	for _, network := range []string{"udp", "tcp"} {
		client := &dns.Client{Net: network, Timeout: 5 * time.Second}
		for name, want := range map[string]string{
			"example.org.": "NOERROR 192.0.2.1", "nobody.example.org.": "NXDOMAIN", "reviews.": "NOERROR 10.96.0.1",
		} {
			m, _, err := client.Exchange(question(name, dns.TypeA), server)
			if err != nil {
				t.Fatalf("%s %s: %v", network, name, err)
			}
			if got := summary(m); got != want {
				t.Errorf("%s %s is %q, want %q", network, name, got, want)
			}
		}
	}
}

func TestNobodyUpstreamAnswers(t *testing.T) {
	forward, err := NewForwarder([]string{"127.0.0.1:1"}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	server := newServer(shopTable(t), forward)
	if m := server.Answer(t.Context(), question("example.org.", dns.TypeA), false); m.Rcode != dns.RcodeServerFailure {
		t.Errorf("it is %s", summary(m))
	}
}

// TestKeptNames: the next agent knows what the one before it knew, and tells the
// pilot so; of a broken file it takes nothing.
func TestKeptNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names.json")
	table := shopTable(t)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- table.Keep(ctx, path) }()
	next := NewTable(search)
	for deadline := time.Now().Add(5 * time.Second); next.Len() != table.Len(); {
		if err := next.Load(path); err != nil || time.Now().After(deadline) {
			t.Fatalf("%d names are kept of %d: %v", next.Len(), table.Len(), err)
		}
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	if !next.Synced() || !maps.Equal(next.held(), table.held()) {
		t.Errorf("held %v, want %v", next.held(), table.held())
	}
	for name, want := range table.records {
		if got := next.records[name]; fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v, want %v", name, got, want)
		}
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	if err := os.WriteFile(path, []byte("{\"resource\":\"a\",\"addresses\":[\"10.0.0.1\"]}\n{\"resou"), 0o600); err != nil {
		t.Fatal(err)
	}
	broken := NewTable(nil)
	if err := broken.Load(path); err == nil || broken.Len() != 0 || broken.Synced() {
		t.Errorf("of a broken file: %v, %d names", err, broken.Len())
	}
	if err := broken.Load(path + ".none"); err != nil {
		t.Error(err)
	}
}

// TestIPv6Upstream: a resolver may have an IPv6 address, with a zone as well.
func TestIPv6Upstream(t *testing.T) {
	forward, err := NewForwarder([]string{"fd00::1", "fe80::1%eth0", "[::1]:5353"}, nil, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(forward.servers), "[[fd00::1]:53 [fe80::1%eth0]:53 [::1]:5353]"; got != want {
		t.Errorf("servers %s, want %s", got, want)
	}
	b, err := Listen(t.Context(), []string{"[::1]:0"})
	if errors.Is(err, syscall.EADDRNOTAVAIL) || errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Logf("no IPv6 on this machine, so nobody is asked: %v", err)
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = newServer(withName(t, "example.org", "2001:db8::1"), nil).Serve(t.Context(), b) }()
	if forward, err = NewForwarder([]string{b.Address()}, nil, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	server := newServer(shopTable(t), forward)
	for kind, want := range map[uint16]string{dns.TypeAAAA: "NOERROR 2001:db8::1", dns.TypeA: "NOERROR"} {
		if m := server.Answer(t.Context(), question("example.org.", kind), true); summary(m) != want {
			t.Errorf("%s, want %s", summary(m), want)
		}
	}
}

func withName(t *testing.T, name string, address string) *Table {
	t.Helper()
	table := NewTable(nil)
	if err := table.apply([]change{{resource: name, version: "1", domain: domain(name, address)}}); err != nil {
		t.Fatal(err)
	}
	return table
}

func serve(ctx context.Context, t *testing.T, s *Server) string {
	t.Helper()
	b, err := Listen(ctx, []string{"127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(ctx, b) }()
	return b.Address()
}

// TestFeed: a delta is taken as a whole or not at all, and what is held is
// named to the next pilot.
func TestFeed(t *testing.T) {
	feed := &Feed{Table: NewTable(search), Log: slog.New(slog.DiscardHandler)}
	good := response(t, "a.shop.svc.cluster.local", "10.0.0.1")
	good.Resources = append(good.Resources, response(t, "b.shop.svc.cluster.local", "10.0.0.2").Resources...)
	if ack := feed.take(good); ack.GetErrorDetail() != nil || ack.GetResponseNonce() != "7" {
		t.Errorf("a good delta is answered with %v", ack)
	}
	bad := response(t, "c.shop.svc.cluster.local", "not an address")
	bad.RemovedResources = []string{"a.shop.svc.cluster.local"}
	if nack := feed.take(bad); nack.GetErrorDetail() == nil {
		t.Error("a bad delta is acknowledged")
	}
	if held := feed.Table.held(); len(held) != 2 || held["a.shop.svc.cluster.local"] != "v" {
		t.Errorf("held are %v", held)
	}
	feed.take(&discoveryv3.DeltaDiscoveryResponse{RemovedResources: []string{"a.shop.svc.cluster.local", "never.there"}})
	if held := feed.Table.held(); len(held) != 1 || feed.Table.Len() != 1 {
		t.Errorf("held are %v", held)
	}
}

func response(t *testing.T, name, address string) *discoveryv3.DeltaDiscoveryResponse {
	t.Helper()
	body, err := anypb.New(domain(name, address))
	if err != nil {
		t.Fatal(err)
	}
	return &discoveryv3.DeltaDiscoveryResponse{Nonce: "7", TypeUrl: TypeURL, Resources: []*discoveryv3.Resource{
		{Name: name, Version: "v", Resource: body}}}
}

func TestTTL(t *testing.T) {
	for given, want := range map[time.Duration]uint32{time.Minute * 5: 30, time.Millisecond: 1, 10 * time.Second: 10} {
		d := domain("a", "10.0.0.1")
		d.AnswerTtl = durationpb.New(given)
		r, err := decode(d)
		if err != nil || r.ttl != want {
			t.Errorf("%v becomes %d (%v), want %d", given, r.ttl, err, want)
		}
	}
}

// FuzzAnswer: whatever comes in, an answer goes out that fits, belongs to the
// question and can be read again.
func FuzzAnswer(f *testing.F) {
	for _, q := range []*dns.Msg{question("reviews.", dns.TypeA), question("many.", dns.TypeAAAA), question("a.wild.example.com.", dns.TypeANY)} {
		q.SetEdns0(1232, true)
		packed, err := q.Pack()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(packed, true)
	}
	server := newServer(shopTable(f), nil)
	f.Fuzz(func(t *testing.T, raw []byte, udp bool) {
		q := new(dns.Msg)
		if q.Unpack(raw) != nil {
			return
		}
		m := server.Answer(t.Context(), q, udp)
		if m == nil {
			return
		}
		packed, err := m.Pack()
		if err != nil {
			t.Fatalf("cannot be packed: %v\n%v", err, m)
		}
		if udp && len(packed) > udpSize {
			t.Fatalf("%d bytes for UDP", len(packed))
		}
		if m.Id != q.Id || !m.Response || new(dns.Msg).Unpack(packed) != nil {
			t.Fatalf("not an answer to it: %v", m)
		}
	})
}
