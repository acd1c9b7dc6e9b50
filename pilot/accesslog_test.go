package pilot_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
)

// TestAccessLogFile: a request is a line of the file that MeshConfig names, in
// Istio's format.
func TestAccessLogFile(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "access.log")
	w := startWorld(t, "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: weft-system}\ndata: {mesh: 'accessLogFile: "+file+"'}\n")
	w.call(t, "/logged", simulate.Upstream{})
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		text, err := os.ReadFile(file)
		if line := string(text); err == nil && strings.Contains(line, `"GET /logged HTTP/1.1" 200 - `) && strings.Contains(line, "outbound|9080||reviews.default.svc.cluster.local") {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("the log says %q, %v", text, err)
		}
	}
}
