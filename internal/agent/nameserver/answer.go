package nameserver

import (
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// answer is what the table says to q, or nil when it is not the table's to
// say: a name outside of the mesh. turn rotates the addresses, so that clients
// that take the first one spread.
func (t *Table) answer(q *dns.Msg, turn uint32) *dns.Msg {
	question := q.Question[0]
	r, known := t.lookup(canonical(question.Name))
	if known == unknown {
		return nil
	}
	r = t.reachable(r)
	m := reply(q)
	m.Authoritative = true
	switch {
	case known == empty:
	case question.Qtype == dns.TypeA:
		m.Answer = addresses(question, r.v4, r.ttl, turn)
	case question.Qtype == dns.TypeAAAA:
		m.Answer = addresses(question, r.v6, r.ttl, turn)
	}
	if len(m.Answer) == 0 { // NODATA, RFC 2308, 2.2
		m.Ns = []dns.RR{startOfAuthority(question.Name)}
	}
	return m
}

// notFound is NXDOMAIN with the record that says for how long.
func notFound(q *dns.Msg) *dns.Msg {
	m := reply(q)
	m.Authoritative = true
	m.Rcode = dns.RcodeNameError
	m.Ns = []dns.RR{startOfAuthority(q.Question[0].Name)}
	return m
}

func failure(q *dns.Msg, rcode int) *dns.Msg {
	m := reply(q)
	m.Rcode = rcode
	return m
}

func reply(q *dns.Msg) *dns.Msg {
	m := new(dns.Msg)
	m.SetReply(q)
	m.RecursionAvailable = true
	m.Compress = true
	return m
}

func addresses(q dns.Question, ips []netip.Addr, ttl, turn uint32) []dns.RR {
	out := make([]dns.RR, 0, len(ips))
	for i := range ips {
		ip := ips[(uint32(i)+turn)%uint32(len(ips))]
		// The question's spelling is given back: some clients vary the case
		// and compare (draft-vixie-dnsext-dns0x20).
		header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: ttl}
		if ip.Is4() {
			out = append(out, &dns.A{Hdr: header, A: net.IP(ip.AsSlice())})
		} else {
			out = append(out, &dns.AAAA{Hdr: header, AAAA: net.IP(ip.AsSlice())})
		}
	}
	return out
}

// startOfAuthority lets a negative answer be kept as briefly as any other.
func startOfAuthority(name string) dns.RR {
	ttl := seconds(defaultTTL)
	return &dns.SOA{
		Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: ttl},
		Ns:  "ns.weft.mesh.", Mbox: "hostmaster.weft.mesh.",
		Serial: 1, Refresh: 3600, Retry: 600, Expire: 86400, Minttl: ttl,
	}
}

// fit makes m a message that its asker can take: EDNS is answered with EDNS,
// and what is too long for UDP is truncated, so that the asker comes by TCP.
func fit(m, q *dns.Msg, udp bool) *dns.Msg {
	size := dns.MinMsgSize
	if asked := q.IsEdns0(); asked != nil {
		if m.IsEdns0() == nil {
			m.SetEdns0(udpSize, false)
		}
		size = max(size, min(int(asked.UDPSize()), udpSize))
	}
	if !udp {
		size = dns.MaxMsgSize
	}
	m.Truncate(size)
	return m
}
