// Package admission is what webhooks of the API server have in common: reading
// AdmissionReviews within bounds (Handler), serving them (Serve, Limit), and
// keeping the caBundle by which the API server trusts them (Keep).
//
// In: a function that decides about one request; a client of the API server.
// Out: an http.Handler; patches of one webhook configuration. It knows nothing
// of what is decided, and may import no component.
package admission
