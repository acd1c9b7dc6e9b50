package simulate

import (
	"strconv"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	upstreams "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
)

// NewRequestID stands for the random identifier that Envoy gives a request.
const NewRequestID = "00000000-0000-4000-8000-000000000000"

// requestID gives the request one. One that came in stays, but at the edge.
// Source: "x-request-id" of Envoy's documentation.
func (w *walk) requestID(m *hcm.HttpConnectionManager) {
	if id := m.GetGenerateRequestId(); id != nil && !id.GetValue() {
		return
	}
	r := &w.out.Request
	edge := m.GetUseRemoteAddress().GetValue() && !m.GetPreserveExternalRequestId()
	if _, there := r.Headers.Get("x-request-id"); !there || edge {
		r.Headers = r.Headers.With("x-request-id", NewRequestID)
	}
}

// underscores does what the manager does with headers that have one in their
// name; false refuses the request.
func (w *walk) underscores(m *hcm.HttpConnectionManager) bool {
	action := m.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction()
	for name := range w.out.Request.Headers {
		if !strings.Contains(name, "_") {
			continue
		}
		switch action {
		case core.HttpProtocolOptions_REJECT_REQUEST:
			return false
		case core.HttpProtocolOptions_DROP_HEADER:
			delete(w.out.Request.Headers, name)
		case core.HttpProtocolOptions_ALLOW:
		}
	}
	return true
}

// forwardedPort says at the edge which port was called.
// Source: HttpConnectionManager.append_x_forwarded_port.
func (w *walk) forwardedPort(m *hcm.HttpConnectionManager) {
	r := &w.out.Request
	_, there := r.Headers.Get("x-forwarded-port")
	if !m.GetAppendXForwardedPort() || !m.GetUseRemoteAddress().GetValue() || there && m.GetXffNumTrustedHops() > 0 {
		return
	}
	r.Headers = r.Headers.With("x-forwarded-port", strconv.Itoa(int(w.conn.destination.Port())))
}

// server puts the proxy's name on all answers.
// Source: HttpConnectionManager.server_header_transformation.
func server(m *hcm.HttpConnectionManager, all []Outcome) ([]Outcome, error) {
	switch m.GetServerHeaderTransformation() {
	case hcm.HttpConnectionManager_PASS_THROUGH:
		return all, nil
	case hcm.HttpConnectionManager_OVERWRITE:
	default:
		return nil, unknown("server_header_transformation %v", m.GetServerHeaderTransformation())
	}
	name := m.GetServerName()
	if name == "" {
		name = "envoy"
	}
	for i := range all {
		if all[i].Closed == "" {
			all[i].Response = all[i].Response.With("server", name)
		}
	}
	return all, nil
}

// certificateParts are what is written of the client's certificate, whose name
// alone is known here.
func certificateParts(set *hcm.HttpConnectionManager_SetCurrentClientCertDetails, name string) string {
	out := "By=;Hash="
	for _, part := range []struct {
		on   bool
		text string
	}{
		{set.GetCert(), `;Cert=""`},
		{set.GetChain(), `;Chain=""`},
		{set.GetSubject().GetValue(), `;Subject=""`},
		{set.GetUri() && strings.Contains(name, "://"), ";URI=" + name},
		{set.GetDns() && !strings.Contains(name, "://"), ";DNS=" + name},
	} {
		if part.on {
			out += part.text
		}
	}
	return out
}

// keepsCase reports whether the names of headers are passed on as they are
// written: the manager keeps them for the request, the cluster for the answer.
// Source: "Header casing" of Envoy's documentation.
func (w walk) keepsCase(to *upstreams.HttpProtocolOptions) bool {
	own := to.GetExplicitHttpConfig().GetHttpProtocolOptions()
	if own == nil {
		own = to.GetUseDownstreamProtocolConfig().GetHttpProtocolOptions()
	}
	return w.manager.GetHttpProtocolOptions().GetHeaderKeyFormat() != nil && own.GetHeaderKeyFormat() != nil
}
