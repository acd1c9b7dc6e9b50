package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// apiServer knows two pods, and what their containers print.
func apiServer(t *testing.T) (kubeconfig string, asked *[]string) {
	t.Helper()
	asked = &[]string{}
	pod := func(name string, containers ...string) corev1.Pod {
		p := corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name + "-5d4-abc", GenerateName: name + "-5d4-", Labels: map[string]string{"pod-template-hash": "5d4"}}}
		p.Status.Phase = corev1.PodRunning
		for _, c := range containers {
			p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c})
		}
		return p
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, name, isLog := strings.Cut(strings.TrimSuffix(r.URL.Path, "/log"), "/namespaces/shop/pods/"); isLog {
			*asked = append(*asked, name+"?"+r.URL.RawQuery)
			fmt.Fprintf(w, "started\n%s\n%s\n", textOK, textFailed)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(corev1.PodList{
			TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "PodList"}, Items: []corev1.Pod{pod("web", "istio-proxy", "app"), pod("gate", "istio-proxy")},
		})
	}))
	t.Cleanup(server.Close)
	kubeconfig = filepath.Join(t.TempDir(), "config")
	text := `{apiVersion: v1, kind: Config, current-context: here, contexts: [{name: here, context: {cluster: c, user: u}}],
clusters: [{name: c, cluster: {server: "` + server.URL + `"}}], users: [{name: u, user: {}}]}`
	if err := os.WriteFile(kubeconfig, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubeconfig, asked
}

func TestLogsOfCluster(t *testing.T) {
	t.Setenv("WEFT_MESH", "")
	file, asked := apiServer(t)
	whole := "started\n" + textOK + "\n" + textFailed + "\n"
	for _, c := range []struct{ args, asks, out string }{
		{"logs web", "web-5d4-abc?container=app", whole},
		{"logs gate -n shop --tail 5 --since 90s", "gate-5d4-abc?container=istio-proxy&sinceSeconds=90&tailLines=5", whole},
		{"logs shop/web-5d4-abc -c istio-proxy -f", "web-5d4-abc?container=istio-proxy&follow=true", whole},
		{"logs web --status 4xx", "web-5d4-abc?container=istio-proxy", textOK + "\n"},
		{"logs web --flags URX -o json", "web-5d4-abc?container=istio-proxy", `{"authority":"reviews",`},
		{"logs nosuch", "", ""},
	} {
		*asked = nil
		var out, problems bytes.Buffer
		a := &app{version: "v1.2.3", out: &out, err: &problems}
		root := a.command()
		root.SetArgs(append(strings.Fields(c.args), "--kubeconfig", file))
		code := a.code(root.ExecuteContext(t.Context()))
		if c.asks == "" {
			if code != 1 || !strings.Contains(problems.String(), "kubectl get pods -A lists them") {
				t.Errorf("%s: exit code %d, %s", c.args, code, problems.String())
			}
			continue
		}
		if strings.Join(*asked, " ") != c.asks || code != 0 || !strings.HasPrefix(out.String(), c.out) || strings.HasSuffix(c.out, "\n") && out.String() != c.out {
			t.Errorf("%s: exit code %d, asked %v, want %s\n%s%s", c.args, code, *asked, c.asks, out.String(), problems.String())
		}
	}
}

func TestLogsWrong(t *testing.T) {
	for _, c := range []struct{ args, says string }{
		{"logs web --status Unavailable", "has none of gRPC"},
		{"logs web --status 6xx", "a class as 5xx"},
		{"logs web --since -5m", "it must be more than 0"},
		{"logs web --tail -2", "a number of lines"},
		{"logs web -o yaml", "it may be json"},
	} {
		if code, _, err := run(t, strings.Fields(c.args)...); code != 2 || !strings.Contains(err, c.says) {
			t.Errorf("weft %s: exit code %d, %q, want %q", c.args, code, err, c.says)
		}
	}
}
