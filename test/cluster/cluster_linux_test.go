package cluster_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/image"
	"github.com/weftmesh/weft/test/cluster"
	"github.com/weftmesh/weft/test/repository"
)

// echoImage is the archive of an HTTP server that answers with the name of its
// pod and the address of its caller, and can ask itself (test/cluster/echo).
func echoImage(t *testing.T) string {
	t.Helper()
	root, err := repository.Root()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags", "-s -w", "-o", dir+"/echo", "./test/cluster/echo")
	build.Dir, build.Env = root, append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	i := image.Image{
		Names: []string{"localhost/weft-test/echo:1"}, Files: map[string]string{"/echo": dir + "/echo"},
		Entrypoint: []string{"/echo"}, User: "65532:65532",
	}
	if err := i.Write(dir + "/echo.tar"); err != nil {
		t.Fatal(err)
	}
	return dir + "/echo.tar"
}

// one pod on each node, all behind one Service.
const echoes = `
apiVersion: apps/v1
kind: DaemonSet
metadata: {name: echo}
spec:
  selector: {matchLabels: {app: echo}}
  template:
    metadata: {labels: {app: echo}}
    spec:
      terminationGracePeriodSeconds: 0
      containers:
      - name: echo
        image: localhost/weft-test/echo:1
        ports: [{containerPort: 8080}]
        readinessProbe: {httpGet: {path: /, port: 8080}, periodSeconds: 1}
        securityContext: {readOnlyRootFilesystem: true, runAsNonRoot: true, allowPrivilegeEscalation: false, capabilities: {drop: [ALL]}}
---
apiVersion: v1
kind: Service
metadata: {name: echo}
spec:
  type: NodePort
  selector: {app: echo}
  ports: [{port: 80, targetPort: 8080, nodePort: 30080}]
`

func TestTwoNodes(t *testing.T) {
	start := time.Now()
	c := cluster.New(t, cluster.Options{Nodes: 2, LostAfter: 16 * time.Second, Images: []string{echoImage(t)}})
	t.Logf("up after %v", time.Since(start).Round(time.Millisecond))
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := c.Apply(ctx, echoes); err != nil {
		t.Fatal(err)
	}
	pods := podsOf(ctx, t, c)

	t.Run("each pod reaches the other by name", func(t *testing.T) {
		for _, from := range pods {
			seen := map[string]bool{}
			until(ctx, t, from.Name+" is answered by both pods", func() bool {
				answer, err := kubectl(ctx, t, c, "exec", from.Name, "--", "/echo", "get", "http://echo.default.svc.cluster.local/")
				if err != nil {
					return false // kube-proxy may not know the pods yet
				}
				seen[strings.Fields(answer)[0]] = true
				return seen[pods[0].Name] && seen[pods[1].Name]
			})
		}
	})
	t.Run("a client on the LAN reaches a NodePort", func(t *testing.T) {
		for n := 1; n <= 2; n++ {
			url := "http://" + c.Node(n).Address().String() + ":30080/"
			until(ctx, t, url, func() bool {
				answer, err := c.Client(ctx, "curl", "-sS", "--max-time", "2", url)
				return err == nil && strings.HasPrefix(answer, "echo-")
			})
		}
	})
	t.Run("the API server goes away and comes back", func(t *testing.T) {
		if err := c.KillAPIServer(); err != nil {
			t.Fatal(err)
		}
		client, err := c.Clientset()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := client.CoreV1().Nodes().List(ctx, metav1.ListOptions{}); err == nil {
			t.Error("the API server answers though it was killed")
		}
		if err := c.StartAPIServer(ctx); err != nil {
			t.Fatal(err)
		}
	})
	t.Run("a killed node leaves nothing", func(t *testing.T) { killNode(ctx, t, c) })
	down(t, c)
}

// killNode kills node 2, sees that nothing of it is left, and starts it again.
func killNode(ctx context.Context, t *testing.T, c *cluster.Cluster) {
	if err := c.Node(2).Kill(); err != nil {
		t.Fatal(err)
	}
	dir, err := cluster.Dir(c.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, left := range processes(t, dir+"/machines/node2", dir+"/etc/node2", dir+"/pki/node2", dir+" node2") {
		t.Errorf("left of node2: %s", left)
	}
	for _, left := range cgroups(t, "weft-cluster-"+c.Name()+"/node2") {
		t.Errorf("left of node2: cgroup %s", left)
	}
	links, err := c.Client(ctx, "ip", "-o", "link")
	if err != nil || strings.Contains(links, "to-node2") || !strings.Contains(links, "to-node1") {
		t.Errorf("interfaces of the LAN: %v\n%s", err, links)
	}
	client, err := c.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	until(ctx, t, "node2 is seen to be lost", func() bool {
		node, err := client.CoreV1().Nodes().Get(ctx, "node2", metav1.GetOptions{})
		if err != nil {
			return false
		}
		for _, condition := range node.Status.Conditions {
			if condition.Type == corev1.NodeReady {
				return condition.Status != corev1.ConditionTrue
			}
		}
		return false
	})
	if err := c.Node(2).Start(); err != nil {
		t.Fatal(err)
	}
	if err := c.Node(2).Ready(ctx); err != nil {
		t.Fatal(err)
	}
}

// down ends the cluster, and sees that nothing of it is left.
func down(t *testing.T, c *cluster.Cluster) {
	t.Helper()
	if err := c.Down(context.Background()); err != nil {
		t.Fatal(err)
	}
	gone(t, c.Name())
}

// gone sees that nothing of a cluster is left: no process, cgroup, mount or
// folder. Its network namespaces are its processes'.
func gone(t *testing.T, name string) {
	t.Helper()
	dir, err := cluster.Dir(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	// The keeper removes the folder as the last thing that it does.
	until(ctx, t, "all processes have ended", func() bool { return len(processes(t, dir)) == 0 })
	for _, left := range cgroups(t, "weft-cluster-"+name) {
		t.Errorf("left: cgroup %s", left)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(mounts), dir) {
		t.Errorf("a mount is left:\n%s", mounts)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s is left (%v)", dir, err)
	}
}

// processes are those of the whole machine whose command line has one of the
// texts.
func processes(t *testing.T, texts ...string) (found []string) {
	t.Helper()
	lines, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range lines {
		if path == "/proc/"+strconv.Itoa(os.Getpid())+"/cmdline" {
			continue
		}
		content, err := os.ReadFile(path)
		if err != nil {
			continue // it has ended
		}
		line := strings.ReplaceAll(string(content), "\x00", " ")
		for _, text := range texts {
			if strings.Contains(line, text) {
				found = append(found, line)
			}
		}
	}
	return found
}

func cgroups(t *testing.T, path string) []string {
	t.Helper()
	var found []string
	for _, pattern := range []string{"/sys/fs/cgroup/" + path, "/sys/fs/cgroup/*/" + path} {
		matches, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		found = append(found, matches...)
	}
	return found
}

// podsOf waits until both pods are ready.
func podsOf(ctx context.Context, t *testing.T, c *cluster.Cluster) []corev1.Pod {
	t.Helper()
	client, err := c.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	var ready []corev1.Pod
	until(ctx, t, "two ready pods", func() bool {
		list, err := client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "app=echo"})
		if err != nil {
			return false
		}
		ready = nil
		for _, p := range list.Items {
			for _, condition := range p.Status.Conditions {
				if condition.Type == corev1.PodReady && condition.Status == corev1.ConditionTrue {
					ready = append(ready, p)
				}
			}
		}
		return len(ready) == 2
	})
	if ready[0].Spec.NodeName == ready[1].Spec.NodeName {
		t.Fatalf("both pods are on %s", ready[0].Spec.NodeName)
	}
	return ready
}

// kubectl runs it as a user would, on this machine.
func kubectl(ctx context.Context, t *testing.T, c *cluster.Cluster, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(ctx, cluster.Kubectl(t), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+c.Kubeconfig())
	out, err := cmd.Output()
	return string(out), err
}

// until waits for a condition.
func until(ctx context.Context, t *testing.T, what string, holds func() bool) {
	t.Helper()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for !holds() {
		select {
		case <-ctx.Done():
			t.Fatalf("wait until %s: %v", what, ctx.Err())
		case <-tick.C:
		}
	}
}
