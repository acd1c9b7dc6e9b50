package compile

import (
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/durationpb"
	mesh "istio.io/api/mesh/v1alpha1"

	"github.com/weftmesh/weft/internal/diag"
)

// TestTracerBounds: what Envoy would refuse is found here. It counts a header's
// value as it gets it, with % doubled, and takes no timeout of 2^32 s.
func TestTracerBounds(t *testing.T) {
	for name, c := range map[string]struct {
		timeout time.Duration
		value   string
		want    string
	}{
		"both at their most":   {maxCallTimeout - time.Millisecond, strings.Repeat("%", maxHeader/2), ""},
		"too long a timeout":   {maxCallTimeout, "", "extensionProviders[0].zipkin.timeout"},
		"too long, if % is %%": {time.Second, strings.Repeat("%", maxHeader/2+1), "extensionProviders[0].zipkin.headers[0].value"},
	} {
		zipkin := &zipkinTracer{
			Service: "a.example.com", Port: 9411, Timeout: durationpb.New(c.timeout),
			Headers: []*tracerHeader{{Name: "x-key", HeaderValue: &mesh.MeshConfig_ExtensionProvider_HttpHeader_Value{Value: c.value}}},
		}
		d := diag.For(diag.Object{})
		all := compileTracers([]*mesh.MeshConfig_ExtensionProvider{{Name: "a", Provider: &mesh.MeshConfig_ExtensionProvider_Zipkin{Zipkin: zipkin}}}, d)
		switch found := d.All(); {
		case c.want == "" && (len(all) != 1 || len(found) > 0):
			t.Errorf("%s: %d tracers, %v", name, len(all), found)
		case c.want != "" && (len(all) > 0 || len(found) != 1 || found[0].Path != c.want):
			t.Errorf("%s: %d tracers, %v, want a finding at %s", name, len(all), found, c.want)
		}
	}
}

// TestAuthorizerTimeoutBound: authorizers are asked over HTTP too.
func TestAuthorizerTimeoutBound(t *testing.T) {
	d := diag.For(diag.Object{})
	all := compileAuthorizers([]*mesh.MeshConfig_ExtensionProvider{{Name: "a", Provider: &mesh.MeshConfig_ExtensionProvider_EnvoyExtAuthzHttp{
		EnvoyExtAuthzHttp: &authorizerHTTP{Service: "a.example.com", Port: 8000, Timeout: durationpb.New(maxCallTimeout)},
	}}}, d)
	if found := d.All(); len(all) > 0 || len(found) != 1 || found[0].Path != "extensionProviders[0].envoyExtAuthzHttp.timeout" {
		t.Errorf("%d authorizers, %v", len(all), found)
	}
}
