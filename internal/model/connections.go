package model

import "time"

// Connections say how proxies handle connections. The zero value leaves all to
// what holds otherwise. It is comparable.
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.ConnectionSettings.
type Connections struct {
	// ListenerBuffer and ClusterBuffer are in bytes; 0: Envoy's own.
	ListenerBuffer, ClusterBuffer uint32
	// Of clients' connections and requests.
	Idle, MaxAge, Drain, Request, RequestHeaders, StreamIdle, MaxStream Span
	// Of HTTP/2 to clients; 0: what holds otherwise.
	Streams, StreamWindow, ConnectionWindow uint32
	// Underscores is what becomes of headers with one in their name.
	Underscores OwnUnderscores
	// MergeSlashes and Slashes go before Paths.
	MergeSlashes Choice
	Slashes      Slashes
}

// Span is a duration that may be left unsaid; 0, if said, is none at all.
type Span struct {
	Said bool
	For  time.Duration
}

// OwnUnderscores are Underscores that may be left unsaid.
type OwnUnderscores struct {
	Said bool
	Do   Underscores
}

// Choice is a yes or no that may be left unsaid.
type Choice int

// The zero value says nothing.
const (
	Unsaid Choice = iota
	Yes
	No
)

// Slashes is what becomes of a path with %2F or %5C in it.
type Slashes int

// The zero value says nothing.
const (
	SlashesUnsaid Slashes = iota
	SlashesKeep
	SlashesReject   // the request
	SlashesRedirect // to the decoded path
	SlashesForward  // decoded
)

// PathForm is what becomes of a request's path before anything else reads it.
type PathForm struct {
	Segments bool // dot segments go, as of RFC 3986
	Merge    bool // slashes
	Slashes  Slashes
}

// PathForm is that of MeshConfig's pathNormalization, with what a proxy's own
// settings say in its place.
func (s *Settings) PathForm() PathForm {
	return s.Defaults.Paths.form().with(s.Connections)
}

// PathFormOf is that of a workload's proxy.
func (s *Settings) PathFormOf(w *Workload) PathForm {
	if w.Proxy == nil {
		return s.PathForm()
	}
	return s.Defaults.Paths.form().with(w.Proxy.Connections)
}

func (p Paths) form() PathForm {
	out := PathForm{Segments: p != PathsNone, Merge: p == PathsMerge || p == PathsDecode, Slashes: SlashesKeep}
	if p == PathsDecode {
		out.Slashes = SlashesForward
	}
	return out
}

func (f PathForm) with(c Connections) PathForm {
	if c.MergeSlashes != Unsaid {
		f.Merge = c.MergeSlashes == Yes
	}
	if c.Slashes != SlashesUnsaid {
		f.Slashes = c.Slashes
	}
	return f
}
