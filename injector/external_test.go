package injector

import (
	"os"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

// The annotations of the guide mount another SDS server's socket where the agent
// looks for it: into the proxy, and no other container.
func TestGuideMountsAnotherSDSServer(t *testing.T) {
	text, err := os.ReadFile("../docs/guides/certificates.md")
	if err != nil {
		t.Fatal(err)
	}
	_, after, _ := strings.Cut(string(text), "```yaml\n")
	block, _, _ := strings.Cut(after, "```")
	pod := podWith(nil)
	name := pod.Name
	if err := yaml.Unmarshal([]byte(block), pod); err != nil {
		t.Fatal(err)
	}
	pod.Name = name
	out, err := Inject(pod, Values{NativeSidecars: true})
	if err != nil {
		t.Fatal(err)
	}
	mounted := map[string]bool{}
	for _, c := range append(append([]corev1.Container{}, out.Spec.Containers...), out.Spec.InitContainers...) {
		for _, m := range c.VolumeMounts {
			if m.Name == "workload-socket" && m.MountPath == "/var/run/secrets/workload-spiffe-uds" && m.ReadOnly {
				mounted[c.Name] = true
			}
		}
	}
	if len(mounted) != 1 || !mounted["istio-proxy"] {
		t.Errorf("mounted in %v", mounted)
	}
	for _, v := range out.Spec.Volumes {
		if v.Name == "workload-socket" && v.CSI != nil && v.CSI.Driver == "csi.spiffe.io" {
			return
		}
	}
	t.Error("the volume is not there")
}
