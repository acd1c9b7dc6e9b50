package figures

import (
	"slices"
	"strconv"
	"strings"
)

// serverFaults are the statuses of gRPC that google/rpc/code.proto maps to 5xx of
// HTTP: unknown, deadline exceeded, unimplemented, internal, unavailable, data
// loss.
var serverFaults = []string{"2", "4", "12", "13", "14", "15"}

// clientGone is Envoy's response flag of a caller that did not wait.
const clientGone = "DC"

// Failed says whether a request's end is the service's fault: a 5xx, a status of
// gRPC that means one, or no answer at all, save where the caller went away.
func (f Flow) Failed() bool {
	code, err := strconv.Atoi(f.Code)
	switch {
	case err != nil: // a Telemetry may have taken the label away
		return false
	case code == 0:
		return !slices.Contains(strings.Split(f.Flags, ","), clientGone)
	}
	return code >= 500 || slices.Contains(serverFaults, f.GRPCStatus)
}

// unarrived are Envoy's response flags of calls that no server was asked: there
// was no connection, no healthy host, no room, no route or no cluster.
var unarrived = []string{"UF", "UH", "UO", "NR", "NC"}

// lost says whether a caller's proxy counted a call that did not arrive.
func (f Flow) lost() bool {
	return f.Reporter == FromSource && slices.ContainsFunc(strings.Split(f.Flags, ","), func(flag string) bool { return slices.Contains(unarrived, flag) })
}

// secure says whether a flow is by mutual TLS, as far as its reporter can tell:
// the server knows what it took, the client only whom it reached, if anybody.
func (f Flow) secure() (yes, known bool) {
	switch {
	case f.lost():
		return false, false
	case f.Reporter == FromDestination:
		return f.Security == "mutual_tls", f.Security != Unknown
	case f.Destination.Principal != Unknown:
		return true, true
	}
	return false, f.Destination.Workload != Unknown
}
