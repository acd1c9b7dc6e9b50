package install

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"helm.sh/helm/v4/pkg/chart/common"
	"helm.sh/helm/v4/pkg/chart/common/util"
	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/engine"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
)

// rendered renders inputs, which must be right.
func rendered(t *testing.T, in Inputs) *Manifest {
	t.Helper()
	values, err := in.Values()
	if err != nil {
		t.Fatal(err)
	}
	m, err := Render(Release{Version: "v1.2.3", Values: values})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func titles(objects []*unstructured.Unstructured) (out []string) {
	for _, o := range objects {
		out = append(out, title(o))
	}
	return out
}

// object gives one of a manifest, as its type.
func object[T any](t *testing.T, m *Manifest, name string) *T {
	t.Helper()
	for _, o := range m.Objects {
		if title(o) == name {
			out := new(T)
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(o.Object, out); err != nil {
				t.Fatal(err)
			}
			return out
		}
	}
	t.Fatalf("there is no %s among %v", name, titles(m.Objects))
	return nil
}

func TestProfiles(t *testing.T) {
	gateways := func(m *Manifest) (out []string) {
		for _, o := range m.Objects {
			if o.GetKind() == "Deployment" && strings.HasSuffix(o.GetName(), "gateway") {
				out = append(out, o.GetName())
			}
		}
		return out
	}
	for profile, want := range map[string]struct {
		replicas int32
		gateways []string
	}{
		"":        {2, []string{"istio-ingressgateway"}},
		"default": {2, []string{"istio-ingressgateway"}},
		"minimal": {1, nil},
		"demo":    {1, []string{"istio-egressgateway", "istio-ingressgateway"}},
	} {
		m := rendered(t, Inputs{Profile: profile})
		if got := gateways(m); !slices.Equal(got, want.gateways) {
			t.Errorf("profile %q has the gateways %v, want %v", profile, got, want.gateways)
		}
		budgets := 0
		for _, o := range m.Objects {
			if o.GetKind() == "PodDisruptionBudget" {
				budgets++
			}
			if o.GetKind() == "Deployment" {
				if n, _, _ := unstructured.NestedInt64(o.Object, "spec", "replicas"); int32(n) != want.replicas {
					t.Errorf("profile %q: %s has %d replicas, want %d", profile, title(o), n, want.replicas)
				}
			}
		}
		if (budgets > 0) != (want.replicas > 1) {
			t.Errorf("profile %q has %d budgets of disruption with %d replicas", profile, budgets, want.replicas)
		}
	}
}

// What helm reads from the folder is what weft installs from its own memory.
func TestHelmGivesTheSame(t *testing.T) {
	c, err := loader.Load(chartDir)
	if err != nil {
		t.Fatal(err)
	}
	values, err := util.ToRenderValues(c, map[string]any{"tag": "v1.2.3"}, common.ReleaseOptions{Name: "weft", Namespace: DefaultNamespace}, nil)
	if err != nil {
		t.Fatal(err)
	}
	texts, err := engine.Render(c, values)
	if err != nil {
		t.Fatal(err)
	}
	var theirs, crds []*unstructured.Unstructured
	for name, text := range texts {
		if strings.HasSuffix(name, ".tpl") {
			continue
		}
		if theirs, err = decode(theirs, name, text); err != nil {
			t.Fatal(err)
		}
	}
	for _, crd := range c.CRDObjects() {
		if crds, err = decode(crds, crd.Name, string(crd.File.Data)); err != nil {
			t.Fatal(err)
		}
	}
	ours := rendered(t, Inputs{})
	if got := titles(crds); !slices.Equal(got, titles(ours.CRDs)) {
		t.Errorf("helm installs the CRDs %v", got)
	}
	mine := map[string]*unstructured.Unstructured{}
	for _, o := range ours.Objects[1:] { // the namespace is helm's --create-namespace
		mine[title(o)] = o
	}
	for _, o := range theirs {
		own := mine[title(o)]
		delete(mine, title(o))
		if own == nil {
			t.Errorf("only helm has %s", title(o))
			continue
		}
		if !reflect.DeepEqual(plain(t, o, "Helm"), plain(t, own, fieldOwner)) {
			t.Errorf("%s differs:\n%v\n%v", title(o), plain(t, o, "Helm"), plain(t, own, fieldOwner))
		}
	}
	if len(mine) > 0 {
		t.Errorf("only weft has %v", mine)
	}
}

// plain is an object without what tells who installed it.
func plain(t *testing.T, o *unstructured.Unstructured, by string) string {
	t.Helper()
	out := o.DeepCopy()
	if out.GetLabels()[managedBy] != by {
		t.Errorf("%s is managed by %q, want %s", title(o), out.GetLabels()[managedBy], by)
	}
	out.SetAnnotations(nil)
	return strings.ReplaceAll(fmt.Sprint(out.Object), managedBy+":"+by, "")
}

func TestPodsMayDoLittle(t *testing.T) {
	m := rendered(t, Inputs{Profile: "demo"})
	for _, o := range m.Objects {
		if o.GetKind() != "Deployment" {
			continue
		}
		d := object[appsv1.Deployment](t, m, title(o))
		spec := d.Spec.Template.Spec
		if s := spec.SecurityContext; !*s.RunAsNonRoot || s.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault || spec.ServiceAccountName != d.Name {
			t.Errorf("%s: security %v, account %q", d.Name, s, spec.ServiceAccountName)
		}
		for _, c := range spec.Containers {
			s := c.SecurityContext
			if *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem || !slices.Equal(s.Capabilities.Drop, []corev1.Capability{"ALL"}) {
				t.Errorf("%s/%s: security %v", d.Name, c.Name, s)
			}
			if c.ReadinessProbe == nil || c.Resources.Requests.Cpu().IsZero() || c.Resources.Limits.Memory().IsZero() {
				t.Errorf("%s/%s: probe %v, resources %v", d.Name, c.Name, c.ReadinessProbe, c.Resources)
			}
			for _, p := range c.Ports {
				if p.ContainerPort < 1024 {
					t.Errorf("%s/%s binds port %d, which needs a privilege", d.Name, c.Name, p.ContainerPort)
				}
			}
			if !strings.HasSuffix(c.Image, ":v1.2.3") || !strings.HasPrefix(c.Image, "localhost/weft/") {
				t.Errorf("%s/%s runs %s", d.Name, c.Name, c.Image)
			}
		}
	}
}

func TestGatewayService(t *testing.T) {
	s := object[corev1.Service](t, rendered(t, Inputs{Sets: []string{
		"gateways.ingress.externalTrafficPolicy=Local,gateways.ingress.loadBalancerClass=example.com/lb,gateways.ingress.nodePorts.http2=30080",
	}}), "Service weft-system/istio-ingressgateway")
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer || s.Spec.ExternalTrafficPolicy != "Local" || *s.Spec.LoadBalancerClass != "example.com/lb" {
		t.Errorf("the Service is %+v", s.Spec)
	}
	if s.Spec.Selector["istio"] != "ingressgateway" || len(s.Spec.Ports) != 3 {
		t.Fatalf("the Service is %+v", s.Spec)
	}
	if p := s.Spec.Ports[1]; p.Port != 80 || p.TargetPort.IntVal != 8080 || p.NodePort != 30080 {
		t.Errorf("port 80 is %+v", p)
	}
	inner := object[corev1.Service](t, rendered(t, Inputs{Sets: []string{"gateways.ingress.type=ClusterIP"}}), "Service weft-system/istio-ingressgateway")
	if inner.Spec.ExternalTrafficPolicy != "" {
		t.Errorf("a ClusterIP has the traffic policy %q, which the API server refuses", inner.Spec.ExternalTrafficPolicy)
	}
}

// What nobody would read is refused.
func TestGatewayAnnotationRefused(t *testing.T) {
	values, err := Inputs{Sets: []string{`gateways.ingress.podAnnotations.proxy\.istio\.io/config=concurrency: 2`}}.Values()
	if err == nil {
		_, err = Render(Release{Version: "v1.2.3", Values: values})
	}
	if err == nil || !strings.Contains(err.Error(), "gateways.ingress.podAnnotations") || !strings.Contains(err.Error(), "meshConfig.defaultConfig") {
		t.Error(err)
	}
}

// A gateway that the chart makes is told what of defaultConfig its Envoy starts
// with, and has its own word on what the pilot reads of its annotation.
func TestGatewayProxyConfig(t *testing.T) {
	m := rendered(t, Inputs{Sets: []string{
		`gateways.ingress.podAnnotations.proxy\.istio\.io/config=connectionSettings: {profile: EDGE\, globalDownstreamConnectionLimit: 9}`,
		"meshConfig.defaultConfig.fileFlushMinSizeKb=16", `meshConfig.defaultConfig.proxyStatsMatcher.inclusionRegexps={a$}`, "meshConfig.defaultConfig.connectionSettings.globalDownstreamConnectionLimit=7",
	}})
	d := object[appsv1.Deployment](t, m, "Deployment weft-system/istio-ingressgateway")
	i := slices.IndexFunc(d.Spec.Template.Spec.Containers[0].Env, func(e corev1.EnvVar) bool { return e.Name == "PROXY_CONFIG" })
	if i < 0 {
		t.Fatalf("the environment is %v", d.Spec.Template.Spec.Containers[0].Env)
	}
	const want = `{"connectionSettings":{"globalDownstreamConnectionLimit":9},"fileFlushMinSizeKb":16,"proxyStatsMatcher":{"inclusionRegexps":["a$$"]}}`
	if got := d.Spec.Template.Spec.Containers[0].Env[i].Value; got != want {
		t.Errorf("PROXY_CONFIG is %s, want %s", got, want)
	}
	if got := d.Spec.Template.Annotations["proxy.istio.io/config"]; got != "connectionSettings: {profile: EDGE, globalDownstreamConnectionLimit: 9}" {
		t.Errorf("the annotation is %q", got)
	}
}

// A revision shares no name with another; CA and gateways are the default one's.
func TestRevision(t *testing.T) {
	first := titles(rendered(t, Inputs{}).Objects)
	m := rendered(t, Inputs{Revision: "canary"})
	for _, o := range m.Objects {
		if slices.Contains(first, title(o)) && o.GetKind() != "Namespace" {
			t.Errorf("revision canary and default share %s", title(o))
		}
		if o.GetKind() != "Namespace" && o.GetLabels()[revisionKey] != "canary" {
			t.Errorf("%s has the labels %v", title(o), o.GetLabels())
		}
	}
	if all := fmt.Sprint(titles(m.Objects)); strings.Contains(all, "weft-ca") || strings.Contains(all, "gateway") {
		t.Errorf("the manifest holds %s", all)
	}
	if m.Revision != "canary" {
		t.Errorf("the manifest is of revision %q", m.Revision)
	}
}

// Two revisions never lead by one Lease, unless one takes over from the other.
func TestLeases(t *testing.T) {
	for _, tc := range []struct{ revision, isDefault, role, want string }{
		{"default", "auto", "weft-pilot-leader", "[weft-pilot-leader]"},
		{"default", "false", "weft-pilot-leader", "[weft-pilot-leader-default]"},
		{"next", "auto", "weft-pilot-next-leader", "[weft-pilot-leader-next]"},
		{"next", "true", "weft-pilot-next-leader", "[weft-pilot-leader]"},
	} {
		m := rendered(t, Inputs{Revision: tc.revision, Sets: []string{"isDefault=" + tc.isDefault}})
		role := object[rbacv1.Role](t, m, "Role "+DefaultNamespace+"/"+tc.role)
		if text := fmt.Sprint(role.Rules); !strings.Contains(text, tc.want) {
			t.Errorf("revision %s, isDefault %s: no right to the Lease %s: %s", tc.revision, tc.isDefault, tc.want, text)
		}
	}
}

// A mesh of one namespace has nothing outside of it, and no right to anything
// outside of it.
func TestOneNamespace(t *testing.T) {
	m := rendered(t, Inputs{Profile: "demo", Sets: []string{NamespacedSet}})
	if len(m.CRDs) > 0 {
		t.Errorf("CRDs: %v", titles(m.CRDs))
	}
	for _, o := range m.Objects {
		i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == o.GetKind() })
		if i < 0 || !kinds[i].namespaced || o.GetNamespace() != DefaultNamespace {
			t.Errorf("%s is not of the namespace", title(o))
		}
		text := fmt.Sprint(o.Object)
		for _, right := range []string{"tokenreviews", "nodes", "namespaces]", "webhookconfigurations", "priorityClassName"} {
			if o.GetKind() != "ConfigMap" && strings.Contains(text, right) {
				t.Errorf("%s has %s", title(o), right)
			}
		}
	}
	injects := object[corev1.ConfigMap](t, m, "ConfigMap "+DefaultNamespace+"/istio-sidecar-injector")
	if !strings.Contains(injects.Data["values"], `"scope": "namespace"`) {
		t.Errorf("weft inject would leave the namespace alone: %s", injects.Data["values"])
	}
}
