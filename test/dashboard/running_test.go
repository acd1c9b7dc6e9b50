package dashboard

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/weftcli"
)

// The bookshop as it runs, with people in it: every page of `weft dashboard` tells of
// it, in a browser.
func TestRunningMesh(t *testing.T) {
	require(t)
	m, door := running(t)
	address, token := dashboardOf(t, m)
	go visit(t.Context(), door)
	tb := open(t, &server{Server: &httptest.Server{URL: address}, token: token}, desk, "/")
	pods, err := m.PodsOf(t.Context(), "reviews-v1")
	if err != nil {
		t.Fatal(err)
	}
	tb.has("local mesh "+m.Name, "frontend", "reviews-v2", "/s")
	tb.wait(`[...document.querySelectorAll(".label")].some(l => /\d\/s/.test(l.textContent) && /100%/.test(l.textContent) && /ms/.test(l.textContent))`)
	tb.wait(`document.querySelector(".lock.good")`)
	for _, page := range []struct {
		route string
		words []string
	}{
		{"/workloads", []string{"reviews-v1", "istio-ingressgateway", "sidecar", "100%"}}, {"/services", []string{"details", "100%"}}, {"/pods", []string{pods[0].Name, "no proxy"}},
		{"/workload/default/frontend", []string{"The last hour", "Who calls it", "istio-ingressgateway", "Whom it calls"}},
		{"/service/default/reviews", []string{"Where its calls go", "reviews-v2", "Who calls it by its name"}},
		{"/pod/default/" + pods[0].Name, []string{"The last hour", "reviews-v1"}},
		{"/canaries", []string{"reviews", "90%", "10%"}}, {"/objects", []string{"VirtualService", "live"}},
		{"/object/VirtualService/default/reviews", []string{"weight: 90", "Nothing is wrong with it"}}, {"/ejected", nil},
	} {
		tb.goTo(page.route)
		tb.has(page.words...)
	}
	tb.clean()
}

// running is the bookshop, and the address of its gateway.
func running(t *testing.T) (*weftcli.Mesh, string) {
	t.Helper()
	weft, err := filepath.Abs("../../bin/weft")
	if err == nil {
		_, err = os.Stat(weft)
	}
	if err != nil {
		t.Fatalf("%v: run make build first", err)
	}
	port, err := weftcli.FreePort(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	m := &weftcli.Mesh{Binary: weft, Dir: "../../samples/bookshop", Name: fmt.Sprintf("page-%d", os.Getpid()), Progress: t.Output()}
	t.Cleanup(func() { _ = m.Down(context.Background()) })
	if err := m.Up(t.Context(), fmt.Sprintf("80=127.0.0.1:%d", port)); err != nil {
		t.Fatal(err)
	}
	return m, fmt.Sprintf("http://127.0.0.1:%d/", port)
}

// dashboardOf is where the dashboard of a mesh is, and its token. It ends with the test.
func dashboardOf(t *testing.T, m *weftcli.Mesh) (address, token string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), m.Binary, "dashboard", "--no-open", "--name", m.Name)
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Wait() })
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatalf("weft dashboard printed %q: %v", line, err)
	}
	address, token, _ = strings.Cut(strings.TrimSpace(line), "/#token=")
	return address, token
}

// visit asks for pages until ctx ends.
func visit(ctx context.Context, door string) {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, door, nil)
		if err != nil {
			return
		}
		if resp, err := http.DefaultClient.Do(r); err == nil {
			_ = resp.Body.Close()
		}
	}
}
