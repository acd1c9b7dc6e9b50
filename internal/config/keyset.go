package config

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	security "istio.io/api/security/v1beta1"

	"github.com/weftmesh/weft/internal/memo"
)

// KeySet is a kind that no user can write: what was fetched for the rules of
// RequestAuthentications that name no keys themselves (*Keys). Whoever fetches
// puts it into a Set; its key is "/" + KeySource.Name.
const KeySet Kind = "KeySet"

// Keys is the Spec of a KeySet.
type Keys struct {
	// Text is the last JSON Web Key Set that was good, as it was fetched; "": there
	// was none yet, or it is too old.
	Text string
	// Failed says why the last fetch gave nothing; "": it did.
	Failed string
}

// Bounds of JWTRule.timeout.
const (
	defaultKeyTimeout = 5 * time.Second
	maxKeyTimeout     = 30 * time.Second
)

// maxKeyURL bounds a URL of keys, in bytes.
const maxKeyURL = 2048

// KeySource is where the keys of a rule are.
type KeySource struct {
	URL string // http or https
	// Discover: the URL is of an OpenID provider's configuration, whose jwks_uri
	// is where the keys are.
	Discover bool
	// Timeout of all that a fetch does, positive.
	Timeout time.Duration
}

// Name is that of the source's KeySet.
func (s KeySource) Name() string {
	if s.Discover {
		return "issuer " + s.URL
	}
	return s.URL
}

// WithKeySets returns a set with these KeySets and no others.
func (s Set) WithKeySets(t memo.Table[*Object]) Set { return s.put(KeySet, t) }

// KeySourceOf is where the keys of a rule without inline keys are. Errors: the
// URL, or the issuer in its place, cannot be asked.
//
// Source: istio.io/api security/v1beta1, JWTRule.jwksUri and timeout; OpenID
// Connect Discovery 1.0, section 4.
func KeySourceOf(rule *security.JWTRule) (KeySource, error) {
	out := KeySource{URL: rule.GetJwksUri(), Timeout: defaultKeyTimeout}
	if KeyTimeoutSound(rule) && rule.GetTimeout() != nil {
		out.Timeout = rule.GetTimeout().AsDuration()
	}
	if out.URL != "" {
		return out, CheckKeyURL(out.URL)
	}
	if strings.ContainsAny(rule.GetIssuer(), "?#") {
		return out, errors.New("an issuer with a query or a fragment has no OpenID configuration")
	}
	out.URL, out.Discover = strings.TrimSuffix(rule.GetIssuer(), "/")+"/.well-known/openid-configuration", true
	if err := CheckKeyURL(out.URL); err != nil {
		return out, fmt.Errorf("the issuer is no URL where keys can be looked up: %w", err)
	}
	return out, nil
}

// KeyTimeoutSound reports whether a rule's timeout is none, or one that is kept.
func KeyTimeoutSound(rule *security.JWTRule) bool {
	t := rule.GetTimeout()
	return t == nil || t.CheckValid() == nil && t.AsDuration() > 0 && t.AsDuration() <= maxKeyTimeout
}

// CheckKeyURL says why keys are not fetched from a URL, whatever its host's
// address is.
func CheckKeyURL(text string) error {
	if len(text) > maxKeyURL {
		return fmt.Errorf("the URL has %d bytes, at most %d are allowed", len(text), maxKeyURL)
	}
	u, err := url.Parse(text)
	switch {
	case err != nil:
		return errors.New("it cannot be read as a URL")
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("scheme %q: want http or https", u.Scheme)
	case u.Hostname() == "":
		return errors.New("the URL names no host")
	case u.User != nil:
		return errors.New("the URL holds a user, which everyone could read here")
	}
	return nil
}

// KeySources are those of an object's rules; nil for other kinds than
// RequestAuthentication. Rules whose source cannot be asked have none.
func (o *Object) KeySources() (out []KeySource) {
	spec, ok := o.Spec.(*security.RequestAuthentication)
	if !ok {
		return nil
	}
	for _, rule := range spec.GetJwtRules() {
		if rule.GetJwks() != "" {
			continue
		}
		if source, err := KeySourceOf(rule); err == nil {
			out = append(out, source)
		}
	}
	return out
}
