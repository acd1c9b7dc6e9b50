package pilot_test

import (
	"bufio"
	"io"
	"net"
	"net/http"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/http2"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/simulate"
)

// TestGatewayBoundsStrangers: what a real gateway lets one connection take.
// Source: Envoy, "Configuring Envoy as an edge proxy".
func TestGatewayBoundsStrangers(t *testing.T) {
	t.Parallel()
	p := startProxy(t, model.Proxy{Name: "gw-1", Namespace: "weft-system", Labels: map[string]string{"istio": "ingressgateway"}, Proven: true}, gatewayID)
	dial := func(t *testing.T) net.Conn {
		t.Helper()
		conn, err := p.Dial(t.Context(), simulate.Call{Destination: netip.MustParseAddrPort("10.2.0.1:80")})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(time.Minute))
		return conn
	}
	t.Run("streams and windows of HTTP/2", func(t *testing.T) {
		t.Parallel()
		conn := dial(t)
		framer := http2.NewFramer(conn, conn)
		if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
			t.Fatal(err)
		}
		if err := framer.WriteSettings(); err != nil {
			t.Fatal(err)
		}
		frame, err := framer.ReadFrame()
		settings, ok := frame.(*http2.SettingsFrame)
		if err != nil || !ok {
			t.Fatalf("the first frame is %v, %v", frame, err)
		}
		for id, want := range map[http2.SettingID]uint32{http2.SettingMaxConcurrentStreams: 100, http2.SettingInitialWindowSize: 64 << 10} {
			if got, ok := settings.Value(id); !ok || got != want {
				t.Errorf("%v is %d, %v; want %d", id, got, ok, want)
			}
		}
		// A connection begins with 65,535 bytes; the rest comes as an update.
		for err == nil && frame.Header().Type == http2.FrameSettings {
			frame, err = framer.ReadFrame()
		}
		if update, ok := frame.(*http2.WindowUpdateFrame); err != nil || !ok || update.StreamID != 0 || update.Increment != 1<<20-65_535 {
			t.Errorf("the connection's window: %v, %v", frame, err)
		}
	})
	t.Run("headers that never end", func(t *testing.T) {
		t.Parallel()
		conn := dial(t)
		if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: shop.example.com\r\nx-slow: "); err != nil {
			t.Fatal(err)
		}
		resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil || resp.StatusCode != http.StatusRequestTimeout {
			t.Errorf("got %v, %v; want 408 after 10 s", resp, err)
		}
	})
}
