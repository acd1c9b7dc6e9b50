package local

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Variables by which a pod of the mesh runs this binary: as the server of
// streams, or as a client of one: "grpc ADDRESS SENDS EACH LAST FILE" or
// "tcp ADDRESS BYTES FILE". Each of the SENDS messages has EACH answers at once,
// and the end of them LAST more. Where FILE is not "-" the stream is open until
// that exists, and then says once more what it said last.
const (
	streamsVariable = "WEFT_TEST_STREAMS"
	streamVariable  = "WEFT_TEST_STREAM"
)

const streamMethod = "/weft.test.Streams/Open"

// serveStreams serves gRPC on 9000, and what comes to 7000 back.
func serveStreams() error {
	failed := make(chan error, 2)
	for address, serve := range map[string]func(net.Listener) error{":9000": serveGRPCStreams, ":7000": echoBytes} {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return err
		}
		go func() { failed <- serve(l) }()
	}
	return <-failed
}

func echoBytes(l net.Listener) error {
	for {
		c, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}()
	}
}

func serveGRPCStreams(l net.Listener) error {
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, s grpc.ServerStream) error {
		asked, _ := metadata.FromIncomingContext(s.Context())
		var each, last int
		if _, err := fmt.Sscan(strings.Join(asked.Get("answers"), " "), &each, &last); err != nil {
			return err
		}
		for {
			m := &wrapperspb.StringValue{}
			err := s.RecvMsg(m)
			if errors.Is(err, io.EOF) {
				return answer(s, last)
			}
			if err != nil {
				return err
			}
			if err := answer(s, each); err != nil {
				return err
			}
		}
	}))
	return server.Serve(l)
}

func answer(s grpc.ServerStream, times int) error {
	for range times {
		if err := s.SendMsg(wrapperspb.String("answer")); err != nil {
			return err
		}
	}
	return nil
}

// openStream is one client.
func openStream(line string) error {
	var kind, address, file string
	var sends, each, last int
	if _, err := fmt.Sscan(line, &kind, &address, &sends, &each, &last, &file); err != nil {
		return fmt.Errorf("%q: %w", line, err)
	}
	if kind == "tcp" {
		return openBytes(address, sends, file)
	}
	c, err := grpc.NewClient("passthrough:///"+address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	ctx := metadata.AppendToOutgoingContext(context.Background(), "answers", fmt.Sprint(each), "answers", fmt.Sprint(last))
	s, err := c.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, streamMethod)
	if err != nil {
		return err
	}
	if err := say(s, sends, each); err != nil {
		return err
	}
	if wait(file) {
		err = say(s, 1, each)
	}
	if err := errors.Join(err, s.CloseSend(), receive(s, last)); err != nil {
		return err
	}
	if err := s.RecvMsg(&wrapperspb.StringValue{}); !errors.Is(err, io.EOF) {
		return fmt.Errorf("after all answers: %v", err)
	}
	return nil
}

func say(s grpc.ClientStream, times, each int) error {
	for range times {
		if err := errors.Join(s.SendMsg(wrapperspb.String("question")), receive(s, each)); err != nil {
			return err
		}
	}
	return nil
}

func receive(s grpc.ClientStream, times int) error {
	for range times {
		if err := s.RecvMsg(&wrapperspb.StringValue{}); err != nil {
			return err
		}
	}
	return nil
}

func openBytes(address string, size int, file string) error {
	c, err := net.Dial("tcp", address)
	if err != nil {
		return err
	}
	defer func() { _ = c.Close() }()
	turn := func() error {
		if _, err := c.Write(make([]byte, size)); err != nil {
			return err
		}
		_, err := io.ReadFull(c, make([]byte, size))
		return err
	}
	if err = turn(); err == nil && wait(file) {
		err = turn()
	}
	return err
}

// wait says whether there was a file to wait for.
func wait(file string) bool {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for file != "-" {
		if _, err := os.Stat(file); err == nil {
			return true
		}
		<-tick.C
	}
	return false
}

// streams is a mesh in which front calls streams, and what it must have counted.
type streams struct {
	*running
	dir, binary string
	want        map[string]float64 // by metric
}

// open runs one client in front. The channel has its end.
func (s *streams) open(t *testing.T, line string) <-chan error {
	t.Helper()
	ended := make(chan error, 1)
	go func() { ended <- execIn(t.Context(), s.running, "front", "env", streamVariable+"="+line, s.binary) }()
	return ended
}

// whole is a client that ends at once.
func (s *streams) whole(t *testing.T, line string) {
	t.Helper()
	if err := <-s.open(t, line); err != nil {
		t.Fatalf("%s: %v", line, err)
	}
}

// add is what both sides must have counted more.
func (s *streams) add(requests, responses, sent, received float64) {
	for metric, more := range map[string]float64{
		"istio_request_messages_total": requests, "istio_response_messages_total": responses,
		"istio_tcp_sent_bytes_total": sent, "istio_tcp_received_bytes_total": received,
	} {
		s.want[metric] += more
	}
}

// counted waits until both sides say what is wanted.
func (s *streams) counted(t *testing.T, what string) {
	t.Helper()
	from, to := end("source", "front", "default", "v1"), joined(end("destination", "streams", "default", "latest"), service("streams"))
	for metric, want := range s.want {
		source, destination := joined(from, to, labels{"reporter": "source"}), joined(from, to, labels{"reporter": "destination"})
		if strings.Contains(metric, "messages") { // as in Istio, who calls whom is all that they say
			maps.DeleteFunc(source, func(name, _ string) bool { return name == "response_flags" })
			maps.DeleteFunc(destination, func(name, _ string) bool { return name == "response_flags" })
		} else {
			source["connection_security_policy"], destination["connection_security_policy"] = "unknown", "mutual_tls"
		}
		for _, one := range []series{{"front", metric, source, want}, {"streams", metric, destination, want}} {
			eventually(t, patience, what, func() error {
				return s.seen(t, one)
			})
		}
	}
}

// TestWhatLasts: messages of gRPC calls of every kind and bytes of connections are
// counted exactly, and seen while they last; neither a killed agent nor a killed
// Envoy makes them wrong; nothing else counts or logs what has not ended.
func TestWhatLasts(t *testing.T) {
	s := &streams{dir: folder(t), want: map[string]float64{}}
	var err error
	if s.binary, err = os.Executable(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("testdata", "streams.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(s.dir, "streams.yaml"), strings.ReplaceAll(string(text), "SELF", s.binary))
	s.running = up(t, s.dir)
	for range 5 {
		s.whole(t, "grpc streams:9000 1 0 1 -") // unary
	}
	s.whole(t, "grpc streams:9000 1 5 0 -") // many answers
	s.whole(t, "grpc streams:9000 7 0 1 -") // many questions
	s.whole(t, "grpc streams:9000 1 0 0 -") // no answer
	s.whole(t, "tcp streams:7000 300 0 0 -")
	s.add(5+1+7+1, 5+5+1, 300, 300)
	s.counted(t, "what was short is counted")

	end := filepath.Join(s.dir, "end")
	call, connection := s.open(t, "grpc streams:9000 3 2 1 "+end), s.open(t, "tcp streams:7000 1000 0 0 "+end)
	s.add(3, 6, 1000, 1000)
	s.counted(t, "what lasts is counted before its end")

	for _, deployment := range []string{"front", "streams"} {
		kill(t, s.pid(t, mustPods(t, s.running, deployment)[0].Name, "agent"))
	}
	s.awaitAll(t)
	s.counted(t, "the next agent knows what the one before counted")

	save(t, end, "")
	for _, ended := range []<-chan error{call, connection} {
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	s.add(1, 2+1, 1000, 1000)
	s.counted(t, "what lasted is counted once")
	s.endsOnly(t, 9, 2)
	s.envoyKilled(t)
}

// endsOnly: calls and connections are in Envoy's own counters and logs once.
func (s *streams) endsOnly(t *testing.T, calls, connections int) {
	t.Helper()
	for _, deployment := range []string{"front", "streams"} {
		eventually(t, patience, "one line of log for each end", func() error {
			text, err := weft(t.Context(), s.running, "logs", mustPods(t, s.running, deployment)[0].Name, "-c", "istio-proxy", "--name", s.Name)
			if err != nil {
				return err
			}
			logged, ofBytes := strings.Count(text, streamMethod), strings.Count(text, "|7000||")
			if logged != calls || ofBytes != connections {
				return fmt.Errorf("%s logged %d calls and %d connections, want %d and %d:\n%s", deployment, logged, ofBytes, calls, connections, text)
			}
			return nil
		})
	}
	to := joined(end("destination", "streams", "default", "latest"), service("streams"), end("source", "front", "default", "v1"))
	grpc := labels{"request_protocol": "grpc", "response_code": "200", "grpc_response_status": "0"}
	for _, one := range []series{
		{"front", "istio_requests_total", joined(to, grpc, labels{"reporter": "source", "connection_security_policy": "unknown"}), float64(calls)},
		{"streams", "istio_requests_total", joined(to, grpc, labels{"reporter": "destination", "connection_security_policy": "mutual_tls"}), float64(calls)},
		{"front", "istio_tcp_connections_closed_total", joined(to, labels{"reporter": "source", "connection_security_policy": "unknown"}), float64(connections)},
	} {
		if err := s.seen(t, one); err != nil {
			t.Error(err)
		}
	}
}

// envoyKilled: the counts of an Envoy begin anew with it, those of the agent too.
func (s *streams) envoyKilled(t *testing.T) {
	t.Helper()
	goOn := filepath.Join(s.dir, "go-on")
	cut := s.open(t, "grpc streams:9000 2 1 0 "+goOn)
	s.add(2, 2, 0, 0)
	s.counted(t, "another call lasts")
	kill(t, s.pid(t, mustPods(t, s.running, "front")[0].Name, "envoy"))
	save(t, goOn, "")
	if err := <-cut; err == nil {
		t.Error("the call outlived its proxy")
	}
	s.awaitAll(t)
	before := s.want
	s.want = map[string]float64{}
	eventually(t, patience, "connections pass the next Envoy", func() error {
		return <-s.open(t, "tcp streams:7000 1 0 0 -") // no call: each is counted, those that fail too
	})
	s.whole(t, "grpc streams:9000 1 0 1 -")
	s.add(1, 1, 0, 0)
	from := joined(end("source", "front", "default", "v1"), end("destination", "streams", "default", "latest"), service("streams"))
	delete(from, "response_flags")
	for metric, want := range map[string]float64{"istio_request_messages_total": 1, "istio_response_messages_total": 1} {
		eventually(t, patience, "counters begin anew", func() error {
			return s.seen(t, series{"front", metric, joinedExactly(from, "source"), want})
		})
		eventually(t, patience, "those of the other side go on", func() error {
			return s.seen(t, series{"streams", metric, joinedExactly(from, "destination"), before[metric] + want})
		})
	}
}

func joinedExactly(from labels, reporter string) labels {
	out := maps.Clone(from)
	out["reporter"] = reporter
	return out
}
