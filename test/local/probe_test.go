package local

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/weftmesh/weft/test/weftcli"
)

// An app that fails its readiness probe gets no calls until it passes again; one
// that fails its liveness probe is restarted.
func TestProbesDecide(t *testing.T) {
	dir := folder(t)
	healthy, file := filepath.Join(dir, "healthy"), filepath.Join(dir, "mesh.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	front, details, _ := strings.Cut(string(text), "metadata: {name: details}\nspec:\n  replicas: 2")
	probe := fmt.Sprintf("readinessProbe: {exec: {command: [test, -f, %s]}, periodSeconds: 1, failureThreshold: 1}\n        livenessProbe: {exec: {command: [test, '!', -f, %s]}, periodSeconds: 1, failureThreshold: 1}",
		healthy, healthy+".dead")
	details = strings.Replace(details, "readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}", probe, 1)
	save(t, file, front+"metadata: {name: details}\nspec:\n  replicas: 2"+details)
	save(t, healthy, "")
	m := up(t, dir)
	answers := func(want bool) func() error {
		return func() error {
			if _, _, body := m.get(t, "/"); strings.Contains(body, `"pod":"details-`) != want {
				return fmt.Errorf("details answers: %v: %s", !want, body)
			}
			return nil
		}
	}
	eventually(t, patience, "details answers", answers(true))
	if err := os.Remove(healthy); err != nil {
		t.Fatal(err)
	}
	m.await(t, patience, "weft ps says that details is not ready", func(pods []weftcli.Pod) bool { return ready(pods, "details") == 0 })
	eventually(t, patience, "details gets no calls", answers(false))
	save(t, healthy, "")
	m.await(t, patience, "details is ready again", func(pods []weftcli.Pod) bool { return ready(pods, "details") == 2 })
	eventually(t, patience, "details answers again", answers(true))
	save(t, healthy+".dead", "")
	eventually(t, patience, "weft ps shows restarts", func() error {
		out, err := weft(t.Context(), m, "ps", "--name", m.Name, "-o", "json")
		if err != nil || !restarted.MatchString(out) {
			return fmt.Errorf("%s %w", out, err)
		}
		return nil
	})
	if err := os.Remove(healthy + ".dead"); err != nil {
		t.Fatal(err)
	}
	m.awaitAll(t)
}

// restarted: at least once; a machine that stalls sees no more of the first one.
var restarted = regexp.MustCompile(`"restarts": [1-9]`)

// ready counts a Deployment's ready pods.
func ready(pods []weftcli.Pod, deployment string) (n int) {
	for _, p := range pods {
		if p.Workload == deployment && p.Ready {
			n++
		}
	}
	return n
}
