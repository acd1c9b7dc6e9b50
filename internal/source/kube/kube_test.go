package kube_test

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/internal/source/kube"
)

func TestCRDInstalledLater(t *testing.T) {
	s := newServer(t)
	crds, err := apis.CRDs()
	if err != nil {
		t.Fatal(err)
	}
	crd := string(crds["telemetry.istio.io_telemetries.yaml"])
	s.remove(crd)
	t.Cleanup(func() { s.apply(crd) })
	w := watch(t, s.options())
	w.first() // it does not wait for a kind that nobody serves
	s.apply(crd)
	s.eventually("apiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: t, namespace: shop}\nspec: {accessLogging: [{disabled: true}]}\n")
	w.await("the object of a new CRD", has(config.Telemetry, "shop/t"))
	s.remove(crd)
	w.await("the end of the CRD", lacks(config.Telemetry, "shop/t"))
}

func TestBadObjectBlocksNoOther(t *testing.T) {
	s := newServer(t)
	s.keepUnknownFields()
	bad := strings.Replace(route("shop", "bad"), "http:", "htpp:", 1)
	s.add(bad)
	s.add(route("shop", "good"))
	w := watch(t, s.options())
	st := w.first()
	if get(st, config.VirtualService, "shop/good") == nil || get(st, config.VirtualService, "shop/bad") != nil {
		t.Fatal("of a good and a bad object, the good one must be in force")
	}
	if !said(st, "WEFT0003", "VirtualService shop/bad") {
		t.Fatalf("nothing is said of the bad object: %v", st.Findings)
	}
	s.add(route("shop", "bad"))
	w.await("the corrected object", func(st source.State) bool {
		return get(st, config.VirtualService, "shop/bad") != nil && len(st.Findings) == 0
	})
}

const meshConfig = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: mesh}\ndata: {mesh: 'accessLogFile: /dev/stdout'}\n"

func TestMeshConfig(t *testing.T) {
	s := newServer(t)
	root := watch(t, s.options())
	if o := get(root.first(), config.MeshConfig, "/mesh"); o != nil {
		t.Fatalf("a MeshConfig from nowhere: %v", o.Spec)
	}
	o := s.options()
	o.Namespace = "mesh"
	w := watch(t, o)
	says := func(words ...string) func(source.State) bool {
		return func(st source.State) bool {
			mc := get(st, config.MeshConfig, "/mesh")
			if mc == nil {
				return false
			}
			text := strings.ReplaceAll(mc.Spec.(interface{ String() string }).String(), " ", "")
			for _, word := range words {
				if !strings.Contains(text, word) {
					return false
				}
			}
			return true
		}
	}
	w.await("the system namespace as root namespace", says(`root_namespace:"mesh"`))
	s.add(meshConfig)
	w.await("MeshConfig", says(`root_namespace:"mesh"`, `access_log_file:"/dev/stdout"`))
	s.apply(strings.Replace(meshConfig, "/dev/stdout", "[]", 1))
	st := w.await("a finding about MeshConfig", func(st source.State) bool { return len(st.Findings) > 0 })
	if !says(`access_log_file:"/dev/stdout"`)(st) {
		t.Fatal("the last good MeshConfig did not stay")
	}
	s.remove(meshConfig)
	w.await("the defaults", func(st source.State) bool {
		return says(`root_namespace:"mesh"`)(st) && !says("access_log_file")(st) && len(st.Findings) == 0
	})
}

const pod = `apiVersion: v1
kind: Pod
metadata:
  name: web
  namespace: shop
  labels: {app: web}
  annotations: {sidecar.istio.io/status: "{}", example.com/large: text}
spec:
  serviceAccountName: web
  nodeName: node1
  initContainers: [{name: proxy, image: p, restartPolicy: Always, ports: [{name: admin, containerPort: 15000}]}]
  containers:
  - {name: app, image: a, env: [{name: A, value: B}], ports: [{name: http, containerPort: 8080}, {containerPort: 9}]}
`

func TestPodIsTrimmed(t *testing.T) {
	s := newServer(t)
	s.run(pod, "shop", "web")
	w := watch(t, s.options())
	o := get(w.first(), config.Pod, "shop/web")
	if o == nil {
		t.Fatal("no pod")
	}
	spec := o.Spec.(*corev1.Pod).Spec
	switch {
	case spec.ServiceAccountName != "web" || spec.NodeName != "node1" || o.Labels["app"] != "web" || o.Annotations["sidecar.istio.io/status"] == "":
		t.Errorf("what the pipeline reads is lost: %+v", o)
	case len(spec.Containers) != 1 || len(spec.Containers[0].Ports) != 1 || spec.Containers[0].Ports[0].ContainerPort != 8080 || len(spec.InitContainers) != 1:
		t.Errorf("named ports: %+v", spec)
	case len(o.Annotations) != 1 || spec.Containers[0].Env != nil || len(o.Spec.(*corev1.Pod).ManagedFields) > 0:
		t.Errorf("more is kept than needed: %+v", o)
	}
	client, err := s.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	_, err = client.CoreV1().Pods("shop").Patch(context.Background(), "web", "application/strategic-merge-patch+json",
		[]byte(`{"status":{"phase":"Failed"}}`), metav1.PatchOptions{}, "status")
	if err != nil {
		t.Fatal(err)
	}
	w.await("the end of a pod that failed", lacks(config.Pod, "shop/web"))
}

func TestWhatIsIrrelevantIsNotPublished(t *testing.T) {
	s := newServer(t)
	s.run(pod, "shop", "web")
	s.add(service("a", 80))
	w := watch(t, s.options())
	w.first()
	client, err := s.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	patch := func(kind func() error) {
		if err := kind(); err != nil {
			t.Fatal(err)
		}
	}
	patch(func() error {
		_, err := client.CoreV1().Pods("shop").Patch(context.Background(), "web", "application/strategic-merge-patch+json",
			[]byte(`{"status":{"conditions":[{"type":"ContainersReady","status":"False"}]}}`), metav1.PatchOptions{}, "status")
		return err
	})
	patch(func() error {
		_, err := client.CoreV1().Services("shop").Patch(context.Background(), "a", "application/strategic-merge-patch+json",
			[]byte(`{"metadata":{"annotations":{"example.com/revision":"7"}}}`), metav1.PatchOptions{})
		return err
	})
	s.add(service("last", 80))
	states := 0
	w.await("the change that matters", func(st source.State) bool { states++; return get(st, config.Service, "shop/last") != nil })
	if states != 1 {
		t.Errorf("%d states were published for one change", states)
	}
}

func TestNoCluster(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	if _, err := kube.New(kube.Options{}); err == nil || !strings.Contains(err.Error(), "kubeconfig") {
		t.Errorf("outside of a cluster: %v", err)
	}
	if _, err := kube.New(kube.Options{Kubeconfig: "/nowhere/kubeconfig"}); err == nil || !strings.Contains(err.Error(), "/nowhere/kubeconfig") {
		t.Errorf("a kubeconfig that is not there: %v", err)
	}
}
