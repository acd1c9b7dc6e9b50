package pilot

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/pilot/internal/xds"
)

// caller is who asks for a debug page. The zero value sees nothing.
type caller struct {
	all       bool   // from this machine, as a port-forward arrives
	namespace string // proved by a certificate; "" if all
}

var errStranger = errors.New("debug pages are for callers on loopback (use a port-forward), and over TLS for workloads of the mesh, which see their own namespace")

// callerOf says who sent r. Who shows a certificate sees its own namespace
// only, on loopback too. The listener has verified the certificate.
func callerOf(r *http.Request) (caller, error) {
	if r.TLS != nil {
		id, err := enroll.PeerID(*r.TLS)
		if err != nil {
			return caller{}, fmt.Errorf("%w: %w", errStranger, err)
		}
		return caller{namespace: id.Namespace}, nil
	}
	addr, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !addr.Addr().Unmap().IsLoopback() {
		return caller{}, errStranger
	}
	return caller{all: true}, nil
}

// sees reports whether the caller may be shown what belongs to a namespace.
func (c caller) sees(namespace string) bool {
	return c.all || c.namespace != "" && c.namespace == namespace
}

func (c caller) streams(list []xds.StreamState) []xds.StreamState {
	return slices.DeleteFunc(list, func(s xds.StreamState) bool { return !c.sees(s.Proxy.Namespace) })
}

func (c caller) nacks(list []xds.Nack) []xds.Nack {
	return slices.DeleteFunc(list, func(n xds.Nack) bool { return !c.sees(n.Namespace) })
}

// objects are those of the caller's namespace, with the counts of all proxies
// that have something of them.
func (c caller) objects(list []xds.Live) []xds.Live {
	return slices.DeleteFunc(list, func(l xds.Live) bool {
		_, name, _ := strings.Cut(l.Object, "/")
		namespace, _, _ := strings.Cut(name, "/")
		return !c.sees(namespace)
	})
}

func (c caller) findings(list []diag.Diagnostic) []diag.Diagnostic {
	return slices.DeleteFunc(list, func(d diag.Diagnostic) bool { return !c.sees(d.Object.Namespace) })
}

// refusals counts who was not let on to the monitoring port, by reason.
func refusals(reg prometheus.Registerer) func(reason string) {
	v := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weft_pilot_monitoring_refused_total",
		Help: "Connections and requests that the monitoring port refused: silent, tls (the pilot has no certificate), stranger (no valid certificate), debug (a debug page for someone who has no right to it).",
	}, []string{"reason"})
	reg.MustRegister(v)
	for _, reason := range []string{"silent", "tls", "stranger", "debug"} {
		v.WithLabelValues(reason)
	}
	return func(reason string) { v.WithLabelValues(reason).Inc() }
}
