package injector

import (
	"os"
	"strings"
	"testing"

	"istio.io/api/annotation"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestGuide: the guide names each annotation of a pod that Istio has or that we
// read, and says of those that do nothing that they do.
func TestGuide(t *testing.T) {
	text, err := os.ReadFile("../docs/guides/injection.md")
	if err != nil {
		t.Fatal(err)
	}
	guide := string(text)
	line := func(name string) string {
		_, rest, _ := strings.Cut(guide, "| `"+name+"` |")
		out, _, _ := strings.Cut(rest, "\n")
		return out
	}
	for name := range honoured {
		if line(name) == "" {
			t.Errorf("%s is honoured, and not in the guide", name)
		}
	}
	for name := range refused {
		if !strings.Contains(line(name), "refused:") {
			t.Errorf("%s is refused; the guide says %q", name, line(name))
		}
	}
	for name := range ignored {
		if !strings.Contains(line(name), "ignored:") {
			t.Errorf("%s is ignored; the guide says %q", name, line(name))
		}
	}
	for _, a := range annotation.AllResourceAnnotations() {
		pod := false
		for _, r := range a.Resources {
			pod = pod || r == annotation.Pod
		}
		other := strings.HasPrefix(a.Name, "ambient.") || a.Name == "istio.io/rev"
		if pod && !other && line(a.Name) == "" {
			t.Errorf("%s is one of Istio's for pods, and not in the guide: honour, refuse or ignore it", a.Name)
		}
	}
}

// An app that names several pages of metrics hears that one alone is read.
func TestScrapeTargetsAreWarnedOf(t *testing.T) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{"prometheus.istio.io/scrape-targets": "8080:/metrics,9090:/metrics"}}}
	if got := Warnings(pod); len(got) != 1 || !strings.Contains(got[0], "prometheus.io/port") {
		t.Errorf("warnings: %q", got)
	}
}
