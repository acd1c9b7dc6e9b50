package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/streaming/pkg/httpstream"
	"k8s.io/streaming/pkg/httpstream/spdy"

	"github.com/weftmesh/weft/internal/local/controller"
)

// kubelet is an API server that knows port-forwarding by SPDY alone. serve answers on
// the data stream, or says on the error stream why it does not.
func kubelet(t *testing.T, serve func(port string, data, failure httpstream.Stream)) *pods {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
			t.Error(err)
			return
		}
		streams := make(chan httpstream.Stream, 2)
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, func(s httpstream.Stream, _ <-chan struct{}) error {
			streams <- s
			return nil
		})
		if conn == nil {
			t.Error("no connection")
			return
		}
		defer conn.Close()
		failure, data := <-streams, <-streams
		serve(data.Headers().Get(corev1.PortHeader), data, failure)
	}))
	t.Cleanup(server.Close)
	config := &rest.Config{Host: server.URL}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	return &pods{config: config, client: client}
}

// In a cluster an agent's page without an end comes line by line through the API
// server, and ends with who reads it.
func TestStreamOfPod(t *testing.T) {
	next, gone := make(chan string), make(chan struct{})
	p := kubelet(t, func(port string, data, _ httpstream.Stream) {
		defer close(gone)
		in := bufio.NewReader(data)
		req, err := http.ReadRequest(in)
		if err != nil || port != "15020" || req.URL.String() != "/tap?path=%2Fa" {
			t.Errorf("port %s, %+v, %v", port, req, err)
			return
		}
		fmt.Fprint(data, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		ended := make(chan struct{})
		go func() { _, _ = io.Copy(io.Discard, in); close(ended) }()
		for {
			select {
			case line := <-next:
				fmt.Fprintf(data, "%x\r\n%s\r\n", len(line), line)
			case <-ended:
				return
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	body, err := p.reach("").stream(ctx, controller.PodStatus{Namespace: "shop", Name: "front"}, "tap?path=%2Fa")
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(body)
	for _, want := range []string{"{\"a\":1}\n", "{\"b\":2}\n"} {
		next <- want
		if got, err := lines.ReadString('\n'); err != nil || got != want {
			t.Errorf("%q, %v", got, err)
		}
	}
	if err := body.Close(); err != nil {
		t.Error(err)
	}
	select {
	case <-gone:
	case <-ctx.Done():
		t.Error("the kubelet's side does not end")
	}
}

func TestStreamOfPodRefused(t *testing.T) {
	for says, serve := range map[string]func(string, httpstream.Stream, httpstream.Stream){
		"no such network namespace": func(_ string, data, failure httpstream.Stream) {
			fmt.Fprint(failure, "no such network namespace")
			_, _ = failure.Close(), data.Close()
		},
		"8 viewers": func(_ string, data, _ httpstream.Stream) {
			_, _ = http.ReadRequest(bufio.NewReader(data))
			fmt.Fprint(data, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 9\r\n\r\n8 viewers")
			_, _ = io.Copy(io.Discard, data)
		},
		`a\u001b[2J\u202e`: func(_ string, data, _ httpstream.Stream) {
			_, _ = http.ReadRequest(bufio.NewReader(data))
			fmt.Fprint(data, "HTTP/1.1 503 x\r\nContent-Length: 8\r\n\r\na\x1b[2J\u202e")
			_, _ = io.Copy(io.Discard, data)
		},
		`no\u001b[2J`: func(_ string, data, failure httpstream.Stream) {
			fmt.Fprint(failure, "no\x1b[2J")
			_, _ = failure.Close(), data.Close()
		},
		`503 s\u001b[2J`: func(_ string, data, _ httpstream.Stream) {
			_, _ = http.ReadRequest(bufio.NewReader(data))
			fmt.Fprint(data, "HTTP/1.1 503 s\x1b[2J\r\nContent-Length: 0\r\n\r\n")
			_, _ = io.Copy(io.Discard, data)
		},
	} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		_, err := kubelet(t, serve).reach("").stream(ctx, controller.PodStatus{Namespace: "shop", Name: "front"}, "tap")
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "shop/front") {
			t.Errorf("%v, want %q", err, says)
		}
		cancel()
	}
}

// A kubelet that is away keeps nobody longer than they have patience, and a
// connection that is made later is closed.
func TestPodOfANodeThatIsAway(t *testing.T) {
	asked, release, closed := make(chan struct{}, 2), make(chan struct{}), make(chan struct{}, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Upgrade") == "websocket" {
			asked <- struct{}{}
			<-release
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		if _, err := httpstream.Handshake(r, w, []string{portforward.PortForwardProtocolV1Name}); err != nil {
			t.Error(err)
			return
		}
		conn := spdy.NewResponseUpgrader().UpgradeResponse(w, r, httpstream.NoOpNewStreamHandler)
		if conn == nil {
			t.Error("no connection")
			return
		}
		defer conn.Close()
		<-conn.CloseChan()
		closed <- struct{}{}
	}))
	defer server.Close()
	config := &rest.Config{Host: server.URL}
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	p := (&pods{config: config, client: client}).reach("")
	pod := controller.PodStatus{Namespace: "shop", Name: "front"}
	for what, ask := range map[string]func(context.Context) error{
		"get":    func(ctx context.Context) error { _, err := p.get(ctx, pod, agentPort, "x"); return err },
		"stream": func(ctx context.Context) error { _, err := p.stream(ctx, pod, "x"); return err },
	} {
		ctx, cancel := context.WithCancel(t.Context())
		go func() { <-asked; cancel() }()
		if err := ask(ctx); !errors.Is(err, context.Canceled) || !strings.Contains(err.Error(), "shop/front") {
			t.Errorf("%s: %v", what, err)
		}
	}
	close(release)
	for range 2 {
		select {
		case <-closed:
		case <-time.After(time.Minute):
			t.Fatal("a connection that came late stays")
		}
	}
}
