package compile

import (
	"net/netip"
	"regexp"
	"slices"
	"strings"

	core "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/memo"
	"github.com/weftmesh/weft/internal/model"
)

// Labels and annotations that say who a pod is; the first that is set counts.
var (
	appLabels     = []string{"service.istio.io/canonical-name", "app.kubernetes.io/name", "app"}
	versionLabels = []string{"service.istio.io/canonical-revision", "app.kubernetes.io/version", "version"}
)

const (
	sidecarStatus = "sidecar.istio.io/status"
	workloadLabel = "service.istio.io/workload-name"
	hashLabel     = "pod-template-hash"
)

// compilePod reads one Pod: where it is and who it may claim to be.
func compilePod(o *config.Object, in scope, d *diag.List) *model.Workload {
	pod, ok := o.Spec.(*core.Pod)
	// A pod that has ended keeps its object, but its address may be another's.
	if !ok || pod.Status.Phase == core.PodSucceeded || pod.Status.Phase == core.PodFailed {
		return nil
	}
	out := &model.Workload{
		Namespace:      o.Namespace,
		Name:           o.Name,
		Labels:         o.Labels,
		ServiceAccount: pod.Spec.ServiceAccountName,
		Addresses:      podAddresses(pod),
		Node:           pod.Spec.NodeName,
		Ports:          namedPorts(pod),
		Controller:     controller(o, pod),
		Proxyless:      o.Annotations[sidecarStatus] != "" && config.Proxyless(o.Annotations),
	}
	out.InMesh = !out.Proxyless && (o.Annotations[sidecarStatus] != "" || o.Labels[model.LabelTLSMode] == "istio")
	if out.ServiceAccount == "" {
		out.ServiceAccount = "default"
	}
	if !out.Proxyless {
		out.Proxy = ownProxy(o, in, d)
	}
	if out.Node != "" {
		out.Locality = in.locality(out.Node)
	}
	if own := o.Labels[model.LabelLocality]; own != "" {
		out.Locality = model.ParseLocality(own)
	}
	out.App = firstLabel(o.Labels, appLabels, out.Controller)
	out.Version = firstLabel(o.Labels, versionLabels, "latest")
	return out
}

func firstLabel(labels map[string]string, names []string, fallback string) string {
	for _, name := range names {
		if v := labels[name]; v != "" {
			return v
		}
	}
	return fallback
}

func podAddresses(pod *core.Pod) (out []string) {
	for _, ip := range append([]core.PodIP{{IP: pod.Status.PodIP}}, pod.Status.PodIPs...) {
		addr, err := netip.ParseAddr(ip.IP)
		if err != nil {
			continue
		}
		if text := addr.String(); !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// namedPorts gives the named TCP ports of all containers, native sidecars too.
func namedPorts(pod *core.Pod) map[string]uint32 {
	var out map[string]uint32
	for _, list := range [][]core.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			for _, p := range list[i].Ports {
				if p.Name == "" || p.Protocol == core.ProtocolUDP {
					continue
				}
				if out == nil {
					out = map[string]uint32{}
				}
				if _, taken := out[p.Name]; !taken {
					out[p.Name] = uint32(p.ContainerPort)
				}
			}
		}
	}
	return out
}

var cronJob = regexp.MustCompile(`^(.+)-\d{8,10}$`)

// controller names the workload that owns the pod, as telemetry knows it: a
// ReplicaSet's Deployment and a Job's CronJob, else the owner, else the pod.
func controller(o *config.Object, pod *core.Pod) string {
	if name := o.Labels[workloadLabel]; name != "" {
		return name
	}
	for i := range pod.OwnerReferences {
		owner := &pod.OwnerReferences[i]
		if owner.Controller != nil && !*owner.Controller {
			continue
		}
		switch owner.Kind {
		case "ReplicaSet":
			if hash := o.Labels[hashLabel]; hash != "" {
				return strings.TrimSuffix(owner.Name, "-"+hash)
			}
			if at := strings.LastIndexByte(owner.Name, '-'); at > 0 {
				return owner.Name[:at]
			}
		case "Job":
			if m := cronJob.FindStringSubmatch(owner.Name); m != nil {
				return m[1]
			}
		}
		return owner.Name
	}
	return o.Name
}

// nodeLocality reads where a Node stands.
//
// Source: Kubernetes well-known labels; Istio's topology.istio.io/subzone.
func nodeLocality(_ *memo.Reader, _ string, o *config.Object) (*model.Locality, bool) {
	loc := model.Locality{
		Region:  firstLabel(o.Labels, []string{core.LabelTopologyRegion, core.LabelFailureDomainBetaRegion}, ""),
		Zone:    firstLabel(o.Labels, []string{core.LabelTopologyZone, core.LabelFailureDomainBetaZone}, ""),
		SubZone: o.Labels["topology.istio.io/subzone"],
	}
	return &loc, loc != model.Locality{}
}
