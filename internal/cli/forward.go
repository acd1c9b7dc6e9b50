package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream" //nolint:staticcheck // what client-go v0.37 itself takes
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"
	streaming "k8s.io/streaming/pkg/httpstream" // what the WebSocket dialer's errors are of

	"github.com/weftmesh/weft/internal/figures"
)

// pods reaches ports of a cluster's pods through the API server, as kubectl
// port-forward does, but without opening a port here.
type pods struct {
	config *rest.Config
	client kubernetes.Interface
}

func (k *kube) pods() (*pods, error) {
	config, err := k.config()
	if err != nil {
		return nil, err
	}
	client, err := kubernetes.NewForConfig(config)
	return &pods{config: config, client: client}, err
}

// page is an HTTP page of a pod.
type page struct {
	namespace, pod string
	port           int
	path           string // with its query
	method         string // "" is GET
}

// get reads a page. It has the pod's loopback as its way in.
func (p *pods) get(ctx context.Context, from page) ([]byte, error) {
	text, err := within(ctx, func() ([]byte, error) { return p.exchange(ctx, from) }, func([]byte) {})
	return text, from.failed(err)
}

// stream reads a page that has no end, until ctx does.
func (p *pods) stream(ctx context.Context, from page) (io.ReadCloser, error) {
	body, err := within(ctx, func() (io.ReadCloser, error) { return p.open(ctx, from) }, func(late io.ReadCloser) { _ = late.Close() })
	return body, from.failed(err)
}

// within waits for what do gives, but no longer than ctx: neither dialing nor the
// making of a stream can be interrupted, and a kubelet that is away answers after
// minutes. What comes when nobody waits is for late.
func within[T any](ctx context.Context, do func() (T, error), late func(T)) (none T, err error) {
	type outcome struct {
		is  T
		err error
	}
	came := make(chan outcome)
	go func() {
		is, err := do()
		select {
		case came <- outcome{is, err}:
		case <-ctx.Done():
			if err == nil {
				late(is)
			}
		}
	}()
	select {
	case o := <-came:
		return o.is, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// failed says of which page an error is. It may have the pod's own words, or parts
// of an answer that is not HTTP.
func (from page) failed(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("port %d of pod %s/%s: %w", from.port, from.namespace, from.pod, printable{err})
}

// printable is an error with nothing in its text that a terminal acts upon.
type printable struct{ error }

// Error implements error.
func (e printable) Error() string { return figures.Printable(e.error.Error(), maxSaid) }

// Unwrap is the error as it came.
func (e printable) Unwrap() error { return e.error }

// maxSaid is how many characters of an error that others wrote are shown.
const maxSaid = 500

// open asks for a page that has no end.
func (p *pods) open(ctx context.Context, from page) (io.ReadCloser, error) {
	conn, end, err := p.dial(ctx, from)
	if err != nil {
		return nil, err
	}
	resp, failure, err := begin(ctx, conn, from) //nolint:bodyclose // it ends with the connection
	if err == nil {
		var body io.ReadCloser
		if body, err = answered(resp); err == nil {
			return endless{body, end}, nil
		}
	} else if ctx.Err() == nil {
		err = told(err, failure)
	}
	end()
	return nil, err
}

// endless is a body whose Close ends its connection.
type endless struct {
	io.Reader
	end func()
}

// Close implements io.Closer.
func (e endless) Close() error {
	e.end()
	return nil
}

// dial opens a connection of streams to a pod: by WebSocket, or by SPDY where
// the API server or a proxy before it takes no WebSocket. It ends with ctx, or
// with end.
func (p *pods) dial(ctx context.Context, to page) (conn httpstream.Connection, end func(), err error) {
	dialer, err := p.dialer(to.namespace, to.pod)
	if err != nil {
		return nil, nil, err
	}
	if conn, _, err = dialer.Dial(portforward.PortForwardProtocolV1Name); err != nil {
		return nil, nil, err
	}
	closed := sync.OnceFunc(func() { _ = conn.Close() })
	stop := context.AfterFunc(ctx, closed) // at once if nobody waits any more
	return conn, func() { stop(); closed() }, nil
}

func (p *pods) dialer(namespace, pod string) (httpstream.Dialer, error) {
	url := p.client.CoreV1().RESTClient().Post().Resource("pods").Namespace(namespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(p.config)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, url)
	socket, err := portforward.NewSPDYOverWebsocketDialer(url, p.config)
	if err != nil {
		return nil, err
	}
	return portforward.NewFallbackDialer(socket, old, func(err error) bool {
		return streaming.IsUpgradeFailure(err) || streaming.IsHTTPSProxyError(err)
	}), nil
}

// exchange sends one request and reads its answer. What the kubelet says on the
// error stream is why there is none.
func (p *pods) exchange(ctx context.Context, from page) (text []byte, err error) {
	conn, end, err := p.dial(ctx, from)
	if err != nil {
		return nil, err
	}
	defer end()
	resp, failure, err := begin(ctx, conn, from) //nolint:bodyclose // whole closes it
	if err == nil {
		text, err = whole(resp)
	}
	switch {
	case ctx.Err() != nil: // the text may have been cut off, and err is of that
		return nil, ctx.Err()
	case err != nil:
		return nil, told(err, failure)
	}
	return text, nil
}

// told is what the kubelet says on the error stream, if anything, instead of err.
func told(err error, failure io.Reader) error {
	if failure == nil {
		return err
	}
	if why, _ := io.ReadAll(failure); len(why) > 0 {
		return errors.New(strings.TrimSpace(string(why)))
	}
	return err
}

// begin sends one request and reads how its answer begins. failure is the error
// stream, nil if there is none.
func begin(ctx context.Context, conn httpstream.Connection, from page) (resp *http.Response, failure io.Reader, err error) {
	headers := http.Header{}
	headers.Set(corev1.PortHeader, strconv.Itoa(from.port))
	headers.Set(corev1.PortForwardRequestIDHeader, "0")
	headers.Set(corev1.StreamType, corev1.StreamTypeError)
	said, err := conn.CreateStream(headers)
	if err != nil {
		return nil, nil, err
	}
	if err := said.Close(); err != nil { // nothing is written to it
		return nil, nil, err
	}
	headers.Set(corev1.StreamType, corev1.StreamTypeData)
	data, err := conn.CreateStream(headers)
	if err != nil {
		return nil, nil, err
	}
	resp, err = ask(ctx, data, from)
	return resp, said, err
}

// maxPage bounds what a pod may answer.
const maxPage = 64 << 20

func ask(ctx context.Context, conn io.ReadWriter, from page) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, cmp.Or(from.method, http.MethodGet), "http://localhost/"+strings.TrimPrefix(from.path, "/"), nil)
	if err != nil {
		return nil, err
	}
	req.Close = true
	if err := req.Write(conn); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(conn), req)
}

// whole is the text of an answer; one that is not 200 is an error.
func whole(resp *http.Response) ([]byte, error) {
	body, err := answered(resp)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return io.ReadAll(io.LimitReader(body, maxPage+1))
}

// pilots are the running pods of the control plane.
func (p *pods) pilots(ctx context.Context, namespace string) ([]corev1.Pod, error) {
	out, err := p.running(ctx, namespace, "app=istiod,app.kubernetes.io/part-of=weft")
	if err == nil && len(out) == 0 {
		return nil, fmt.Errorf("%w in namespace %s; weft check says more", errNoPilot, namespace)
	}
	return out, err
}

var errNoPilot = errors.New("no pilot runs")

// running are the pods with some labels that run and are not about to end.
func (p *pods) running(ctx context.Context, namespace, labels string) (out []corev1.Pod, err error) {
	found, err := p.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels, FieldSelector: "status.phase=Running"})
	if answer := apierrors.APIStatus(nil); err != nil && !errors.As(err, &answer) {
		return nil, fmt.Errorf("the API server at %s does not answer: %w", p.config.Host, err)
	} else if err != nil {
		return nil, err
	}
	for _, pod := range found.Items {
		if pod.DeletionTimestamp == nil {
			out = append(out, pod)
		}
	}
	return out, nil
}
