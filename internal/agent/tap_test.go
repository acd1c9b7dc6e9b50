package agent_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	accesslogv3 "github.com/envoyproxy/go-control-plane/envoy/config/accesslog/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	listenerv3 "github.com/envoyproxy/go-control-plane/envoy/config/listener/v3"
	grpclogv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/access_loggers/grpc/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/internal/tap"
)

// tapped is a listener that logs to the agent as the pilot has them do.
func (i inbound) tapped(t *testing.T) *listenerv3.Listener {
	t.Helper()
	out, manager := i.listener(t), &hcmv3.HttpConnectionManager{}
	filter := out.GetFilterChains()[0].GetFilters()[0]
	if err := filter.GetTypedConfig().UnmarshalTo(manager); err != nil {
		t.Fatal(err)
	}
	manager.AccessLog = []*accesslogv3.AccessLog{{
		Name: "envoy.access_loggers.http_grpc",
		Filter: &accesslogv3.AccessLogFilter{FilterSpecifier: &accesslogv3.AccessLogFilter_RuntimeFilter{RuntimeFilter: &accesslogv3.RuntimeFilter{
			RuntimeKey: "weft.tap", PercentSampled: &typev3.FractionalPercent{}, UseIndependentRandomness: true}}},
		ConfigType: &accesslogv3.AccessLog_TypedConfig{TypedConfig: pack(t, &grpclogv3.HttpGrpcAccessLogConfig{CommonConfig: &grpclogv3.CommonGrpcAccessLogConfig{
			LogName: "inbound", TransportApiVersion: corev3.ApiVersion_V3, BufferFlushInterval: durationpb.New(50_000_000),
			GrpcService: &corev3.GrpcService{TargetSpecifier: &corev3.GrpcService_EnvoyGrpc_{EnvoyGrpc: &corev3.GrpcService_EnvoyGrpc{ClusterName: "tap-grpc"}}},
		}})},
	}}
	filter.ConfigType = &listenerv3.Filter_TypedConfig{TypedConfig: func() *anypb.Any { return pack(t, manager) }()}
	return out
}

// watch opens the agent's page; the test's end closes it.
func (p *pod) watch(t *testing.T, query string) (*json.Decoder, context.CancelFunc) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.statusURL("/tap?"+query), nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK {
		t.Fatal(response.Status)
	}
	return json.NewDecoder(response.Body), cancel
}

// patient is for what is looked at once: a machine that stalls does not end it.
var patient = &http.Client{Timeout: time.Minute, Transport: client.Transport}

// share is what Envoy holds of the key, "" for nothing.
func (p *pod) share() string {
	_, body, _ := getBy(p.admin(), "http://envoy/runtime")
	var values struct {
		Entries map[string]struct {
			Final string `json:"final_value"`
		} `json:"entries"`
	}
	if json.Unmarshal([]byte(body), &values) != nil {
		return ""
	}
	return values.Entries["weft.tap"].Final
}

// ask makes a request; the connection is closed after it.
func (m *mesh) ask(path string) int {
	code, _, _ := getBy(patient, fmt.Sprintf("http://127.0.0.1:%d%s", m.plain.port, path))
	return code
}

// next reads entries until one's path begins so.
func next(t *testing.T, lines *json.Decoder, prefix string) tap.Entry {
	t.Helper()
	for {
		var e tap.Entry
		if err := lines.Decode(&e); err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(e.Path, prefix) {
			return e
		}
	}
}

// TestTap watches a real Envoy's requests: nothing is logged while nobody
// watches, each viewer sees what it asked for, an Envoy that starts anew is
// watched on, and an agent takes back what one before it left.
func TestTap(t *testing.T) {
	m := newMesh(t)
	m.pilot.put("plain", m.plain.tapped(t))
	m.pilot.start()
	m.pod.start()
	eventually(t, "the pod is ready", m.pod.ready)
	eventually(t, "Envoy is told not to log", func() bool { return m.pod.share() == "0" })

	all, end := m.pod.watch(t, "")
	some, endSome := m.pod.watch(t, "path=/b&status=2xx")
	for _, path := range []string{"/a?x=%1b[31m", "/b"} {
		if code := m.ask(path); code != http.StatusOK {
			t.Fatalf("%s: %d", path, code)
		}
	}
	if e := next(t, all, "/a"); e.Path != "/a?x=%1b[31m" || e.Method != "GET" || e.Status != 200 || e.Direction != tap.Inbound || e.To.Pod != "reviews-v1-abc" || e.Sent != 3 || e.RequestID == "" {
		t.Errorf("%+v", e)
	}
	next(t, all, "/b")
	var first tap.Entry
	if err := some.Decode(&first); err != nil || first.Path != "/b" {
		t.Errorf("who wants /b sees first %+v, %v", first, err)
	}
	endSome()

	if err := syscall.Kill(m.pod.envoyPID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the next Envoy logs", func() bool { return m.pod.share() == "100" && m.ask("/c") == http.StatusOK })
	next(t, all, "/c")
	end()
	eventually(t, "nobody watches, and Envoy does not log", func() bool { return m.pod.share() == "0" })

	m.pod.watch(t, "")
	if got := m.pod.share(); got != "100" {
		t.Errorf("the answer began, and Envoy logs %q per cent", got)
	}
	m.pod.kill()
	if got := m.pod.share(); got != "100" {
		t.Errorf("the agent was killed, and Envoy logs %q per cent", got)
	}
	m.pod.start()
	eventually(t, "the next agent takes it back", func() bool { return m.pod.share() == "0" })
}
