package main

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"syscall"
	"time"
)

// How many connections each kind of attack holds at a port. The silent ones are
// more than any of Weft's own HTTP ports takes.
const (
	silent  = 700
	garbage = 20
	slow    = 60
	large   = 6
)

// reviewSize is that of the AdmissionReviews: as large as any is read.
const reviewSize = 3 << 20

// Seen is what came of the attack on one port.
type Seen struct {
	// Opened connections, and those that the port would not open.
	Opened, Refused int
	// Longest is the most that were open at once.
	Longest int
	// Answers by kind of request and status; 0 stands for a closed connection.
	Answers map[string]map[int]int
}

// attack attacks each URL in every way that its scheme has, for a while, and
// returns what came of it by URL.
func attack(ctx context.Context, args []string) (map[string]*Seen, error) {
	set := flag.NewFlagSet("attack", flag.ContinueOnError)
	during := set.Duration("for", 10*time.Second, "how long")
	if err := set.Parse(args); err != nil {
		return nil, err
	}
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: 100_000, Max: 100_000}); err != nil {
		var now syscall.Rlimit
		_ = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &now)
		_ = syscall.Setrlimit(syscall.RLIMIT_NOFILE, &syscall.Rlimit{Cur: now.Max, Max: now.Max})
	}
	ctx, cancel := context.WithTimeout(ctx, *during)
	defer cancel()
	out := map[string]*Seen{}
	var all sync.WaitGroup
	for _, arg := range set.Args() {
		to, err := url.Parse(arg)
		if err != nil {
			return nil, err
		}
		p := &port{url: to, seen: &Seen{Answers: map[string]map[int]int{}}}
		out[arg] = p.seen
		for n, do := range p.ways() {
			for range n.times {
				all.Go(func() { p.repeat(ctx, do) })
			}
		}
	}
	all.Wait()
	return out, nil
}

// send posts each of the attack's requests to each URL once, one after another,
// where they are not lost in a flood.
func send(ctx context.Context, args []string) (map[string]*Seen, error) {
	out := map[string]*Seen{}
	for _, arg := range args {
		to, err := url.Parse(arg)
		if err != nil {
			return nil, err
		}
		if to.Port() == "" {
			to.Host += ":80"
		}
		p := &port{url: to, seen: &Seen{Answers: map[string]map[int]int{}}}
		out[arg] = p.seen
		for _, do := range p.posts() {
			_ = do(ctx) // an answer of 0 says so
		}
	}
	return out, nil
}

// port is one port that is attacked: tcp, http or https.
type port struct {
	url *url.URL

	mu   sync.Mutex
	open int
	seen *Seen
}

// way is one way to attack, done so many times at once.
type way struct {
	name  string
	times int
}

// ways are by what a port speaks: to one that speaks TLS garbage is sent before
// and after the handshake.
func (p *port) ways() map[way]func(context.Context) error {
	out := map[way]func(context.Context) error{
		{"silent", silent}:   p.silent,
		{"garbage", garbage}: p.garbage,
	}
	if p.url.Scheme == "tcp" {
		return out
	}
	out[way{"slow", slow}] = p.slow
	for name, do := range p.posts() {
		out[way{name, large}] = do
	}
	return out
}

// posts are requests of one piece each.
func (p *port) posts() map[string]func(context.Context) error {
	texts := bodies[p.url.Path]
	if texts == nil {
		texts = bodies["/inject"] // for no reader in particular
	}
	out := map[string]func(context.Context) error{"headers": p.post("headers", func() (io.Reader, int64) { return nil, 0 })}
	for name, text := range texts {
		out[name] = p.post(name, func() (io.Reader, int64) {
			if name == "too large" {
				return strings.NewReader(text), -1 // in chunks: its size is not said before
			}
			return strings.NewReader(text), int64(len(text))
		})
	}
	return out
}

// The bodies of posts, by the object that the webhook of a path takes: as large
// as any is read and larger, of small things that cost a decoder most; many
// elements in few bytes; nested deeper than any object is.
var bodies = map[string]map[string]string{
	"/inject":   reviews(`{"apiVersion":"v1","kind":"Pod","metadata":{"name":"p","namespace":"shop"},"spec":{"containers":[`, 4_900),
	"/validate": reviews(`{"apiVersion":"networking.istio.io/v1","kind":"VirtualService","metadata":{"name":"v","namespace":"shop"},"spec":{"hosts":["reviews"],"http":[`, 12_400),
}

// reviews are AdmissionReviews of an object that begins so, in a list.
func reviews(object string, elements int) map[string]string {
	head := `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","operation":"CREATE","namespace":"shop","object":` + object
	const one, tail = `{},`, `{}]}}}}`
	sized := func(size int) string {
		room := size - len(head) - len(tail)
		return head + strings.Repeat(one, room/len(one)) + strings.Repeat(" ", room%len(one)) + tail
	}
	return map[string]string{
		"large": sized(reviewSize), "too large": sized(reviewSize + 1), "full": head + strings.Repeat(one, elements) + tail,
		"deep": head + strings.Repeat(`{"a":[`, 100_000),
	}
}

// repeat does it again and again until ctx ends; a failure waits a moment.
func (p *port) repeat(ctx context.Context, do func(context.Context) error) {
	for ctx.Err() == nil {
		if do(ctx) != nil {
			select {
			case <-ctx.Done():
			case <-time.After(50 * time.Millisecond):
			}
		}
	}
}

// dial opens a connection and counts it.
func (p *port) dial(ctx context.Context) (net.Conn, error) {
	d := net.Dialer{Timeout: 3 * time.Second}
	conn, err := d.DialContext(ctx, "tcp", p.url.Host)
	p.mu.Lock()
	defer p.mu.Unlock()
	if err != nil {
		if ctx.Err() == nil {
			p.seen.Refused++
		}
		return nil, err
	}
	p.open++
	p.seen.Opened++
	p.seen.Longest = max(p.seen.Longest, p.open)
	c := &counted{Conn: conn, port: p}
	context.AfterFunc(ctx, func() { _ = c.Close() })
	return c, nil
}

type counted struct {
	net.Conn
	port *port
	once sync.Once
}

func (c *counted) Close() error {
	c.once.Do(func() {
		c.port.mu.Lock()
		defer c.port.mu.Unlock()
		c.port.open--
	})
	return c.Conn.Close()
}

// talk is dial, with TLS where the port speaks it. Whose certificate it is does
// not matter to an attacker.
func (p *port) talk(ctx context.Context) (net.Conn, error) {
	conn, err := p.dial(ctx)
	if err != nil || p.url.Scheme != "https" {
		return conn, err
	}
	secure := tls.Client(conn, &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}) //nolint:gosec // see above
	if err := secure.HandshakeContext(ctx); err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return secure, nil
}

// silent holds a connection and says nothing until the other end has enough.
func (p *port) silent(ctx context.Context) error {
	conn, err := p.dial(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	_, err = io.Copy(io.Discard, conn)
	return cmpErr(err)
}

// cmpErr makes the end of a connection, too, wait a moment before the next.
func cmpErr(err error) error {
	if err == nil {
		return io.EOF
	}
	return err
}

// garbage writes noise.
func (p *port) garbage(ctx context.Context) error {
	conn, err := p.talk(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	_, err = io.CopyN(conn, rand.Reader, 256<<10)
	return cmpErr(err)
}

// slow promises a large body and sends a byte at a time.
func (p *port) slow(ctx context.Context) error {
	conn, err := p.talk(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	if _, err := fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n{", p.path(), reviewSize); err != nil {
		return err
	}
	// What is there at once, so that it takes as much room as one can.
	if _, err := io.WriteString(conn, strings.Repeat(" ", 100<<10)); err != nil {
		return err
	}
	go func() { _, _ = io.Copy(io.Discard, conn) }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
			if _, err := conn.Write([]byte(" ")); err != nil {
				return err
			}
		}
	}
}

func (p *port) path() string {
	if p.url.Path == "" {
		return "/"
	}
	return p.url.Path
}

// post sends one request and counts the answer; one without a body has headers
// that are larger than any are read.
func (p *port) post(name string, body func() (io.Reader, int64)) func(context.Context) error {
	return func(ctx context.Context) error {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return p.dial(ctx) },
			TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}} //nolint:gosec // as in talk
		text, size := body()
		q, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url.String(), text)
		if err != nil {
			return err
		}
		q.ContentLength = size
		q.Header.Set("Content-Type", "application/json")
		if text == nil {
			q.Header.Set("X-Noise", strings.Repeat("n", 1<<20))
		}
		resp, err := transport.RoundTrip(q)
		status := 0
		if err == nil {
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			status = resp.StatusCode
		}
		if ctx.Err() == nil {
			p.count(name, status)
		}
		return err
	}
}

func (p *port) count(name string, status int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.seen.Answers[name] == nil {
		p.seen.Answers[name] = map[int]int{}
	}
	p.seen.Answers[name][status]++
}
