package jwks

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/fair"
)

const (
	maxBody      = 1 << 20 // bytes of an answer
	maxHeader    = 64 << 10
	maxRedirects = 3
	maxTurns     = 32 // fetches at a time
	// breakerTrip fetches in a row without an answer open the breaker of a host.
	breakerTrip = 5
	// patient is the least timeout after which a host counts as away: a rule that
	// gives it a moment only must not close it to others.
	patient = 5 * time.Second
)

// failure is why a fetch gave nothing. Its text is the same each time that the
// same happens.
type failure struct {
	outcome string // for metrics
	why     string
	away    bool // the host gave no answer
}

func (f *failure) Error() string { return f.why }

// fetcher asks key servers.
type fetcher struct {
	client *http.Client
	check  func(text string) error
	rest   time.Duration
	turns  *fair.Turns

	mu       sync.Mutex
	breakers map[string]*gobreaker.CircuitBreaker[string] // by host
}

func newFetcher(o Options) *fetcher {
	dialer := &net.Dialer{Resolver: o.Resolver, Control: gate{o.Allow}.control}
	return &fetcher{
		client: &http.Client{
			CheckRedirect: checkRedirect,
			// No proxy of the environment: it would be dialled in place of the host,
			// and the host's address seen by nobody.
			Transport: &http.Transport{
				DialContext: dialer.DialContext, DisableKeepAlives: true, MaxResponseHeaderBytes: maxHeader,
				TLSClientConfig: &tls.Config{RootCAs: o.Roots, MinVersion: tls.VersionTLS12},
			},
		},
		check: o.Check, rest: o.Rest, turns: fair.NewTurns(maxTurns, math.MaxInt), breakers: map[string]*gobreaker.CircuitBreaker[string]{},
	}
}

// checkRedirect is an http.Client's.
func checkRedirect(next *http.Request, via []*http.Request) error {
	if len(via) > maxRedirects {
		return &failure{outcome: "redirect", why: fmt.Sprintf("it redirects more than %d times", maxRedirects)}
	}
	return follows(via[len(via)-1].URL.String(), next.URL.String())
}

// follows says why a URL may not lead to another.
func follows(from, to string) error {
	if err := config.CheckKeyURL(to); err != nil {
		return &failure{outcome: "redirect", why: "it leads elsewhere: " + err.Error()}
	}
	if secure(from) && !secure(to) {
		return &failure{outcome: "redirect", why: "it leads from https to http"}
	}
	return nil
}

func secure(text string) bool {
	u, err := url.Parse(text)
	return err == nil && u.Scheme == "https"
}

// fetch returns a key set that can be used. Errors are *failure, or
// gobreaker's where the host was not asked. Turns go by namespaces: one with
// thousands of slow hosts makes no other wait for more than one of them.
func (f *fetcher) fetch(ctx context.Context, s config.KeySource, namespace string) (string, error) {
	done, err := f.turns.Take(ctx, namespace, originOf(s))
	if err != nil {
		return "", err
	}
	defer done()
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	return f.breaker(originOf(s)).Execute(func() (string, error) { return f.keys(ctx, s) })
}

func (f *fetcher) keys(ctx context.Context, s config.KeySource) (string, error) {
	text, err := f.get(ctx, s.URL, s.Timeout)
	if err == nil && s.Discover {
		text, err = f.discovered(ctx, s, text)
	}
	if err != nil {
		return "", err
	}
	if err := f.check(text); err != nil {
		return "", &failure{outcome: "invalid", why: err.Error()}
	}
	return text, nil
}

// discovered gets the keys that an OpenID provider's configuration names.
// Source: OpenID Connect Discovery 1.0, section 3, jwks_uri.
func (f *fetcher) discovered(ctx context.Context, s config.KeySource, text string) (string, error) {
	var provider struct {
		Keys string `json:"jwks_uri"`
	}
	if json.Unmarshal([]byte(text), &provider) != nil || provider.Keys == "" {
		return "", &failure{outcome: "invalid", why: "it is no OpenID configuration with a jwks_uri"}
	}
	if err := follows(s.URL, provider.Keys); err != nil {
		return "", err
	}
	text, err := f.get(ctx, provider.Keys, s.Timeout)
	var failed *failure
	if errors.As(err, &failed) && hostOf(config.KeySource{URL: provider.Keys}) != hostOf(s) {
		failed.away = false // the host of the configuration answered
	}
	return text, err
}

func (f *fetcher) get(ctx context.Context, at string, within time.Duration) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return "", &failure{outcome: "invalid", why: "it cannot be read as a URL"}
	}
	req.Header.Set("Accept", "application/json")
	resp, err := f.client.Do(req)
	if err != nil {
		return "", plain(err, within)
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return "", &failure{outcome: "status", why: fmt.Sprintf("it answers %d", resp.StatusCode), away: resp.StatusCode >= 500}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	switch {
	case err != nil:
		return "", plain(err, within)
	case len(body) > maxBody:
		return "", &failure{outcome: "large", why: fmt.Sprintf("its answer has more than %d bytes", maxBody)}
	}
	return string(body), nil
}

// plain says in words that do not change from one time to the next why there
// is no answer.
func plain(err error, within time.Duration) error {
	var (
		own   *failure
		late  net.Error
		trust *tls.CertificateVerificationError
		name  *net.DNSError
		op    *net.OpError
		whole *url.Error
	)
	switch {
	case errors.As(err, &own):
		return own
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &late) && late.Timeout():
		return &failure{outcome: "timeout", why: fmt.Sprintf("it gave no whole answer within %v", within), away: within >= patient}
	case errors.As(err, &trust):
		return &failure{outcome: "untrusted", why: "its certificate is not trusted: " + trust.Err.Error()}
	case errors.As(err, &name):
		return &failure{outcome: "unreachable", why: fmt.Sprintf("its name %s is not found", name.Name), away: true}
	case errors.As(err, &op):
		return &failure{outcome: "unreachable", why: op.Op + ": " + op.Err.Error(), away: true}
	case errors.As(err, &whole):
		err = whole.Err
	}
	return &failure{outcome: "unreachable", why: err.Error(), away: true}
}

// hostOf is the host and port of a source's URL, in lower case.
func hostOf(s config.KeySource) string {
	_, host, _ := strings.Cut(originOf(s), "://")
	return host
}

// originOf is its scheme too: that one port of a host is closed, as anybody may
// try, says nothing of another.
func originOf(s config.KeySource) string {
	u, err := url.Parse(s.URL)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Scheme + "://" + u.Host)
}

// breaker is that of a host. An answer that is of no use is no reason to stop
// asking: another path of the host may be right.
func (f *fetcher) breaker(host string) *gobreaker.CircuitBreaker[string] {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := f.breakers[host]
	if b == nil {
		b = gobreaker.NewCircuitBreaker[string](gobreaker.Settings{
			Name: host, Timeout: f.rest,
			ReadyToTrip: func(n gobreaker.Counts) bool { return n.ConsecutiveFailures >= breakerTrip },
			IsSuccessful: func(err error) bool {
				var failed *failure
				return !errors.As(err, &failed) || !failed.away
			},
		})
		f.breakers[host] = b
	}
	return b
}

// forget drops what is kept of an origin.
func (f *fetcher) forget(host string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.breakers, host)
}
