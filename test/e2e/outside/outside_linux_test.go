package outside

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/test/cluster"
	"github.com/weftmesh/weft/test/e2e/rig"
)

const objects = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, labels: {istio-injection: enabled}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: legacy, namespace: shop}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: legacy, namespace: shop}
spec:
  metadata: {labels: {app: carts}}
  template: {serviceAccount: legacy}
  probe: {periodSeconds: 1, failureThreshold: 1, httpGet: {path: /, port: 8080}}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: billing, namespace: shop}
---
apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: {name: billing, namespace: shop}
spec:
  metadata: {labels: {app: billing}}
  template: {serviceAccount: billing}
---
apiVersion: v1
kind: Service
metadata: {name: carts, namespace: shop}
spec: {selector: {app: carts}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {selector: {app: web}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, namespace: shop}
spec:
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      terminationGracePeriodSeconds: 0
      containers: [{name: app, image: "localhost/weft-test/app:1"}]
---
apiVersion: security.istio.io/v1
kind: PeerAuthentication
metadata: {name: strict, namespace: shop}
spec: {mtls: {mode: STRICT}}
`

// bench is a cluster, and a machine beside it.
type bench struct {
	*rig.Rig
	path string // the machine's PATH
}

func TestMachineJoins(t *testing.T) {
	b := &bench{Rig: rig.New(t, rig.Program{Package: "./test/e2e/reach/app", Args: []string{"serve"}})}
	b.Install("", append([]string{"outside.type=NodePort", "gateways.ingress.enabled=false"}, rig.Lean...)...)
	b.Must(objects, "apply", "-f", "-")
	b.Must("", "-n", "shop", "wait", "--for=condition=Available", "deployment/web", "--timeout=120s")
	b.programs()
	app := b.start("app", "serve")

	dir := b.join("legacy", cluster.Outside.String())
	first := b.start(filepath.Join(dir, "start.sh"))
	b.called()
	b.calls()
	b.unwell(app)
	b.leaves(first)
	b.MustWeft("", "workload", "token", "legacy-10-89-0-200", "-n", "shop", "--dir", dir)
	second := b.start(filepath.Join(dir, "start.sh"))
	b.called() // after a restart, with the new token
	b.leaves(second)
	b.borrowed(dir)
	b.takenBack(dir)
}

// join makes a machine of a group, and returns its folder.
func (b *bench) join(group, address string) string {
	b.Helper()
	dir := filepath.Join(b.TempDir(), "machine")
	out := b.MustWeft("", "workload", "add", group, "-n", "shop", "--address", address, "--dir", dir, "--pilot", b.door("weft-pilot-outside"), "--ca", b.door("weft-ca-outside"))
	if !strings.Contains(out, "start.sh") {
		b.Errorf("it does not say what to do next:\n%s", out)
	}
	return dir
}

// program runs on the machine.
type program struct {
	pid string // there, in a file
	*exec.Cmd
	out *lines
}

// lines is what a program prints, also on the test's log.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
	also io.Writer
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.text.Write(p)
	l.mu.Unlock()
	return l.also.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// programs puts what a machine needs where every user can read it, which a
// test's own folder is not.
func (b *bench) programs() {
	b.Helper()
	envoy, err := envoybin.Ensure(b.Context(), func(string) {})
	if err != nil {
		b.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "weft-machine-*")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		b.Fatal(err)
	}
	for name, from := range map[string]string{"envoy": envoy, "agent": filepath.Join(b.Bin, "agent"), "capture": filepath.Join(b.Bin, "capture")} {
		text, err := os.ReadFile(from)
		if err == nil {
			err = os.WriteFile(filepath.Join(dir, name), text, 0o755)
		}
		if err != nil {
			b.Fatal(err)
		}
	}
	b.path = "PATH=" + dir + ":" + os.Getenv("PATH")
}

// start runs a program on the machine until the test's end.
func (b *bench) start(name string, args ...string) *program {
	b.Helper()
	p := &program{pid: filepath.Join(b.TempDir(), "pid"), out: &lines{also: b.Output()}}
	if !strings.Contains(name, "/") {
		name = filepath.Join(b.Bin, name)
	}
	p.Cmd = b.onMachine(append([]string{"/bin/sh", "-c", `echo $$ > "$0"; exec "$@"`, p.pid, name}, args...)...)
	p.Stdout, p.Stderr = p.out, p.out
	p.WaitDelay = time.Second // Envoy outlives an agent that is killed
	p.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = syscall.Kill(-p.Process.Pid, syscall.SIGKILL)
		_ = p.Wait() // it was killed
	})
	return p
}

func (b *bench) onMachine(argv ...string) *exec.Cmd {
	b.Helper()
	cmd := exec.CommandContext(b.Context(), argv[0], argv[1:]...)
	if !strings.Contains(argv[0], "/") {
		cmd = exec.CommandContext(b.Context(), filepath.Join(b.Bin, argv[0]), argv[1:]...)
	}
	cmd.Env = append(os.Environ(), b.path)
	if err := b.Inside("outside", cmd); err != nil {
		b.Fatal(err)
	}
	return cmd
}

// door is a node port of a Service, at the first node.
func (b *bench) door(service string) string {
	b.Helper()
	return fmt.Sprintf("%v:%s", b.Node(1).Address(), b.Must("", "-n", "weft-system", "get", "service", service, "-o", "jsonpath={.spec.ports[0].nodePort}"))
}

// seen is what the app says of a request.
type seen struct{ Headers http.Header }

func (s seen) peer() string { return s.Headers.Get("X-Forwarded-Client-Cert") }

func read(text string, err error) (out seen, _ error) {
	if err == nil {
		err = json.Unmarshal([]byte(text), &out)
	}
	return out, err
}

func (b *bench) fromPod() (seen, error) {
	return read(b.Printed("-n", "shop", "deploy/web", "-c", "app", "--", "/app", "get", "http://carts/"))
}

// called: a pod calls the machine by its Service's name, over mTLS.
func (b *bench) called() {
	b.Helper()
	b.Eventually("the machine is called as carts", func() error {
		got, err := b.fromPod()
		if err == nil && !strings.Contains(got.peer(), "URI=spiffe://cluster.local/ns/shop/sa/default") {
			err = fmt.Errorf("its caller is %q", got.peer())
		}
		return err
	})
}

// calls: the machine calls a pod by its Service's name, and is known by its
// group's service account.
func (b *bench) calls() {
	b.Helper()
	b.Eventually("the machine calls web", func() error {
		out, err := b.onMachine("app", "get", "http://web.shop/").Output()
		got, err := read(string(out), err)
		if err == nil && !strings.Contains(got.peer(), "URI=spiffe://cluster.local/ns/shop/sa/legacy") {
			err = fmt.Errorf("the pod's caller is %q", got.peer())
		}
		return err
	})
	if out := b.MustWeft("", "proxy-status"); !strings.Contains(out, "legacy-10-89-0-200.shop") {
		b.Errorf("weft proxy-status does not list the machine:\n%s", out)
	}
}

// unwell: while the group's probe fails nobody is sent to the machine, and its
// WorkloadEntry says so; it is back when the probe holds.
func (b *bench) unwell(app *program) {
	b.Helper()
	b.end(app)
	_ = app.Wait() // a signal ended it
	b.isHealthy("False")
	b.Eventually("nobody is sent to a machine that is not well", func() error { return b.out() })
	b.start("app", "serve")
	b.isHealthy("True")
	b.called()
}

// isHealthy waits for a condition of the machine's WorkloadEntry.
func (b *bench) isHealthy(want string) {
	b.Helper()
	b.Eventually("the machine's condition Healthy is "+want, func() error {
		got, err := b.Kubectl("", "-n", "shop", "get", "workloadentry", "legacy-10-89-0-200", "-o", `jsonpath={.status.conditions[?(@.type=="Healthy")].status}`)
		if err == nil && got != want {
			err = fmt.Errorf("it is %q", got)
		}
		return err
	})
}

// out says why carts still has an endpoint.
func (b *bench) out() error {
	out, err := b.fromPod()
	if err == nil {
		return fmt.Errorf("it answers: %v", out)
	}
	if !strings.Contains(err.Error(), "503") {
		return fmt.Errorf("it is refused by another: %w", err)
	}
	return nil
}

// leaves: at the end of start.sh the machine's traffic is its own again.
func (b *bench) leaves(p *program) {
	b.Helper()
	if out, err := b.onMachine("/usr/sbin/nft", "list", "tables").Output(); err != nil || !strings.Contains(string(out), "weft") {
		b.Errorf("while it is in the mesh: nft says %q, %v", out, err)
	}
	b.end(p)
	b.Eventually("the machine's rules are gone", func() error {
		out, err := b.onMachine("/usr/sbin/nft", "list", "tables").Output()
		if err == nil && strings.Contains(string(out), "weft") {
			err = fmt.Errorf("nft says %s", out)
		}
		return err
	})
	if err := p.Wait(); err != nil {
		b.Errorf("start.sh: %v", err)
	}
}

// end sends SIGTERM to a program itself: p is what took it into the machine.
func (b *bench) end(p *program) {
	b.Helper()
	pid, err := os.ReadFile(p.pid)
	if err == nil {
		err = b.onMachine("/bin/kill", "-TERM", strings.TrimSpace(string(pid))).Run()
	}
	if err != nil {
		b.Fatal(err)
	}
}

// refused: with this folder a machine gets no certificate.
func (b *bench) refused(dir, why string) {
	b.Helper()
	p := b.start(filepath.Join(dir, "start.sh"))
	b.Eventually("the CA refuses: "+why, func() error {
		if out := p.out.String(); !strings.Contains(out, why) || strings.Contains(out, "certificate issued") {
			return fmt.Errorf("the agent says %s", out)
		}
		return nil
	})
	b.end(p)
	_ = p.Wait() // its agent never was ready
}

// borrowed: with another machine's token a machine is nobody.
func (b *bench) borrowed(dir string) {
	b.Helper()
	other := b.join("billing", cluster.Outside.String())
	token, err := os.ReadFile(filepath.Join(dir, "token"))
	if err == nil {
		err = os.WriteFile(filepath.Join(other, "token"), token, 0o600)
	}
	if err != nil {
		b.Fatal(err)
	}
	b.refused(other, "PermissionDenied")
	b.Must("", "-n", "shop", "delete", "workloadentry", "billing-10-89-0-200")
}

// takenBack: without its WorkloadEntry the machine is no longer called, and has
// no token.
func (b *bench) takenBack(dir string) {
	b.Helper()
	b.Must("", "-n", "shop", "delete", "workloadentry", "legacy-10-89-0-200")
	b.refused(dir, "Unauthenticated")
	b.Eventually("nobody is behind carts", func() error {
		if got, err := b.fromPod(); err == nil {
			return fmt.Errorf("it answers: %v", got)
		}
		return nil
	})
	if s := b.Weft("", "workload", "token", "legacy-10-89-0-200", "-n", "shop", "--dir", dir); s.Code != 1 || !strings.Contains(s.Err, "not found") {
		b.Errorf("a token of an entry that is gone: %v", s)
	}
	b.Eventually("its Secret is gone too", func() error {
		if out := b.Must("", "-n", "shop", "get", "secrets", "-o", "name"); strings.Contains(out, "legacy-") {
			return fmt.Errorf("there is %s", out)
		}
		return nil
	})
}
