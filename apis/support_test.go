package apis

import (
	"reflect"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	mesh "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingbeta "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"
)

// reachable gives every message of Istio's API that a field of the roots leads
// to, by name.
func reachable(roots ...proto.Message) map[string]protoreflect.MessageDescriptor {
	out := map[string]protoreflect.MessageDescriptor{}
	var walk func(m protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		name := string(m.FullName())
		switch {
		case m.IsMapEntry():
			if v := m.Fields().ByName("value").Message(); v != nil {
				walk(v)
			}
			return
		case !strings.HasPrefix(name, "istio.") || out[name] != nil:
			return
		}
		out[name] = m
		for i := range m.Fields().Len() {
			if sub := m.Fields().Get(i).Message(); sub != nil {
				walk(sub)
			}
		}
	}
	for _, root := range roots {
		walk(root.ProtoReflect().Descriptor())
	}
	return out
}

func TestLedger(t *testing.T) {
	l, err := Support()
	if err != nil {
		t.Fatal(err)
	}
	messages := reachable(&networking.VirtualService{}, &networking.DestinationRule{}, &networking.Gateway{}, &networking.Sidecar{}, &networking.EnvoyFilter{}, &networking.ServiceEntry{}, &networking.WorkloadGroup{}, &networkingbeta.ProxyConfig{}, &mesh.ProxyConfig_ProxyHeaders{}, &mesh.ProxyConfig_ConnectionSettings{}, &mesh.LabelSelector{}, &mesh.ServiceEntryVisibility{}, &security.PeerAuthentication{}, &security.AuthorizationPolicy{}, &security.RequestAuthentication{}, &telemetry.Telemetry{})
	// Of MeshConfig only what supported fields lead to is listed.
	for _, m := range []proto.Message{&mesh.MeshConfig{}, &mesh.MeshConfig_OutboundTrafficPolicy{}, &mesh.MeshConfig_InboundTrafficPolicy{}, &mesh.MeshConfig_ProxyPathNormalization{}, &mesh.MeshConfig_TLSConfig{}, &mesh.MeshConfig_ExtensionProvider{}, &mesh.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationHttpProvider{}, &mesh.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationGrpcProvider{}, &mesh.MeshConfig_ExtensionProvider_EnvoyExternalAuthorizationRequestBody{}, &mesh.MeshConfig_DefaultTrafficPolicy{}, &mesh.MeshConfig_DefaultProviders{}, &mesh.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider{}, &mesh.MeshConfig_ExtensionProvider_EnvoyFileAccessLogProvider_LogFormat{}, &mesh.MeshConfig_ExtensionProvider_EnvoyHttpGrpcV3LogProvider{}, &mesh.MeshConfig_ExtensionProvider_EnvoyTcpGrpcV3LogProvider{}, &mesh.MeshConfig_ExtensionProvider_EnvoyOpenTelemetryLogProvider{}, &mesh.MeshConfig_ExtensionProvider_EnvoyOpenTelemetryLogProvider_LogFormat{}, &mesh.ProxyConfig{}, &mesh.Topology{},
		&mesh.MeshConfig_ExtensionProvider_OpenTelemetryTracingProvider{}, &mesh.MeshConfig_ExtensionProvider_ZipkinTracingProvider{},
		&mesh.MeshConfig_ExtensionProvider_HttpService{}, &mesh.MeshConfig_ExtensionProvider_GrpcService{}, &mesh.MeshConfig_ExtensionProvider_HttpHeader{},
		&mesh.MeshConfig_ExtensionProvider_ResourceDetectors{}, &mesh.Tracing{}, &mesh.Tracing_Zipkin{}, &mesh.Tracing_CustomTag{}, &mesh.Tracing_Literal{},
		&mesh.Tracing_Environment{}, &mesh.Tracing_RequestHeader{}} {
		d := m.ProtoReflect().Descriptor()
		messages[string(d.FullName())] = d
	}
	for name, m := range messages {
		for i := range m.Fields().Len() {
			if f := m.Fields().Get(i).JSONName(); l.Field(name, f).Status == "" {
				t.Errorf("apis/support.yaml lacks a row for %s.%s: say whether it is supported, refused or ignored", name, f)
			}
		}
	}
	for _, name := range l.Messages() {
		m := messages[name]
		if m == nil {
			t.Errorf("apis/support.yaml has rows for %s, which no supported kind leads to", name)
			continue
		}
		for _, f := range l.Fields(name) {
			if f != "*" && m.Fields().ByJSONName(f) == nil {
				t.Errorf("apis/support.yaml has a row for %s.%s, which does not exist", name, f)
			}
		}
	}
}

func TestRowsSayWhy(t *testing.T) {
	for _, text := range []string{"refused", "maybe, later", "", "supported, mostly"} {
		if _, err := rows("m", map[string]string{"f": text}); err == nil {
			t.Errorf("row %q was accepted", text)
		}
	}
	got, err := rows("m", map[string]string{"f": "refused, because, well"})
	if err != nil || !reflect.DeepEqual(got["f"], Row{Status: Refused, Why: "because, well"}) {
		t.Errorf("got %+v, %v", got, err)
	}
	got, err = rows("m", map[string]string{"f": "supported, see a b"})
	if err != nil || !reflect.DeepEqual(got["f"], Row{Status: Supported, Cases: []string{"a", "b"}}) {
		t.Errorf("got %+v, %v", got, err)
	}
}

func TestKindsThatAreRefused(t *testing.T) {
	l, err := Support()
	if err != nil {
		t.Fatal(err)
	}
	if l.Kind("VirtualService").Status != "" || len(l.Kinds()) > 0 {
		t.Errorf("kinds: %v", l.Kinds())
	}
}
