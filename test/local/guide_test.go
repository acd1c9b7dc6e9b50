package local

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/test/guide"
	"github.com/weftmesh/weft/test/weftcli"
)

// step is a part of a guide, in its order: a file to save, or a command and what
// it prints; "" where the guide does not say.
type step struct{ file, text, prints string }

// steps reads a guide; what is printed after several commands is the last one's.
func steps(t *testing.T, name string) (out []step) {
	t.Helper()
	g, err := guide.Read(filepath.Join("..", "..", "docs", "guides", name+".md"), "sh")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range g.Blocks {
		if b.File != "" {
			out = append(out, step{file: b.File, text: b.Text})
			continue
		}
		for line := range strings.Lines(b.Text) {
			out = append(out, step{text: strings.TrimSpace(line)})
		}
		out[len(out)-1].prints = b.Prints
	}
	return out
}

// site is a folder with bin/ and copies of samples, where guides are followed
// with a mesh of its own.
type site struct {
	*testing.T
	dir    string
	mesh   string
	sample string            // that is up; "": none
	ports  *strings.Replacer // of the guides, to free ones
}

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{T: t, dir: t.TempDir(), mesh: fmt.Sprintf("guide-%d", os.Getpid())}
	if err := os.Symlink(binaries(t), filepath.Join(s.dir, "bin")); err != nil {
		t.Fatal(err)
	}
	var ports []string
	for _, port := range []string{"127.0.0.1:8080", "127.0.0.1:8443"} {
		free, err := weftcli.FreePort(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port, fmt.Sprintf("127.0.0.1:%d", free))
	}
	s.ports = strings.NewReplacer(ports...)
	t.Cleanup(func() { _, _ = s.bash("bin/weft down") }) // where the guide did not come so far
	return s
}

// bash runs a command in the folder and gives all that it printed.
func (s *site) bash(line string) (string, error) {
	cmd := exec.Command("bash", "-c", s.ports.Replace(line))
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "WEFT_MESH="+s.mesh)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// fresh makes the folder's copy of a sample what the sample is.
func (s *site) fresh(sample string) {
	s.Helper()
	from, to := filepath.Join("..", "..", "samples", sample), filepath.Join(s.dir, "samples", sample)
	err := filepath.WalkDir(to, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(to, path)
		if err != nil {
			return err
		}
		if _, err := os.Stat(filepath.Join(from, rel)); errors.Is(err, fs.ErrNotExist) {
			return os.Remove(path)
		}
		return nil
	})
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		s.Fatal(err)
	}
	err = filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, path)
		if err != nil || d.IsDir() {
			return errors.Join(err, os.MkdirAll(filepath.Join(to, rel), 0o755))
		}
		text, err := os.ReadFile(path)
		if had, _ := os.ReadFile(filepath.Join(to, rel)); err != nil || bytes.Equal(had, text) {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), text, 0o644)
	})
	if err != nil {
		s.Fatal(err)
	}
}

// seen says what must hold of the output of commands that contain a text, beside
// what the guide says.
type seen map[string]func(out string) error

// upOf is the command that starts the mesh of a sample.
var upOf = regexp.MustCompile(`^bin/weft up samples/(\S+)`)

// follow does what guides say, one after the other. Each begins with its sample
// as it is; where that is up already it stays up, so that guides of one sample
// share a mesh.
func (s *site) follow(want seen, names ...string) {
	s.Helper()
	for _, name := range names {
		for _, step := range steps(s.T, name) {
			s.Logf("%s: %s%s", name, step.file, step.text)
			up := upOf.FindStringSubmatch(step.text)
			switch {
			case step.file != "":
				save(s.T, filepath.Join(s.dir, step.file), step.text)
			case up != nil && up[1] == s.sample:
				s.fresh(s.sample)
			case up != nil:
				s.down()
				s.sample = up[1]
				s.fresh(s.sample)
				step.text += " --publish 80=127.0.0.1:8080 --publish 443=127.0.0.1:8443" // as by default
				s.run(step, nil)
			case step.text != "bin/weft down":
				s.run(step, want)
			}
		}
	}
	s.down()
}

// down ends the mesh that is up.
func (s *site) down() {
	if s.sample != "" {
		s.run(step{text: "bin/weft down"}, nil)
	}
	s.sample = ""
}

// run gives a command until it prints what it should, or succeeds where nobody
// says what it prints.
func (s *site) run(of step, want seen) {
	s.Helper()
	eventually(s.T, time.Minute, of.text, func() error {
		out, err := s.bash(of.text)
		checked := false
		for text, check := range want {
			if strings.Contains(of.text, text) {
				checked = true
				if err := check(out); err != nil {
					return err
				}
			}
		}
		switch {
		case of.prints != "":
			return guide.Compare(of.prints, out)
		case err != nil && !checked:
			return fmt.Errorf("%w: %s", err, out)
		}
		return nil
	})
}

// prints wants a text in what a command prints, whether it ends well or not.
func prints(text string) func(string) error {
	return func(out string) error {
		if !strings.Contains(out, text) {
			return fmt.Errorf("%s, not %q", out, text)
		}
		return nil
	}
}

// first wants a text in the first row of a table.
func first(text string) func(string) error {
	return func(out string) error {
		if rows := strings.Split(out, "\n"); len(rows) < 2 || !strings.Contains(rows[1], text) {
			return fmt.Errorf("%s, without %q in its first row", out, text)
		}
		return nil
	}
}

// spread says whether a report's calls were answered well by so many pods over
// one connection.
func spread(pods int) func(string) error {
	return func(text string) error {
		var got load.GRPCReport
		if err := json.Unmarshal([]byte(text), &got); err != nil {
			return fmt.Errorf("%w: %s", err, text)
		}
		if got.Failed != 0 || got.Connections != 1 || len(got.ByPod) != pods {
			return fmt.Errorf("got %+v, want %d pods over one connection and no failure", got, pods)
		}
		for pod, n := range got.ByPod {
			if n < got.Total/pods/2 {
				return fmt.Errorf("%s answered %d of %d", pod, n, got.Total)
			}
		}
		return nil
	}
}

// The guides of TCP and of calls to the outside print what they say.
func TestTCPGuide(t *testing.T)    { newSite(t).follow(nil, "tcp") }
func TestEgressGuide(t *testing.T) { newSite(t).follow(nil, "egress") }

// Those of localities, balancing, scopes, EnvoyFilters and of a slow pod share a
// sample.
func TestLocalityGuides(t *testing.T) {
	newSite(t).follow(seen{
		"--requests 300": byVersion(func(n map[string]int) bool { return n["near"] <= 50 }), // half of an equal share
		`"version":"`: func(out string) error { // one line
			if strings.Count(out, "version") != 1 {
				return fmt.Errorf("answers of %q", out)
			}
			return nil
		},
		"x-user=anna":   byVersion(func(n map[string]int) bool { return len(n) == 1 }),
		"stat services": prints("reviews"), "stat routes": first("reviews-near"), "--once": first("reviews-near-"),
		"edges": first("default/client"), "--ejected": first("requests failed"),
	}, "locality", "balancing", "scope", "envoyfilter", "find-a-slow-pod")
}

// byVersion says whether each version of reviews answered as often as it should.
func byVersion(good func(map[string]int) bool) func(string) error {
	return func(text string) error {
		var got load.Report
		if err := json.Unmarshal([]byte(text), &got); err != nil || got.Services["reviews"] == nil || !good(got.Services["reviews"].ByVersion) {
			return fmt.Errorf("%w: %s", err, text)
		}
		return nil
	}
}

// The guide to tokens: checked at the gateway, routed by, and keys rotated.
func TestJWTGuide(t *testing.T) {
	newSite(t).follow(seen{
		"otto.token)": prints(`"version":"v2"`), `anna.token)" http://127.0.0.1:8080/ | grep`: prints(`"version":"v1"`),
	}, "jwt")
}

func TestRotateRootGuide(t *testing.T) { newSite(t).follow(nil, "rotate-root") }
func TestStrictGuide(t *testing.T)     { newSite(t).follow(nil, "strict") }
func TestGatewayTLSGuide(t *testing.T) { newSite(t).follow(nil, "gateway-tls") }

// The guide from a plain Envoy: one connection to the pods' name has one pod
// until its client has a sidecar; to the Envoy, and ever after, all three.
func TestPlainEnvoyGuide(t *testing.T) {
	calls := 0
	newSite(t).follow(seen{"grpc-load": func(out string) error {
		pods := 3
		if calls == 0 {
			pods = 1
		}
		err := spread(pods)(out)
		if err == nil {
			calls++
		}
		return err
	}}, "from-plain-envoy")
}

// The guide to gRPC without a proxy: unmodified grpc-go clients and servers
// beside sidecars, under STRICT mutual TLS.
func TestProxylessGuide(t *testing.T) {
	newSite(t).follow(seen{
		"--calls 1000": prints(`"spiffe://cluster.local/ns/default/sa/default": 1000`), "end-user=jason": prints(`"v2": 20`),
		"xds:///ratings": prints(`"v1": 20`), "grpc-load": prints(`"OK": 100`), "--calls 50": prints(`"v2": 50`), "--calls 30": prints(`"PermissionDenied": 30`),
		"--calls 1 ": prints(`"Unavailable": 1`), "analyze": prints("WEFT0160"), "describe": prints("2 without a proxy"), "proxy-status": prints("stars-v1"),
	}, "proxyless")
}
