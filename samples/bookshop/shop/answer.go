package shop

import (
	"encoding/json"
	"net/http"
)

// HeaderPeer carries the certificates a request passed with, hop by hop. Envoy
// documents it as x-forwarded-client-cert (XFCC); in a mesh its URI field is
// the SPIFFE identity of the caller.
const HeaderPeer = "X-Forwarded-Client-Cert"

// Answer is what each service of the shop says, as JSON.
type Answer struct {
	// Service is frontend, details, reviews or ratings.
	Service string `json:"service"`
	// Version is the version the instance was started as, such as v1.
	Version string `json:"version,omitempty"`
	// Pod is the name of the instance.
	Pod string `json:"pod,omitempty"`
	// Peer is the HeaderPeer that the instance saw; empty where the call came in
	// plaintext.
	Peer string `json:"peer,omitempty"`
	// Text is what the service had to say; empty for the frontend.
	Text string `json:"text,omitempty"`
	// Stars is 1 to 5; 0 where the service knows no rating.
	Stars int32 `json:"stars,omitempty"`
	// Error says why there is no text: the instance was told to fail, or one of
	// its Parts could not be had.
	Error string `json:"error,omitempty"`
	// Parts are the answers of the services that were asked, in a fixed order.
	Parts []Answer `json:"parts,omitempty"`
}

// Each calls visit for the answer and for all parts below it.
func (a Answer) Each(visit func(Answer)) {
	visit(a)
	for _, part := range a.Parts {
		part.Each(visit)
	}
}

// write sends the answer with the given HTTP status.
func (a Answer) write(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	// The status line is out: a client that has gone away is all that can fail.
	_ = json.NewEncoder(w).Encode(a)
}
