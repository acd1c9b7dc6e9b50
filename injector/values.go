package injector

import (
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/protobuf/encoding/protojson"
	meshapi "istio.io/api/mesh/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/strategicpatch"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/config"
)

// Values are what all injected pods share. The JSON fields are key "values" of
// ConfigMap istio-sidecar-injector, in the form of Istio's Helm values, of
// which it has the part that means something here; zero values mean what each
// comment says. ParseConfig fills in the rest.
type Values struct {
	Revision string `json:"revision"` // of the control plane; "": default
	// Scope is cluster (also ""), or namespace: the control plane's own is the
	// mesh.
	Scope   string        `json:"scope"`
	Global  GlobalValues  `json:"global"`
	Webhook WebhookValues `json:"sidecarInjectorWebhook"`

	// Policy and Templates come from key "config" of the same ConfigMap.
	Policy    Policy            `json:"-"`
	Templates map[string]string `json:"-"` // a pod in YAML, merged over the built-in one, by name
	// Proxy is defaultConfig of the mesh, and TrustDomain its trust domain, from
	// ConfigMap istio. nil and "": Istio's defaults.
	Proxy       *meshapi.ProxyConfig `json:"-"`
	TrustDomain string               `json:"-"`
	// RootNamespace is the mesh's; "": that of the control plane.
	RootNamespace string `json:"-"`
	// ProxyConfigs are the cluster's objects of that kind, and PodNamespace the
	// namespace of a pod that does not say its own.
	ProxyConfigs []*config.Object `json:"-"`
	PodNamespace string           `json:"-"`
	// NativeSidecars says whether the API server has them: 1.29 and later.
	NativeSidecars bool `json:"-"`
}

// GlobalValues are Istio's values.global.
type GlobalValues struct {
	Hub              string        `json:"hub"`              // "": localhost/weft
	Tag              string        `json:"tag"`              // "": latest
	ImagePullPolicy  string        `json:"imagePullPolicy"`  // "": the cluster's
	ImagePullSecrets []string      `json:"imagePullSecrets"` // added to each pod
	Namespace        string        `json:"istioNamespace"`   // of the control plane; "": weft-system
	PilotAddress     string        `json:"pilotAddress"`     // HOST:PORT; "": the Service's
	CAAddress        string        `json:"caAddress"`        // HOST:PORT; "": the Service's
	MeshID           string        `json:"meshID"`           // "": the trust domain
	Network          string        `json:"network"`          // read by Kiali
	Proxy            ProxyValues   `json:"proxy"`
	Init             InitValues    `json:"proxy_init"`
	MultiCluster     ClusterValues `json:"multiCluster"`
}

// ProxyValues are Istio's values.global.proxy. The texts of ports and ranges
// have the form of the annotations that overrule them.
type ProxyValues struct {
	Image                string                       `json:"image"`         // a name under hub, or a whole reference; "": proxy
	ClusterDomain        string                       `json:"clusterDomain"` // "": cluster.local
	Resources            *corev1.ResourceRequirements `json:"resources"`     // nil: DefaultResources
	LogLevel             string                       `json:"logLevel"`      // "": warning
	ComponentLogLevel    string                       `json:"componentLogLevel"`
	AgentLogLevel        string                       `json:"agentLogLevel"`   // "": info
	IncludeIPRanges      string                       `json:"includeIPRanges"` // "": *
	ExcludeIPRanges      string                       `json:"excludeIPRanges"`
	IncludeInboundPorts  string                       `json:"includeInboundPorts"` // "": *
	ExcludeInboundPorts  string                       `json:"excludeInboundPorts"`
	IncludeOutboundPorts string                       `json:"includeOutboundPorts"`
	ExcludeOutboundPorts string                       `json:"excludeOutboundPorts"`
	HoldApplication      bool                         `json:"holdApplicationUntilProxyStarts"` // also by meshConfig.defaultConfig
	ReadinessPeriod      int32                        `json:"readinessPeriodSeconds"`          // 0: 15
	ReadinessFailures    int32                        `json:"readinessFailureThreshold"`       // 0: 4
	ReadinessDelay       int32                        `json:"readinessInitialDelaySeconds"`
}

// InitValues are Istio's values.global.proxy_init.
type InitValues struct {
	Image     string                       `json:"image"`     // "": the proxy's
	Resources *corev1.ResourceRequirements `json:"resources"` // nil: the proxy's
}

// ClusterValues are Istio's values.global.multiCluster.
type ClusterValues struct {
	ClusterName string `json:"clusterName"` // "": Kubernetes
}

// WebhookValues are Istio's values.sidecarInjectorWebhook.
type WebhookValues struct {
	RewriteAppHTTPProbe *bool `json:"rewriteAppHTTPProbe"` // nil: true
}

// DefaultResources are a sidecar's where nothing else is said: a pair of busy
// worker threads, and the memory of a mesh of some thousand services. There is
// no CPU limit, because throttling would show as latency of every call.
func DefaultResources() corev1.ResourceRequirements {
	return corev1.ResourceRequirements{
		Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("20m"), corev1.ResourceMemory: resource.MustParse("64Mi")},
		Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
	}
}

// DefaultNamespace is that of the control plane.
const DefaultNamespace = "weft-system"

// WithDefaults returns v with every empty field that has a meaning set to it.
func (v Values) WithDefaults() Values {
	fill := func(field *string, value string) {
		if *field == "" {
			*field = value
		}
	}
	g, p := &v.Global, &v.Global.Proxy
	fill(&v.Revision, "default")
	fill(&v.TrustDomain, "cluster.local")
	fill(&g.Hub, "localhost/weft")
	fill(&g.Tag, "latest")
	fill(&g.Namespace, DefaultNamespace)
	fill(&g.PilotAddress, "weft-pilot"+suffix(v.Revision)+"."+g.Namespace+".svc:15012")
	fill(&g.CAAddress, "weft-ca."+g.Namespace+".svc:15012")
	fill(&g.MultiCluster.ClusterName, "Kubernetes")
	fill(&p.Image, "proxy")
	fill(&p.ClusterDomain, "cluster.local")
	fill(&p.LogLevel, "warning")
	fill(&p.AgentLogLevel, "info")
	fill(&p.IncludeIPRanges, "*")
	fill(&p.IncludeInboundPorts, "*")
	if p.Resources == nil {
		r := DefaultResources()
		p.Resources = &r
	}
	if p.ReadinessPeriod == 0 {
		p.ReadinessPeriod = 15
	}
	if p.ReadinessFailures == 0 {
		p.ReadinessFailures = 4
	}
	if v.Proxy == nil {
		v.Proxy = &meshapi.ProxyConfig{}
	}
	return v
}

// image is a whole reference: name itself, if it has a path, else under the hub.
func (v Values) image(name string) string {
	if strings.ContainsAny(name, "/@") {
		return name
	}
	if strings.Contains(name, ":") {
		return v.Global.Hub + "/" + name
	}
	return v.Global.Hub + "/" + name + ":" + v.Global.Tag
}

// injectConfig is key "config" of ConfigMap istio-sidecar-injector.
type injectConfig struct {
	Policy
	Templates map[string]string `json:"templates"`
}

// templateName is what annotation inject.istio.io/templates may name.
var templateName = regexp.MustCompile(`^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$`)

// ParseConfig reads the three texts that say how to inject: keys "config" and
// "values" of ConfigMap istio-sidecar-injector, key "mesh" of ConfigMap istio.
// Each may be empty. Errors name the ConfigMap, the key and the field. The
// result has no defaults filled in, and NativeSidecars is not set.
func ParseConfig(configText, valuesText, meshText string) (Values, error) {
	var v Values
	if valuesText != "" {
		if err := json.Unmarshal([]byte(valuesText), &v); err != nil {
			return Values{}, fmt.Errorf("ConfigMap istio-sidecar-injector, key values: %w", err)
		}
	}
	if err := v.parseConfig(configText); err != nil {
		return Values{}, fmt.Errorf("ConfigMap istio-sidecar-injector, key config: %w", err)
	}
	if err := v.parseMesh(meshText); err != nil {
		return Values{}, fmt.Errorf("ConfigMap istio, key mesh: %w", err)
	}
	return v, v.check()
}

func (v *Values) parseConfig(text string) error {
	var c injectConfig
	if err := yaml.UnmarshalStrict([]byte(text), &c); err != nil {
		return err
	}
	if err := c.Policy.check(); err != nil {
		return err
	}
	for name, template := range c.Templates {
		if name == templateSidecar || name == templateGateway || !templateName.MatchString(name) {
			return fmt.Errorf("templates.%s: %s and %s are built in; give the template another name of a-z, 0-9 and '-', and name it in annotation %s", name, templateSidecar, templateGateway, templatesAnnotation)
		}
		if _, err := overlay(template); err != nil {
			return fmt.Errorf("templates.%s: %w", name, err)
		}
	}
	v.Policy, v.Templates = c.Policy, c.Templates
	return nil
}

func (v *Values) parseMesh(text string) error {
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return err
	}
	var mesh meshapi.MeshConfig
	// A field that a later Istio has is the pilot's to complain about.
	if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(orEmpty(raw), &mesh); err != nil {
		return err
	}
	v.Proxy, v.TrustDomain, v.RootNamespace = mesh.GetDefaultConfig(), mesh.GetTrustDomain(), mesh.GetRootNamespace()
	return nil
}

func orEmpty(raw []byte) []byte {
	if s := strings.TrimSpace(string(raw)); s == "" || s == "null" {
		return []byte("{}")
	}
	return raw
}

// check tries the values on a pod: what would be refused there must not be
// taken, for then every pod would be refused.
func (v Values) check() error {
	p := v.WithDefaults().Global.Proxy
	pod := &corev1.Pod{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}}}
	pod.Annotations = map[string]string{
		"traffic.sidecar.istio.io/includeOutboundIPRanges": p.IncludeIPRanges,
		"traffic.sidecar.istio.io/excludeOutboundIPRanges": p.ExcludeIPRanges,
		"traffic.sidecar.istio.io/includeInboundPorts":     p.IncludeInboundPorts,
		"traffic.sidecar.istio.io/excludeInboundPorts":     p.ExcludeInboundPorts,
		"traffic.sidecar.istio.io/includeOutboundPorts":    p.IncludeOutboundPorts,
		"traffic.sidecar.istio.io/excludeOutboundPorts":    p.ExcludeOutboundPorts,
		"sidecar.istio.io/logLevel":                        p.LogLevel,
		"sidecar.istio.io/componentLogLevel":               p.ComponentLogLevel,
		"sidecar.istio.io/agentLogLevel":                   p.AgentLogLevel,
	}
	if _, err := Inject(pod, v); err != nil {
		return fmt.Errorf("these values cannot be injected: %w", err)
	}
	return nil
}

// overlay is a user's template as JSON: a partial pod.
func overlay(text string) ([]byte, error) {
	if strings.Contains(text, "{{") {
		return nil, errors.New("Go template actions are not evaluated: write plain YAML, and what differs by pod as an annotation")
	}
	var pod corev1.Pod
	if err := yaml.UnmarshalStrict([]byte(text), &pod); err != nil {
		return nil, err
	}
	raw, err := yaml.YAMLToJSON([]byte(text))
	if err != nil {
		return nil, err
	}
	return orEmpty(raw), nil
}

// merge lays patch over v by Kubernetes' strategic merge: containers by name,
// environment variables by name, mounts by path.
func merge[T any](v T, patch []byte) (T, error) {
	var out T
	original, err := json.Marshal(v)
	if err != nil {
		return out, err
	}
	merged, err := strategicpatch.StrategicMergePatch(original, patch, v)
	if err != nil {
		return out, err
	}
	return out, json.Unmarshal(merged, &out)
}
