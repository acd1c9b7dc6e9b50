package local

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/test/weftcli"
)

// newConnections has every request open a connection of its own.
const newConnections = `apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s}
spec:
  host: %[1]s
  trafficPolicy: {connectionPool: {http: {maxRequestsPerConnection: 1}}}
`

type rotationStatus struct {
	Stage   string
	Waiting []struct{ Name, Why string }
	Roots   []struct {
		Fingerprint string
		Signs       bool
	}
}

func (m *running) rotation(t *testing.T) (s rotationStatus, err error) {
	t.Helper()
	out, err := weft(t.Context(), m, "ca", "status", "-o", "json", "--name", m.Name)
	if err != nil {
		return s, fmt.Errorf("%w: %s", err, out)
	}
	return s, json.Unmarshal([]byte(out), &s)
}

func (m *running) reach(t *testing.T, stage string) (s rotationStatus) {
	t.Helper()
	eventually(t, 2*time.Minute, "the rotation is in "+stage, func() (err error) {
		if s, err = m.rotation(t); err == nil && s.Stage != stage {
			err = fmt.Errorf("in %s, waiting for %v", s.Stage, s.Waiting)
		}
		return err
	})
	return s
}

// TestRootRotation changes the root of a mesh of ten proxies in which each
// request opens connections of its own, while in each stage what takes part in it
// dies: the CA in all of them, agents and the pilot in those that wait for them.
func TestRootRotation(t *testing.T) {
	dir := folder(t)
	save(t, filepath.Join(dir, "connections.yaml"), fmt.Sprintf(newConnections, "front")+"---\n"+fmt.Sprintf(newConnections, "details"))
	mesh := filepath.Join(dir, "mesh.yaml")
	text, err := os.ReadFile(mesh)
	if err != nil {
		t.Fatal(err)
	}
	save(t, mesh, strings.Replace(string(text), "replicas: 2", "replicas: 8", 1))
	m := up(t, dir)
	m.await(t, 2*time.Minute, "twelve pods are ready and in sync", func(pods []weftcli.Pod) bool {
		ready := 0
		for _, p := range pods {
			if p.Ready && p.Synced != "no" {
				ready++
			}
		}
		return ready == len(pods) && ready >= 12
	})
	before := m.reach(t, "None")
	load := m.steady(t)
	load.lasts(t, 100)
	for _, death := range m.deaths(t) {
		pid := m.pid(t, death.pod, death.binary)
		m.during(t, death.stage)
		kill(t, pid)
		eventually(t, patience, fmt.Sprintf("in %s the %s of %s was killed, and is back", death.stage, death.binary, death.pod), func() error {
			if now, ok := m.find(t, death.pod, death.binary); !ok || now == pid {
				return errors.New("there is none")
			}
			return nil
		})
	}
	after := m.reach(t, "Dropped")
	m.await(t, patience, "all pods are in sync", func(pods []weftcli.Pod) bool {
		return !slices.ContainsFunc(pods, func(p weftcli.Pod) bool { return !p.Ready || p.Synced == "no" })
	})
	load.lasts(t, 100)
	all, failed := load.count()
	t.Logf("%d requests through the gateway, %d failed", all, failed)
	for _, f := range load.failures() {
		t.Errorf("%+v", f)
	}
	if len(after.Roots) != 1 || after.Roots[0].Fingerprint == before.Roots[0].Fingerprint {
		t.Errorf("roots before %v, after %v", before.Roots, after.Roots)
	}
	m.handshakes(t, all)
}

// death is of a process of a pod, in a stage of a rotation.
type death struct{ stage, pod, binary string }

// deaths are in the order in which a rotation has their stages. A CA that dies in
// Trusted goes back to Distribute, for it has not heard everybody since.
func (m *running) deaths(t *testing.T) (out []death) {
	t.Helper()
	pod := func(deployment string) string {
		pods, err := m.PodsOf(t.Context(), deployment)
		if err != nil || len(pods) == 0 {
			t.Fatalf("no pods of %s: %v", deployment, err)
		}
		return pods[0].Name
	}
	ca, pilot := death{pod: "weft-ca", binary: "ca"}, death{pod: "weft-pilot", binary: "pilot"}
	client, server := death{pod: pod("front"), binary: "agent"}, death{pod: pod("details"), binary: "agent"}
	gateway := death{pod: pod("istio-ingressgateway"), binary: "agent"}
	for _, at := range []struct {
		stage string
		dies  []death
	}{
		{"Distribute", []death{ca, pilot, client, server, gateway}},
		{"Trusted", []death{ca}},
		{"Issue", []death{ca, pilot, client, server, gateway}},
		{"Drained", []death{ca}},
		{"Dropped", []death{ca, pilot, server}},
	} {
		for _, d := range at.dies {
			d.stage = at.stage
			out = append(out, d)
		}
	}
	return out
}

// during waits until a rotation is in a stage, and begins one where none is under
// way: one that was over before anybody looked has to come again.
func (m *running) during(t *testing.T, stage string) {
	t.Helper()
	mesh, err := local.Connect(m.Name)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, 3*time.Minute, "the rotation is in "+stage, func() error {
		s, err := rotationOf(mesh.HTTP())
		if err == nil && s.Stage == stage {
			return nil
		}
		if err == nil && (s.Stage == "None" || s.Stage == "Dropped") {
			if out, err := weft(t.Context(), m, "ca", "rotate", "--name", m.Name); err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
		}
		return fmt.Errorf("in %q, waiting for %v: %w", s.Stage, s.Waiting, err)
	})
}

// rotationOf asks without a process of its own: some stages are short.
func rotationOf(mesh *http.Client) (s rotationStatus, err error) {
	resp, err := mesh.Get("http://mesh/v1/ca/rotation")
	if err != nil {
		return s, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return s, errors.New(resp.Status)
	}
	return s, json.NewDecoder(resp.Body).Decode(&s)
}

// handshakes wants of the caller's Envoy that it took a connection of its own for
// each request. Under STRICT each is a handshake of mutual TLS.
func (m *running) handshakes(t *testing.T, least int) {
	t.Helper()
	pods, err := m.PodsOf(t.Context(), "front")
	if err != nil {
		t.Fatal(err)
	}
	mesh, err := local.Connect(m.Name)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := mesh.HTTP().Get("http://mesh/v1/pods/" + pods[0].Namespace + "/" + pods[0].Name + "/envoy/stats?filter=downstream_cx_http")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%d %v: %s", resp.StatusCode, err, text)
	}
	sum := 0
	for line := range strings.Lines(string(text)) {
		if name, value, _ := strings.Cut(strings.TrimSpace(line), ": "); strings.Contains(name, "inbound|8080") {
			n, _ := strconv.Atoi(value)
			sum += n
		}
	}
	t.Logf("%d connections for %d requests", sum, least)
	if sum < least {
		t.Errorf("%d connections for %d requests:\n%s", sum, least, text)
	}
}
