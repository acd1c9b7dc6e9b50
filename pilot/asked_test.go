package pilot_test

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// zone is a DNS server whose answers change. A name that it does not have is
// unknown (NXDOMAIN).
type zone struct {
	mu      sync.Mutex
	records map[string]record
	asked   map[string][]question // for the address of a name
}

// question is one that was answered, by the IDs that it came with.
type question struct {
	at  time.Time
	ids []uint16
}

type record struct {
	address string
	ttl     int  // seconds
	broken  bool // the server cannot tell (SERVFAIL)
	gone    bool // as if there were no record
}

func newZone(t *testing.T) (*zone, netip.AddrPort) {
	t.Helper()
	lis, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	z := &zone{records: map[string]record{}, asked: map[string][]question{}}
	server := &dns.Server{PacketConn: lis, Handler: z}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	return z, netip.MustParseAddrPort(lis.LocalAddr().String())
}

// ServeDNS answers one question.
func (z *zone) ServeDNS(w dns.ResponseWriter, q *dns.Msg) {
	z.mu.Lock()
	defer z.mu.Unlock()
	m, name, a := new(dns.Msg).SetReply(q), strings.TrimSuffix(q.Question[0].Name, "."), q.Question[0].Qtype == dns.TypeA
	r, ok := z.records[name]
	switch {
	case !ok, r.gone:
		m.Rcode = dns.RcodeNameError
	case r.broken:
		m.Rcode = dns.RcodeServerFailure
	case a:
		m.Answer = []dns.RR{&dns.A{Hdr: dns.RR_Header{Name: q.Question[0].Name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: uint32(r.ttl)}, A: net.ParseIP(r.address)}}
	}
	if a {
		z.note(name, q.Id)
	}
	_ = w.WriteMsg(m)
}

// note keeps when a question was answered. Where an answer is late, as on a machine
// that stalls, c-ares asks again within milliseconds: what comes with an ID of the last
// question, or within a second of its answer, is the same question.
func (z *zone) note(name string, id uint16) {
	all, now := z.asked[name], time.Now()
	if last := len(all) - 1; last >= 0 && (slices.Contains(all[last].ids, id) || now.Sub(all[last].at) < time.Second) {
		all[last].ids = append(all[last].ids, id)
		return
	}
	z.asked[name] = append(all, question{at: now, ids: []uint16{id}})
}

func (z *zone) set(name string, r record) {
	z.mu.Lock()
	defer z.mu.Unlock()
	z.records[name] = r
}

// questions are when each question for a name was answered.
func (z *zone) questions(name string) (out []time.Time) {
	z.mu.Lock()
	defer z.mu.Unlock()
	for _, q := range z.asked[name] {
		out = append(out, q.at)
	}
	return out
}

// askedWorld is an Envoy that looks up hosts that its clients name, and two
// servers, 127.0.0.2 and 127.0.0.3, that say which they are.
type askedWorld struct {
	world
	zone        *zone
	port, tlses int // of both servers
}

const (
	oneServer, otherServer = "127.0.0.2", "127.0.0.3"
	askedPatience          = time.Minute
)

func newAskedWorld(t *testing.T) askedWorld {
	t.Helper()
	names, at := newZone(t)
	w := askedWorld{zone: names, port: twoServers(t, false), tlses: twoServers(t, true)}
	w.world = startOptions(t, envoy.Options{Nameserver: at, Resources: worldResources(t, fmt.Sprintf(`
apiVersion: v1
kind: ConfigMap
metadata: {name: istio, namespace: weft-system}
data: {mesh: 'outboundTrafficPolicy: {mode: ALLOW_ANY_DYNAMIC_DNS}'}
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: all}
spec:
  hosts: ["*.example.test"]
  location: MESH_EXTERNAL
  resolution: DYNAMIC_DNS
  ports: [{number: %d, name: http, protocol: HTTP}, {number: %d, name: tls, protocol: TLS}]
`, w.port, w.tlses))})
	return w
}

// twoServers serve one port of both addresses. Each answer ends its connection: one
// that is open stays where it is, whatever DNS says.
func twoServers(t *testing.T, secured bool) int {
	t.Helper()
	one, other := onePort(t)
	for address, lis := range map[string]net.Listener{oneServer: one, otherServer: other} {
		server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, address) }))
		server.Config.SetKeepAlivesEnabled(false)
		_ = server.Listener.Close()
		if server.Listener = lis; secured {
			server.StartTLS()
		} else {
			server.Start()
		}
		t.Cleanup(server.Close)
	}
	return one.Addr().(*net.TCPAddr).Port
}

// onePort listens at one port of both addresses. A port that is free at the one may be
// taken at the other: then it tries the next.
func onePort(t *testing.T) (one, other net.Listener) {
	t.Helper()
	for tries := 1; ; tries++ {
		one, err := net.Listen("tcp", oneServer+":0")
		if err != nil {
			t.Fatal(err)
		}
		other, err := net.Listen("tcp", fmt.Sprintf("%s:%d", otherServer, one.Addr().(*net.TCPAddr).Port))
		if err == nil {
			return one, other
		}
		_ = one.Close()
		if tries == 10 {
			t.Fatal(err)
		}
	}
}

// call asks a host, and returns which server answered; else the status, or how the
// connection ended, and Envoy's flags.
func (w askedWorld) call(t *testing.T, to askedCall) string {
	t.Helper()
	call := simulate.Call{Listener: "virtualOutbound", Host: fmt.Sprintf("%s:%d", to.host, w.port), Destination: netip.AddrPortFrom(netip.MustParseAddr("93.184.216.34"), uint16(w.port))}
	switch {
	case to.tls:
		address, err := w.lookup.Address("*.example.test") // by the mesh's own DNS
		if err != nil {
			t.Fatal(err)
		}
		call.Host, call.Destination = to.host, netip.AddrPortFrom(address, uint16(w.tlses))
		call.TLS = &simulate.TLS{SNI: to.host}
	case to.unknown:
		call.Destination = netip.AddrPortFrom(call.Destination.Addr(), 8000)
	}
	found, err := w.Do(t.Context(), call)
	switch {
	case err != nil:
		t.Fatal(err)
	case found.Status == http.StatusOK:
		return found.Body
	case found.Closed != "":
		return "closed"
	}
	return fmt.Sprintf("%d %s", found.Status, w.AwaitFlags(t.Context(), found))
}

// askedCall is one to a host by HTTP, or by TLS that names it, at the ServiceEntry's
// port or at one that the mesh does not know.
type askedCall struct {
	host         string
	tls, unknown bool
}

// becomes calls until the answer is want.
func (w askedWorld) becomes(t *testing.T, to askedCall, want string) {
	t.Helper()
	last := ""
	defer func() { t.Logf("%s: last %q", to.host, last) }()
	within(t, askedPatience, to.host+" at "+want, func() bool { last = w.call(t, to); return last == want })
}

// apart fails when a name was asked for twice within less than least, but for what
// timers round.
func (z *zone) apart(t *testing.T, name string, least time.Duration) {
	t.Helper()
	all := z.questions(name)
	for i := 1; i < len(all); i++ {
		if gap := all[i].Sub(all[i-1]); gap < least-100*time.Millisecond {
			t.Errorf("%s: asked for again after %v, want no less than %v", name, gap, least)
		}
	}
}

// TestHostsThatClientsName: with DYNAMIC_DNS, and where unknown hosts are looked up,
// what DNS says is followed: another address, a name that begins to exist, a server
// that can tell again. An answer's time to live is kept to, and 5 s where it is less
// or there is none.
// Source: Envoy's dns_cache.proto, dns_refresh_rate and dns_min_refresh_rate.
func TestHostsThatClientsName(t *testing.T) {
	t.Parallel()
	w := newAskedWorld(t)
	for name, to := range map[string]askedCall{
		"entry": {host: "entry.example.test"}, "TLS": {host: "tls.example.test", tls: true}, "unknown": {host: "unknown.elsewhere.test", unknown: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			failed := "503 DF"
			if to.tls {
				failed = "closed"
			}
			if got := w.call(t, to); got != failed {
				t.Errorf("a name that does not exist: %q, want %q", got, failed)
			}
			w.zone.set(to.host, record{address: oneServer, ttl: 1})
			w.becomes(t, to, oneServer)
			w.zone.set(to.host, record{address: otherServer, ttl: 1})
			w.becomes(t, to, otherServer)
			w.zone.apart(t, to.host, 5*time.Second)
		})
	}
	t.Run("server cannot tell, then tells, then knows no more", func(t *testing.T) {
		t.Parallel()
		to := askedCall{host: "broken.example.test"}
		w.zone.set(to.host, record{broken: true})
		if got := w.call(t, to); got != "503 DF" {
			t.Errorf("got %q", got)
		}
		w.zone.set(to.host, record{address: oneServer, ttl: 1})
		w.becomes(t, to, oneServer)
		w.zone.set(to.host, record{gone: true})
		had := len(w.zone.questions(to.host))
		within(t, askedPatience, "two more answers", func() bool { return len(w.zone.questions(to.host)) > had+1 })
		if got := w.call(t, to); got != oneServer {
			t.Errorf("once it is gone: %q, want the last address", got)
		}
	})
	t.Run("time to live", func(t *testing.T) {
		t.Parallel()
		to := askedCall{host: "long.example.test"}
		w.zone.set(to.host, record{address: oneServer, ttl: 8})
		w.becomes(t, to, oneServer)
		within(t, askedPatience, "another question", func() bool { return len(w.zone.questions(to.host)) > 1 })
		w.zone.apart(t, to.host, 8*time.Second)
	})
}
