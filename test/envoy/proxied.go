package envoy

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"strings"
)

// What headers of HAProxy's PROXY protocol begin with. Requests with the first
// byte of either are longer than the longer of them.
const (
	proxyText   = "PROXY "
	proxyBinary = "\r\n\r\n\x00\r\nQUIT\n"
)

var errProxyHeader = errors.New("a PROXY header that makes no sense")

// proxied reads a PROXY header, if the connection begins with one, and notes
// its version and the client in it: "v1 203.0.113.9".
func (p *peeked) proxied() error {
	for _, form := range []string{proxyText, proxyBinary} {
		if p.head[0] != form[0] {
			continue
		}
		more := make([]byte, len(form)-len(p.head))
		n, err := io.ReadFull(p.Conn, more)
		if p.head = append(p.head, more[:n]...); err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
			return err
		}
		if string(p.head) != form {
			return nil
		}
		read := p.proxyLine
		if form == proxyBinary {
			read = p.proxyBlock
		}
		if err := read(); err != nil {
			return err
		}
		p.head = make([]byte, 1)
		_, err = io.ReadFull(p.Conn, p.head)
		return err
	}
	return nil
}

// proxyLine reads the rest of "PROXY TCP4 SOURCE DESTINATION PORT PORT".
func (p *peeked) proxyLine() error {
	var line []byte
	for one := make([]byte, 1); !bytes.HasSuffix(line, []byte("\r\n")); line = append(line, one...) {
		if _, err := io.ReadFull(p.Conn, one); err != nil {
			return err
		}
		if len(line) > 100 {
			return errProxyHeader
		}
	}
	fields := strings.Fields(string(line))
	if len(fields) != 5 {
		return fmt.Errorf("%w: %q", errProxyHeader, line)
	}
	p.client = "v1 " + fields[1]
	return nil
}

// proxyBlock reads the rest of a header of version 2: command, family, length,
// and addresses.
func (p *peeked) proxyBlock() error {
	var fixed [4]byte
	if _, err := io.ReadFull(p.Conn, fixed[:]); err != nil {
		return err
	}
	rest := make([]byte, binary.BigEndian.Uint16(fixed[2:]))
	if _, err := io.ReadFull(p.Conn, rest); err != nil {
		return err
	}
	size := map[byte]int{1: 4, 2: 16}[fixed[1]>>4]
	if len(rest) < 2*size {
		return errProxyHeader
	}
	client, _ := netip.AddrFromSlice(rest[:size])
	p.client = "v2 " + client.String()
	return nil
}
