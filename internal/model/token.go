package model

// TokenPolicy is one compiled RequestAuthentication: a request without a token
// passes, one with a token that is not right does not.
// Source: istio.io/api security/v1beta1, message RequestAuthentication.
type TokenPolicy struct {
	Namespace, Name string
	Origin          Origin
	// Selectors are as an Authorization's.
	Selectors []map[string]string
	Issuers   []TokenIssuer
}

// Key is "namespace/name".
func (p *TokenPolicy) Key() string { return p.Namespace + "/" + p.Name }

// Guards is as an Authorization's.
func (p *TokenPolicy) Guards() (namespace string, selectors []map[string]string) {
	return p.Namespace, p.Selectors
}

// TokenIssuer says where the tokens of one issuer are found, and how they are
// checked.
type TokenIssuer struct {
	Issuer string
	// Audiences: a token must be for one of them; empty: for anyone.
	Audiences []string
	// Keys is a JSON Web Key Set (RFC 7517) with at least one public key; empty:
	// there is none, and no token of the issuer is right.
	Keys string
	// Headers, Params and Cookies are where tokens are: one of them at least has
	// an entry.
	Headers         []TokenHeader
	Params, Cookies []string
	// Forward leaves the token in the request.
	Forward bool
	// PayloadHeader gets the payload in base64; empty: none does.
	PayloadHeader string
	ClaimHeaders  []ClaimHeader
	// SpaceDelimited are claims that count as lists, "scope" and "permission"
	// among them; sorted.
	SpaceDelimited []string
}

// Brings are the headers that a token of the issuer brings.
func (i *TokenIssuer) Brings() (out []string) {
	if i.PayloadHeader != "" {
		out = append(out, i.PayloadHeader)
	}
	for _, c := range i.ClaimHeaders {
		out = append(out, c.Header)
	}
	return out
}

// TokenHeader is a header whose value is a token after a prefix.
type TokenHeader struct{ Name, Prefix string }

// ClaimHeader gives the app a claim in a header; "." parts nested claims.
type ClaimHeader struct{ Header, Claim string }
