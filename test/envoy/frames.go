package envoy

import (
	"encoding/binary"
	"strings"
	"sync"
	"time"
)

// http2Preface is how an HTTP/2 client begins.
const http2Preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

// pings watches for HTTP/2's PING frames in what a proxy sends.
// Source: RFC 9113, sections 3.4, 4.1 and 6.7.
type pings struct {
	mu      sync.Mutex
	none    bool // it is no HTTP/2
	began   bool
	head    []byte // of a frame, or the preface, read so far
	skip    int    // bytes of the frame's payload still to come
	arrived []time.Time
	changed chan struct{} // closed and replaced at each one
}

func newPings() *pings { return &pings{changed: make(chan struct{})} }

// read takes the next bytes of the connection; it says whether a ping that
// asks for an answer begins in them.
func (p *pings) read(b []byte) (asked bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for len(b) > 0 && !p.none {
		if n := min(p.skip, len(b)); n > 0 {
			p.skip, b = p.skip-n, b[n:]
			continue
		}
		p.head, b = append(p.head, b[0]), b[1:]
		if !p.began {
			p.none = !strings.HasPrefix(http2Preface, string(p.head))
			if len(p.head) == len(http2Preface) {
				p.began, p.head = true, nil
			}
			continue
		}
		if len(p.head) == frameHeader {
			asked = p.frame() || asked
			p.head = nil
		}
	}
	return asked
}

// frameHeader is the length of the header: three bytes of payload length, type,
// flags, four of the stream.
const frameHeader = 9

func (p *pings) frame() (asked bool) {
	p.skip = int(binary.BigEndian.Uint32(append([]byte{0}, p.head[:3]...)))
	const ping, ack = 6, 1
	if p.head[3] != ping || p.head[4]&ack != 0 {
		return false
	}
	p.arrived = append(p.arrived, time.Now())
	close(p.changed)
	p.changed = make(chan struct{})
	return true
}

func (p *pings) all() ([]time.Time, <-chan struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]time.Time(nil), p.arrived...), p.changed
}
