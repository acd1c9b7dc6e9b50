package shop

import "strings"

// Hop is what one element of HeaderPeer says: the certificates of one mTLS
// connection that a request came by.
// Source: Envoy, "x-forwarded-client-cert".
type Hop struct {
	// By is the identity of the server, URI that of its client: spiffe://...
	By, URI string
	// Hash is the SHA-256 of the client's certificate, in hexadecimal.
	Hash string
}

// LastHop returns the last element of a HeaderPeer: how the request came to
// whom the header was given. It is the zero value where there is none.
func LastHop(header string) (h Hop) {
	elements := strings.Split(unquoted(header), ",")
	for pair := range strings.SplitSeq(elements[len(elements)-1], ";") {
		key, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
		switch strings.ToLower(key) {
		case "by":
			h.By = value
		case "uri":
			h.URI = value
		case "hash":
			h.Hash = value
		}
	}
	return h
}

// unquoted drops quoted values: subjects, which hold commas. No SPIFFE URI needs
// quotes.
func unquoted(header string) string {
	var out strings.Builder
	for i, piece := range strings.Split(header, `"`) {
		if i%2 == 0 {
			out.WriteString(piece)
		}
	}
	return out.String()
}
