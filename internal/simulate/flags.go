package simulate

import "strings"

// flags are response flags, by their short names.
// Source: "%RESPONSE_FLAGS%" of Envoy's documentation.
type flags uint

// In the order in which Envoy writes them.
const (
	noHealthyUpstream flags = 1 << iota
	requestTimeout
	connectionFailure
	overflow
	noRoute
	delayInjected
	faultInjected
	unauthorized
	clientGone
	retryLimit
	protocolError
	noCluster
)

var flagNames = []string{"UH", "UT", "UF", "UO", "NR", "DI", "FI", "UAEX", "DC", "URX", "DPE", "NC"}

// with is w after something has befallen the call.
func (w walk) with(f flags) walk {
	w.flags |= f
	return w
}

// done is the one outcome of w.
func (w walk) done() []Outcome {
	w.out.Flags = w.flags.String()
	return []Outcome{w.out}
}

// String is "UF,URX", or "-" for none.
func (f flags) String() string {
	var out []string
	for i, name := range flagNames {
		if f&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ",")
}
