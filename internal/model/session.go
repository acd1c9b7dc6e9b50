package model

// Session keeps a client at the endpoint that answered it first, for as long as
// that is there, draining too: by what the first answer sets, and the client
// sends back. Cookie or Header is set.
// Source: Istio, PILOT_PERSISTENT_SESSION_LABEL and
// PILOT_PERSISTENT_SESSION_HEADER_LABEL.
type Session struct {
	Cookie string // name
	Path   string // of the cookie, never empty
	Header string // name
}
