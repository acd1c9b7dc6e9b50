// Package steady is what the tests of life cycle and outages share: a cluster
// with Weft installed as a user would, apps in it, and steady load whose every
// request is accounted for (the program in folder app runs in pods and on the
// LAN). Inputs: manifests and Targets. Outputs: Reports. It may import install,
// internal/image and test/cluster, and of the components nothing.
package steady

import "time"

// Target is what one group of clients asks for, without pause.
type Target struct {
	Name string
	URL  string
	// Connection is Keep, New or HTTP2.
	Connection string
	Clients    int
	Every      Duration // from one request of a client to its next
	Timeout    Duration // of one request; 0: 30 s
}

// How clients use connections.
const (
	Keep  = "keep" // HTTP/1.1, each client keeps one
	New   = "new"  // one for each request
	HTTP2 = "h2"   // HTTP/2 in plaintext, each client keeps one
)

// Duration is a time.Duration whose JSON is its text, such as 1.5s.
type Duration time.Duration

// MarshalText is encoding.TextMarshaler's.
func (d Duration) MarshalText() ([]byte, error) { return []byte(time.Duration(d).String()), nil }

// UnmarshalText is encoding.TextUnmarshaler's.
func (d *Duration) UnmarshalText(text []byte) error {
	v, err := time.ParseDuration(string(text))
	*d = Duration(v)
	return err
}

// Slow is what no request takes while all is well.
const Slow = 250 * time.Millisecond

// Report is what came of a target's requests that began in an interval.
type Report struct {
	Total, Failed int
	// When requests began: the first and the last that failed, and the last that
	// took longer than Slow; zero: none did.
	FirstFailed, LastFailed, LastSlow time.Time
	Slowest                           time.Duration
	// Waiting is when the oldest request that has no answer yet began; zero: none.
	Waiting time.Time
	Errors  []string // of the first ones that failed, with their times
	Last    string   // the newest answer
}
