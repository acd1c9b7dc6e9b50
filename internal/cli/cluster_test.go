package cli

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// kubeconfig names a cluster that is not there.
func kubeconfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "config")
	text := `{apiVersion: v1, kind: Config, current-context: here, contexts: [{name: here, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}], users: [{name: u, user: {token: t}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Commands for a cluster say what is wrong before they change anything.
func TestClusterCommandsWrong(t *testing.T) {
	t.Setenv("WEFT_MESH", "")
	t.Setenv("KUBECONFIG", filepath.Join(t.TempDir(), "none"))
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	away := " --kubeconfig " + kubeconfig(t)
	for _, c := range []struct {
		args, says string
		code       int
	}{
		{"install --set gatways.ingress.enabled=false", "did you mean gateways?", 2},
		{"install --profile prod", "default, demo, minimal", 2},
		{"install extra", "usage: weft install", 2},
		{"install", "no cluster: there is no kubeconfig", 1},
		{"check", "no cluster: there is no kubeconfig", 1},
		{"check -o wide", "it may be json or yaml", 2},
		{"install" + away, "does not answer", 1},
		{"uninstall -y" + away, "does not answer", 1},
		{"upgrade -y" + away, "does not answer", 1},
		{"check --pre" + away, "does not answer", 1},
		{"proxy-status" + away, "does not answer", 1},
		{"check --context nowhere" + away, "nowhere", 1},
		{"proxy-status --name here" + away, "give one of them", 2},
		{"manifest generate --set pilot.replicas=x", "value pilot.replicas: got string, want integer", 2},
	} {
		if code, _, err := run(t, strings.Fields(c.args)...); code != c.code || !strings.Contains(err, c.says) {
			t.Errorf("weft %s: exit code %d, want %d; it says %q, want %q", c.args, code, c.code, err, c.says)
		}
	}
}

func TestManifestGenerate(t *testing.T) {
	code, out, err := run(t, "manifest", "generate", "--profile", "minimal", "-n", "mesh")
	for _, want := range []string{"kind: CustomResourceDefinition", "name: weft-pilot\n", "namespace: mesh\n", "localhost/weft/pilot:v1.2.3", "kind: MutatingWebhookConfiguration"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("exit code %d %s: no %q", code, err, want)
		}
	}
	if code, out, _ := run(t, "manifest", "generate", "-o", "json"); code != 0 || !strings.HasPrefix(out, "{") || !strings.Contains(out, `"kind": "List"`) {
		t.Errorf("exit code %d: %.100s", code, out)
	}
}

// Without a cluster of that name, a version is that of the command.
func TestVersionWithoutCluster(t *testing.T) {
	t.Setenv("KUBECONFIG", kubeconfig(t))
	if code, out, err := run(t, "version"); code != 0 || !strings.HasPrefix(out, "weft v1.2.3 (") || !strings.Contains(err, "cluster:") {
		t.Errorf("exit code %d: %s %s", code, out, err)
	}
	if code, out, err := run(t, "version", "--client", "-o", "yaml"); code != 0 || !strings.Contains(out, "version: v1.2.3\n") || err != "" {
		t.Errorf("exit code %d: %s %s", code, out, err)
	}
	if code, _, _ := run(t, "version", "--context", "here"); code != 1 {
		t.Errorf("a cluster that was asked for and is away: exit code %d", code)
	}
}

// A question without a terminal is an error that says how to answer.
func TestConfirmWithoutTerminal(t *testing.T) {
	null, err := os.Open(os.DevNull)
	if err != nil {
		t.Fatal(err)
	}
	stdin := os.Stdin
	os.Stdin = null
	t.Cleanup(func() { os.Stdin = stdin; _ = null.Close() })
	a := &app{err: io.Discard}
	if err := a.confirm(false, "Do it?"); err == nil || a.code(err) != 2 || !strings.Contains(err.Error(), "-y") {
		t.Error(err)
	}
	if err := a.confirm(true, "Do it?"); err != nil {
		t.Error(err)
	}
}

func TestPodOfCluster(t *testing.T) {
	p := podStatus(&corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-5d4-abc", GenerateName: "web-5d4-", Labels: map[string]string{"pod-template-hash": "5d4"}},
		Spec:       corev1.PodSpec{InitContainers: []corev1.Container{{Name: "istio-proxy"}}},
		Status:     corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}},
	})
	if p.Workload != "web" || !p.Ready || p.Synced == "" || p.Phase != "Running" {
		t.Errorf("%+v", p)
	}
	yes := true
	job := podStatus(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: "backup-29384710-x", GenerateName: "backup-29384710-", OwnerReferences: []metav1.OwnerReference{{Kind: "Job", Name: "backup-29384710", Controller: &yes}},
	}})
	if job.Workload != "backup" {
		t.Errorf("%+v", job)
	}
	bare := podStatus(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "db-0", GenerateName: "db-"}})
	if bare.Workload != "db" || bare.Synced != "" || bare.Ready {
		t.Errorf("%+v", bare)
	}
}
