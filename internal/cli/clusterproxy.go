package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/controller"
)

// whichMesh is the rule by which commands that look into a mesh choose one.
const whichMesh = "The mesh is the local one if one runs, else that of the kubeconfig's cluster; --name means a\n" +
	"local one, --context and --kubeconfig a cluster, as does --name -."

// noMesh is the name that means the kubeconfig's cluster, whatever runs here.
const noMesh = "-"

// inCluster says whether the mesh to look into is a cluster's.
func (a *app) inCluster(k *kube) (bool, error) {
	switch {
	case a.name == noMesh:
		return true, nil
	case k.given() && a.name != "":
		return false, usageError{errors.New("--name is a mesh on this machine; --context and --kubeconfig a cluster: give one of them")}
	case k.given():
		return true, nil
	case a.name != "":
		return false, nil
	}
	names, err := local.List()
	return err == nil && len(names) == 0 && k.there(), err
}

// pilotPage is a debug page of one pilot; pilot is "" in a local mesh.
type pilotPage struct {
	pilot string
	text  []byte
}

// pilotPages reads a page of a local mesh's pilot, or of all pilots of a
// cluster, each of which knows its own proxies.
func (a *app) pilotPages(ctx context.Context, k *kube, path string) (out []pilotPage, err error) {
	cluster, err := a.inCluster(k)
	if err != nil {
		return nil, err
	}
	if !cluster {
		mesh, err := a.connect()
		if err != nil {
			return nil, err
		}
		text, err := fetch(ctx, mesh, "/v1/pilot"+path)
		return []pilotPage{{text: text}}, err
	}
	p, err := k.pods()
	if err != nil {
		return nil, err
	}
	all, err := p.pilots(ctx, k.namespace)
	if err != nil {
		return nil, err
	}
	for _, pilot := range all {
		text, err := p.get(ctx, page{pilot.Namespace, pilot.Name, pilotPort, path, ""})
		if err != nil {
			return nil, err
		}
		out = append(out, pilotPage{pilot.Name, text})
	}
	return out, nil
}

// syncPages reads which proxies hold what was sent, of all pilots.
func (a *app) syncPages(ctx context.Context, k *kube) ([]byte, error) {
	pages, err := a.pilotPages(ctx, k, "/debug/syncz")
	if err != nil {
		return nil, err
	}
	if len(pages) == 1 && pages[0].pilot == "" {
		return pages[0].text, nil
	}
	merged := []map[string]any{}
	for _, page := range pages {
		var own []map[string]any
		if err := json.Unmarshal(page.text, &own); err != nil {
			return nil, fmt.Errorf("pilot %s: %w", page.pilot, err)
		}
		for _, proxy := range own {
			proxy["pilot"] = page.pilot
		}
		merged = append(merged, own...)
	}
	return json.MarshalIndent(merged, "", "  ")
}

// Ports of pods, as Istio's.
const (
	pilotPort = 15014 // the pilot's debug pages, for its loopback
	adminPort = 15000 // Envoy's administration
	agentPort = 15020 // the agent's, with all metrics
)

// envoyPage reads a page of the administration of a pod's Envoy. who is the
// pod's name.
func (a *app) envoyPage(ctx context.Context, k *kube, name, namespace, path string) (text []byte, who string, err error) {
	cluster, err := a.inCluster(k)
	if err != nil {
		return nil, "", err
	}
	if cluster {
		return k.envoyPage(ctx, name, namespace, path)
	}
	mesh, p, err := a.pod(ctx, name, namespace)
	if err != nil {
		return nil, "", err
	}
	if p.Synced == "" {
		return nil, "", fmt.Errorf("pod %s/%s has no proxy", p.Namespace, p.Name)
	}
	text, err = fetch(ctx, mesh, envoyPath(p, path))
	return text, p.Name, err
}

func (k *kube) envoyPage(ctx context.Context, name, namespace, path string) ([]byte, string, error) {
	p, err := k.pods()
	if err != nil {
		return nil, "", err
	}
	if ns, n, ok := strings.Cut(name, "/"); ok {
		namespace, name = ns, n
	}
	found, err := p.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, "", err
	}
	var st controller.Status
	for i := range found.Items {
		st.Pods = append(st.Pods, podStatus(&found.Items[i]))
	}
	pod, err := find(st, name, namespace)
	if err != nil {
		return nil, "", errors.New(strings.ReplaceAll(err.Error(), "weft ps lists them", "kubectl get pods -A lists them"))
	}
	if pod.Synced == "" {
		return nil, "", fmt.Errorf("pod %s/%s has no proxy", pod.Namespace, pod.Name)
	}
	text, err := p.get(ctx, page{pod.Namespace, pod.Name, adminPort, path, ""})
	return text, pod.Name, err
}

// cronJobMinute is what a CronJob puts after its name to name a Job.
var cronJobMinute = regexp.MustCompile(`-\d{8,10}$`)

// podStatus is a pod as the commands of the local mesh know one. Synced is "-"
// for a pod with a proxy: a pod itself does not know. Sidecar: an app is beside
// it.
func podStatus(p *corev1.Pod) controller.PodStatus {
	out := controller.PodStatus{
		Namespace: p.Namespace, Name: p.Name, Labels: p.Labels, Workload: p.GenerateName, Phase: string(p.Status.Phase), IP: p.Status.PodIP,
		HostNetwork: p.Spec.HostNetwork, Age: time.Since(p.CreationTimestamp.Time),
	}
	for _, c := range p.Status.ContainerStatuses {
		out.Restarts += int(c.RestartCount)
	}
	if hash := p.Labels["pod-template-hash"]; hash != "" {
		out.Workload = strings.TrimSuffix(p.GenerateName, "-"+hash+"-")
	}
	out.Workload = strings.TrimSuffix(out.Workload, "-")
	if owner := metav1.GetControllerOf(p); owner != nil && owner.Kind == "Job" {
		out.Workload = cronJobMinute.ReplaceAllString(owner.Name, "")
	}
	for _, c := range p.Status.Conditions {
		out.Ready = out.Ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	proxy := func(c corev1.Container) bool { return c.Name == "istio-proxy" }
	if slices.ContainsFunc(p.Spec.Containers, proxy) || slices.ContainsFunc(p.Spec.InitContainers, proxy) {
		out.Synced = "-"
		out.Sidecar = slices.ContainsFunc(p.Spec.Containers, func(c corev1.Container) bool { return !proxy(c) })
	}
	return out
}
