// Package clustername reads and writes Istio's names of Envoy's clusters, which
// tools that read an Envoy's configuration go by: DIRECTION|PORT|SUBSET|HOST.
//
// In and out: plain values. It imports only the standard library: components and
// the agent use it.
package clustername

import (
	"strconv"
	"strings"
)

// Directions of the names that Weft gives.
const (
	Outbound = "outbound"
	Inbound  = "inbound" // Subset and Host are empty
)

// Name is a cluster's name, taken apart.
type Name struct {
	Direction string
	Port      string // a number
	Subset    string // "" for the whole service
	Host      string
}

// Of is the name of a service's cluster.
func Of(port uint32, subset, host string) string {
	return Name{Outbound, strconv.FormatUint(uint64(port), 10), subset, host}.String()
}

// String writes the name.
func (n Name) String() string {
	return n.Direction + "|" + n.Port + "|" + n.Subset + "|" + n.Host
}

// Parse reads a name; false: it has another form, as those of clusters that an
// EnvoyFilter adds.
func Parse(name string) (Name, bool) {
	parts := strings.SplitN(name, "|", 4)
	if len(parts) != 4 {
		return Name{}, false
	}
	_, err := strconv.ParseUint(parts[1], 10, 16)
	return Name{parts[0], parts[1], parts[2], parts[3]}, err == nil
}

// Labels are the host, port and subset that labels of metrics have for a cluster; of
// one that is no service's the name and two that are empty.
func Labels(cluster string) []string {
	if n, ok := ParseOutbound(cluster); ok {
		return []string{n.Host, n.Port, n.Subset}
	}
	return []string{cluster, "", ""}
}

// Number is the port's, 0 for a name that was not read by Parse.
func (n Name) Number() uint32 {
	port, _ := strconv.ParseUint(n.Port, 10, 16)
	return uint32(port)
}

// ParseOutbound is Parse, false for a name that is not of a service's cluster too.
func ParseOutbound(name string) (Name, bool) {
	n, ok := Parse(name)
	return n, ok && n.Direction == Outbound
}
