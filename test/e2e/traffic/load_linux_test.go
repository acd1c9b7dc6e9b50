package traffic

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/samples/bookshop/shop"
	"github.com/weftmesh/weft/test/cluster"
	"github.com/weftmesh/weft/test/e2e/rig"
	"github.com/weftmesh/weft/test/stat"
)

// stream is a client whose outcomes are seen as they come.
type stream struct {
	b     *bench
	what  string
	input io.Closer // its end stops the client
	ended chan struct{}

	lock  sync.Mutex
	lines []load.Line
	err   error
}

// fromLAN runs a client outside of the cluster.
func (b *bench) fromLAN(args ...string) *stream {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), filepath.Join(b.Bin, "bookshop"), append(args, "--follow")...)
	if err := b.Inside("lan", cmd); err != nil {
		b.Fatal(err)
	}
	return b.follow(strings.Join(args, " "), cmd)
}

// fromPod runs a client in a pod of a Deployment, in its first container.
func (b *bench) fromPod(namespace, deployment string, args ...string) *stream {
	b.Helper()
	in := []string{"--kubeconfig", b.Kubeconfig(), "exec", "-i", "-n", namespace, "deploy/" + deployment, "--", bookshop}
	cmd := exec.CommandContext(b.Context(), b.KubectlPath, append(append(in, args...), "--follow")...)
	return b.follow(deployment+": "+strings.Join(args, " "), cmd)
}

func (b *bench) follow(what string, cmd *exec.Cmd) *stream {
	b.Helper()
	s := &stream{b: b, what: what, ended: make(chan struct{})}
	var said bytes.Buffer
	cmd.Stderr = &said
	var out io.ReadCloser
	var err error
	if s.input, err = cmd.StdinPipe(); err == nil {
		if out, err = cmd.StdoutPipe(); err == nil {
			err = cmd.Start()
		}
	}
	if err != nil {
		b.Fatalf("%s: %v", what, err)
	}
	go func() {
		defer close(s.ended)
		err := s.read(json.NewDecoder(out))
		if ended := cmd.Wait(); ended != nil {
			err = fmt.Errorf("%w: %s", ended, &said)
		}
		s.lock.Lock()
		defer s.lock.Unlock()
		s.err = err
	}()
	b.Cleanup(func() { _ = s.input.Close() })
	return s
}

func (s *stream) read(from *json.Decoder) error {
	for {
		var l load.Line
		if err := from.Decode(&l); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		s.lock.Lock()
		s.lines = append(s.lines, l)
		s.lock.Unlock()
	}
}

// seen are the lines until now, in the order of sending.
func (s *stream) seen() []load.Line {
	s.lock.Lock()
	defer s.lock.Unlock()
	out := slices.Clone(s.lines)
	slices.SortStableFunc(out, func(a, b load.Line) int { return a.Start.Compare(b.Start) })
	return out
}

// until waits for the lines to be such that check gives no error.
func (s *stream) until(what string, check func([]load.Line) error) {
	s.b.Helper()
	s.within(rig.Patience, what, check)
}

// within is until with a patience of its own.
func (s *stream) within(patience time.Duration, what string, check func([]load.Line) error) {
	s.b.Helper()
	cluster.Eventually(s.b.T, patience, what, func() error {
		select {
		case <-s.ended:
			return fmt.Errorf("%s: the client has ended: %w", s.what, s.err)
		default:
			return check(s.seen())
		}
	})
}

// since waits for so many lines of requests sent from a moment on, and gives
// them.
func (s *stream) since(at time.Time, want int) (out []load.Line) {
	s.b.Helper()
	s.until(fmt.Sprintf("%d outcomes of %s", want, s.what), func(lines []load.Line) error {
		out = sentFrom(lines, at)
		if len(out) < want {
			return fmt.Errorf("there are %d", len(out))
		}
		return nil
	})
	return out[:want]
}

// stop ends the client; none of all its requests may have failed.
func (s *stream) stop() []load.Line {
	s.b.Helper()
	_ = s.input.Close()
	lines := s.wait()
	s.b.well(s.what, lines)
	return lines
}

// wait gives the lines of a client that ends by itself.
func (s *stream) wait() []load.Line {
	s.b.Helper()
	select {
	case <-s.ended:
	case <-time.After(rig.Patience):
		s.b.Fatalf("%s: the client does not end", s.what)
	}
	if s.err != nil {
		s.b.Errorf("%s: %v", s.what, s.err)
	}
	return s.seen()
}

// well: there were requests, and none failed.
func (b *bench) well(what string, lines []load.Line) {
	b.Helper()
	failed := 0
	for _, l := range lines {
		if l.Failed() {
			if failed++; failed <= 3 {
				b.Logf("%s: sent at %s, %.0f ms: %s %s", what, l.Start.Format("15:04:05.000"), l.Took, l.Status, l.Error)
			}
		}
	}
	if failed > 0 || len(lines) == 0 {
		b.Errorf("%s: %d of %d failed", what, failed, len(lines))
	}
}

// request says what a client outside of the cluster asks a gateway for.
type request struct {
	host, path string
	header     string // NAME=VALUE
	workers    int    // at once; 0 is 4
}

// door sends n requests to the gateway, by the ports of both nodes.
func (b *bench) door(n int, r request) (out []load.Line) {
	b.Helper()
	for i, door := range b.doors {
		part := (n + i) / len(b.doors)
		if part == 0 { // to the client that is without end
			continue
		}
		out = append(out, b.fromLAN(append(b.doorArgs(door, r), "--requests", fmt.Sprint(part))...).wait()...)
	}
	return out
}

// knocks sends requests to the gateway until it is stopped.
func (b *bench) knocks(rps int, r request) *stream {
	b.Helper()
	return b.fromLAN(append(b.doorArgs(b.doors[0], r), "--requests", "0", "--rps", fmt.Sprint(rps))...)
}

func (*bench) doorArgs(door string, r request) []string {
	workers := r.workers
	if workers == 0 {
		workers = 4
	}
	args := []string{"load", "--url", door + r.path, "--workers", fmt.Sprint(workers)}
	if r.host != "" {
		args = append(args, "--header", "Host="+r.host)
	}
	if r.header != "" {
		args = append(args, "--header", r.header)
	}
	return args
}

// sentFrom are the lines of requests sent at or after a moment.
func sentFrom(lines []load.Line, at time.Time) []load.Line {
	i, _ := slices.BinarySearchFunc(lines, at, func(l load.Line, at time.Time) int { return l.Start.Compare(at) })
	return lines[i:]
}

// count tells how many lines are so.
func count(lines []load.Line, is func(load.Line) bool) (n int) {
	for _, l := range lines {
		if is(l) {
			n++
		}
	}
	return n
}

// answerOf is what a service said in an answer; the zero value where it did not
// take part.
func answerOf(l load.Line, service string) (found shop.Answer) {
	l.Answer.Each(func(a shop.Answer) {
		if a.Service == service && a.Pod != "" {
			found = a
		}
	})
	return found
}

// share holds the number of lines that are so to a chance.
func (b *bench) share(what string, lines []load.Line, p float64, is func(load.Line) bool) {
	b.Helper()
	want, got := stat.Binomial(len(lines), p), count(lines, is)
	b.Logf("%s: %d of %d, %.0f %% wanted: %v", what, got, len(lines), p*100, want)
	if len(lines) == 0 || !want.Contains(got) {
		b.Errorf("%s: %d of %d, want %v", what, got, len(lines), want)
	}
}

func reviewsOf(version string) func(load.Line) bool {
	return func(l load.Line) bool { return answerOf(l, "reviews").Version == version }
}

func status(want string) func(load.Line) bool {
	return func(l load.Line) bool { return l.Status == want }
}
