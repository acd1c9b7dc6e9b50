package local

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func routes(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("testdata/route.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Whatever is saved, what was good before goes on, and weft ps names file,
// line and field.
func TestMistakesInFiles(t *testing.T) {
	dir := folder(t)
	m := up(t, dir)
	file := filepath.Join(dir, "route.yaml")
	for _, c := range []struct{ what, from, to, says string }{
		{"YAML that does not parse", "hosts: [\"*\"]", "hosts: [", file + ":"},
		{"an unknown field", "hosts: [\"*\"]", "hosts: [\"*\"]\n  hots: []", file + ":6: error WEFT0003 VirtualService default/front spec.hots"},
		{"an unknown kind", "kind: VirtualService", "kind: VirtualServce", "unknown kind VirtualServce"},
		{"a status that is none", "route: [{destination: {host: front}}]", "fault: {abort: {httpStatus: 600, percentage: {value: 100}}}\n    route: [{destination: {host: front}}]", "spec.http[1].fault.abort.httpStatus"},
		{"a regex that does not compile", "prefix: /gone", "regex: \"(\"", "spec.http[0].match[0].uri.regex"},
		{"a host that does not exist", "", "", "spec.http[0].route[0].destination.host"},
	} {
		t.Run(c.what, func(t *testing.T) {
			save(t, file, strings.Replace(routes(t), c.from, c.to, 1))
			eventually(t, patience, "weft ps names the mistake", func() error {
				out, err := weft(t.Context(), m, "ps", "--name", m.Name)
				if err != nil || !strings.Contains(out, c.says) {
					return fmt.Errorf("%q is not in %s %v", c.says, out, err)
				}
				return nil
			})
			if status, header, body := m.get(t, "/"); status != 200 || header.Get("x-revision") != "1" {
				t.Errorf("the good part is not live: %d %v %s", status, header, body)
			}
		})
	}
	save(t, file, routes(t))
	eventually(t, patience, "a route to nowhere answers 503", func() error {
		if status, _, _ := m.get(t, "/gone"); status != 503 {
			return fmt.Errorf("it answers %d", status)
		}
		return nil
	})
	m.awaitAll(t)
}

func TestAppThatEndsIsTakenOutAndRestarted(t *testing.T) {
	m := up(t, folder(t))
	pods, err := m.PodsOf(t.Context(), "details")
	if err != nil {
		t.Fatal(err)
	}
	load := m.steady(t)
	load.lasts(t, 20)
	kill(t, m.pid(t, pods[0].Name, "bookshop"))
	// What ran in it is lost; what comes once its endpoint is out is not.
	out := time.Now().Add(500 * time.Millisecond)
	eventually(t, patience, "weft ps shows the restart", func() error {
		out, err := weft(t.Context(), m, "ps", "--name", m.Name)
		if err != nil {
			return err
		}
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) > 5 && f[1] == pods[0].Name && f[5] == "1" {
				return nil
			}
		}
		return fmt.Errorf("no restart of %s in\n%s", pods[0].Name, out)
	})
	m.awaitAll(t)
	load.lasts(t, 100)
	for _, f := range load.failures() {
		if f.Start.After(out) {
			t.Errorf("a request failed, though another replica ran: %+v", f)
		}
	}
}

func TestUpSaysWhichPodIsNotReady(t *testing.T) {
	dir := folder(t)
	text, err := os.ReadFile(filepath.Join(dir, "mesh.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, "mesh.yaml"), strings.Replace(string(text), "readinessProbe: {httpGet: {path: /healthz, port: 8080}", "readinessProbe: {httpGet: {path: /nothing-here, port: 9}", 1))
	m := &running{}
	m.Mesh = upMesh(t, dir)
	out, err := weft(t.Context(), m, "up", dir, "--detach", "--name", m.Name, "--timeout", patience.String(), "--publish", "80=127.0.0.1:0")
	t.Cleanup(func() { _, _ = weft(context.Background(), m, "down", "--name", m.Name) })
	if err == nil || !strings.Contains(out, "pod default/front-") || !strings.Contains(out, "is not ready: front: ") {
		t.Fatalf("got %v:\n%s", err, out)
	}
}
