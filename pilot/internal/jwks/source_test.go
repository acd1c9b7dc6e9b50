package jwks_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/source/memory"
	"github.com/weftmesh/weft/pilot/internal/compile"
	"github.com/weftmesh/weft/pilot/internal/jwks"
)

const patience = 30 * time.Second

// issuer is a key server whose answer can be changed.
type issuer struct {
	*httptest.Server
	answer atomic.Pointer[http.HandlerFunc]
	asked  atomic.Int64
}

func newIssuer(t *testing.T, h http.HandlerFunc) *issuer {
	i := &issuer{}
	i.say(h)
	i.Server = httptest.NewServer(i)
	t.Cleanup(i.Close)
	return i
}

func (i *issuer) say(h http.HandlerFunc) { i.answer.Store(&h) }

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.asked.Add(1)
	(*i.answer.Load())(w, r)
}

func text(s string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, s) }
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func redirect(to string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, to, http.StatusFound) }
}

// slow answers until the caller has gone.
func slow(w http.ResponseWriter, r *http.Request) {
	_, _ = fmt.Fprint(w, `{"keys":`)
	_ = http.NewResponseController(w).Flush()
	<-r.Context().Done()
}

func keySet(t *testing.T) string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	number := base64.RawURLEncoding.EncodeToString
	return fmt.Sprintf(`{"keys":[{"kty":"EC","crv":"P-256","x":%q,"y":%q}]}`, number(point[1:33]), number(point[33:]))
}

// running is a source of keys at work.
type running struct {
	t    *testing.T
	from *memory.Source
	mu   sync.Mutex
	got  []source.State
}

func start(t *testing.T, o jwks.Options, rules string) *running {
	r := &running{t: t, from: memory.New()}
	r.apply(rules)
	o.Check = compile.CheckKeys
	if o.Allow == nil {
		o.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	}
	if o.Retry == 0 {
		o.Retry, o.Rest = 10*time.Millisecond, 10*time.Millisecond
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- jwks.New(r.from, o).Run(ctx, func(st source.State) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.got = append(r.got, st)
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return r
}

func (r *running) apply(rules string) {
	if found := r.from.ApplyYAML("rules.yaml", "apiVersion: security.istio.io/v1\nkind: RequestAuthentication\nmetadata: {name: a, namespace: default}\nspec: {jwtRules: ["+rules+"]}\n"); len(found) > 0 {
		r.t.Fatal(found)
	}
}

// await waits for a state in which the keys of a name are as they should be.
func (r *running) await(name, what string, ok func(config.Keys) bool) {
	r.t.Helper()
	var last any
	r.until(what, func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		if len(r.got) == 0 {
			return false
		}
		o, there := r.got[len(r.got)-1].Set.Of(config.KeySet).Get("/" + name)
		if !there {
			return false
		}
		last = o.Spec
		return ok(*o.Spec.(*config.Keys))
	}, &last)
}

func (r *running) until(what string, ok func() bool, last *any) {
	r.t.Helper()
	deadline, tick := time.After(patience), time.NewTicker(2*time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-deadline:
			r.t.Fatalf("waited %v for %s; last %+v", patience, what, *last)
		case <-tick.C:
		}
	}
}

func holds(want string) func(config.Keys) bool {
	return func(k config.Keys) bool { return k == config.Keys{Text: want} }
}

func fails(old, why string) func(config.Keys) bool {
	return func(k config.Keys) bool { return k.Text == old && strings.Contains(k.Failed, why) }
}

func rule(uri string) string { return fmt.Sprintf("{issuer: i, jwksUri: %q, timeout: 1s}", uri) }

// bad are answers that are no keys.
func bad(t *testing.T) map[string]struct {
	answer http.HandlerFunc
	why    string
} {
	elsewhere := newIssuer(t, text(keySet(t)))
	far := strings.Replace(elsewhere.URL, "127.0.0.1", "127.0.0.2", 1)
	return map[string]struct {
		answer http.HandlerFunc
		why    string
	}{
		"404":              {status(404), "it answers 404"},
		"503":              {status(503), "gave no answer|it answers 503"},
		"empty":            {text(""), "it is no JSON Web Key Set"},
		"no keys":          {text(`{"keys":[]}`), "no public key"},
		"symmetric":        {text(`{"keys":[{"kty":"oct","k":"c2VjcmV0"}]}`), "no public key"},
		"nonsense":         {text("<html>"), "it is no JSON Web Key Set"},
		"huge":             {text(strings.Repeat(" ", 1<<20) + keySet(t)), "more than 1048576 bytes"},
		"slow":             {slow, "no whole answer within 1s"},
		"to another":       {redirect(far), "127.0.0.2 is refused (loopback)"},
		"to a file":        {redirect("file:///etc/passwd"), "want http or https"},
		"to metadata":      {redirect("http://169.254.169.254/latest"), "169.254.169.254 is refused (link-local)"},
		"round and round":  {func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, r.URL.Path, 302) }, "redirects more than 3 times"},
		"to an IPv6 guise": {redirect("http://[::ffff:127.0.0.2]:1/"), "is refused (loopback)"},
	}
}

// TestBadAnswers holds that nothing stands in for keys that cannot be had, and
// that keys which were good stay. Source: issue 6, "tokens".
func TestBadAnswers(t *testing.T) {
	good := keySet(t)
	for name, c := range bad(t) {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, _, _ := strings.Cut(c.why, "|")
			why := c.why[strings.LastIndex(c.why, "|")+1:]
			either := func(old string) func(config.Keys) bool {
				return func(k config.Keys) bool { return fails(old, first)(k) || fails(old, why)(k) }
			}
			srv := newIssuer(t, c.answer)
			r := start(t, jwks.Options{Refresh: 20 * time.Millisecond}, rule(srv.URL))
			r.await(srv.URL, "a failure at the start", either(""))
			srv.say(text(good))
			r.await(srv.URL, "keys", holds(good))
			srv.say(c.answer)
			r.await(srv.URL, "a failure later", either(good))
			srv.say(text(good))
			r.await(srv.URL, "keys again", holds(good))
		})
	}
}

func TestRotation(t *testing.T) {
	one, two := keySet(t), keySet(t)
	srv := newIssuer(t, text(one))
	r := start(t, jwks.Options{Refresh: 20 * time.Millisecond}, rule(srv.URL))
	r.await(srv.URL, "the first keys", holds(one))
	r.mu.Lock()
	if k, ok := r.got[0].Set.Of(config.KeySet).Get("/" + srv.URL); !ok || k.Spec.(*config.Keys).Text != one {
		t.Error("the first state came without keys, which a pilot that starts anew would take from proxies")
	}
	states := len(r.got)
	r.mu.Unlock()
	asked := srv.asked.Load()
	var none any
	r.until("more fetches", func() bool { return srv.asked.Load() > asked+3 }, &none)
	r.mu.Lock()
	if len(r.got) != states {
		t.Errorf("fetches of the same keys made %d states", len(r.got)-states)
	}
	r.mu.Unlock()
	srv.say(text(two))
	r.await(srv.URL, "the next keys", holds(two))
}

func TestTooOld(t *testing.T) {
	srv := newIssuer(t, text(keySet(t)))
	r := start(t, jwks.Options{Refresh: 10 * time.Millisecond, Keep: 50 * time.Millisecond}, rule(srv.URL))
	srv.say(status(404))
	r.await(srv.URL, "keys that are too old to be in force", fails("", "404"))
}

// TestDiscovery: OpenID Connect Discovery 1.0, section 4.
func TestDiscovery(t *testing.T) {
	good := keySet(t)
	var srv *issuer
	srv = newIssuer(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/tenant/.well-known/openid-configuration":
			_, _ = fmt.Fprintf(w, `{"issuer":"x","jwks_uri":"%s/keys"}`, srv.URL)
		case "/file/.well-known/openid-configuration":
			_, _ = fmt.Fprint(w, `{"jwks_uri":"file:///etc/passwd"}`)
		case "/none/.well-known/openid-configuration":
			_, _ = fmt.Fprint(w, `{}`)
		case "/keys":
			_, _ = fmt.Fprint(w, good)
		default:
			w.WriteHeader(404)
		}
	})
	r := start(t, jwks.Options{}, fmt.Sprintf("{issuer: '%[1]s/tenant/'}, {issuer: '%[1]s/file'}, {issuer: '%[1]s/none'}", srv.URL))
	at := func(tenant string) string { return "issuer " + srv.URL + tenant + "/.well-known/openid-configuration" }
	r.await(at("/tenant"), "keys", holds(good))
	r.await(at("/file"), "a refusal", fails("", "want http or https"))
	r.await(at("/none"), "a refusal", fails("", "no OpenID configuration"))
}

func TestHTTPS(t *testing.T) {
	good := keySet(t)
	plain := newIssuer(t, text(good))
	srv := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/down" {
			http.Redirect(w, r, plain.URL, http.StatusFound)
			return
		}
		_, _ = fmt.Fprint(w, good)
	}))
	defer srv.Close()
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate())
	r := start(t, jwks.Options{Roots: roots}, rule(srv.URL)+","+rule(srv.URL+"/down"))
	r.await(srv.URL, "keys", holds(good))
	r.await(srv.URL+"/down", "a refusal", fails("", "from https to http"))
	if plain.asked.Load() > 0 {
		t.Error("keys were asked for in the clear")
	}
	r = start(t, jwks.Options{Roots: x509.NewCertPool()}, rule(srv.URL))
	r.await(srv.URL, "a refusal", fails("", "its certificate is not trusted"))
}

// TestRebinding gives a name an address that may be asked, and then one that
// may not.
func TestRebinding(t *testing.T) {
	good, evil := keySet(t), keySet(t)
	srv := newIssuer(t, text(good))
	_, port, _ := net.SplitHostPort(srv.Listener.Addr().String())
	lis, err := net.Listen("tcp", "127.0.0.2:"+port)
	if err != nil {
		t.Fatal(err)
	}
	inner := &http.Server{Handler: text(evil), ReadHeaderTimeout: patience}
	go func() { _ = inner.Serve(lis) }()
	defer inner.Close()
	var address atomic.Value
	address.Store("127.0.0.1")
	names, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: names, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg).SetReply(q)
		if q.Question[0].Qtype == dns.TypeA {
			rr, _ := dns.NewRR(q.Question[0].Name + " 0 IN A " + address.Load().(string))
			m.Answer = append(m.Answer, rr)
		}
		_ = w.WriteMsg(m)
	})}
	go func() { _ = server.ActivateAndServe() }()
	t.Cleanup(func() { _ = server.Shutdown() })
	resolver := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp", names.LocalAddr().String())
	}}
	uri := "http://issuer.example.com:" + port
	r := start(t, jwks.Options{Resolver: resolver, Refresh: 20 * time.Millisecond}, rule(uri))
	r.await(uri, "keys", holds(good))
	address.Store("127.0.0.2")
	r.await(uri, "a refusal", fails(good, "127.0.0.2 is refused (loopback)"))
}

// TestBreaker: a host that is away is left alone, and found again.
func TestBreaker(t *testing.T) {
	srv := newIssuer(t, status(503))
	metrics := prometheus.NewRegistry()
	r := start(t, jwks.Options{Metrics: metrics, Retry: time.Millisecond, Rest: 300 * time.Millisecond, Refresh: time.Hour}, rule(srv.URL))
	host := strings.TrimPrefix(srv.URL, "http://")
	var none any
	r.until("fetches that were not made", func() bool {
		return counter(t, metrics, host, "open") > 0
	}, &none)
	good := keySet(t)
	srv.say(text(good))
	r.await(srv.URL, "keys", holds(good))
	r.apply("{issuer: i, jwks: '{}'}")
	r.until("nothing that is kept", func() bool {
		all, err := metrics.Gather()
		return err == nil && len(all) == 0
	}, &none)
}

// counter is the value of one host and outcome now.
func counter(t *testing.T, metrics *prometheus.Registry, host, outcome string) (value float64) {
	t.Helper()
	all, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, family := range all {
		for _, m := range family.GetMetric() {
			if labels := m.GetLabel(); len(labels) == 2 && labels[0].GetValue() == host && labels[1].GetValue() == outcome {
				value = m.GetCounter().GetValue()
			}
		}
	}
	return value
}
