package ingress

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/hostname"
)

// input is what the documents hold.
type input struct {
	ingresses []*ingress
	services  map[string]*corev1.Service // by namespace/name
	found     []diag.Diagnostic
}

// ingress is one Ingress, and what is said about it.
type ingress struct {
	*networkingv1.Ingress
	settings settings
	d        *diag.List
}

// read keeps the Ingresses of the class, the oldest first.
func read(files []File, class string) *input {
	in := &input{services: map[string]*corev1.Service{}}
	for _, f := range files {
		for _, d := range config.Documents(f.Name, f.Text) {
			in.document(d, class)
		}
	}
	slices.SortStableFunc(in.ingresses, func(a, b *ingress) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), strings.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	return in
}

func (in *input) document(d config.Document, class string) {
	ref := diag.Object{File: d.File, Line: d.Line, Kind: "Ingress"}
	if d.Err != nil {
		in.say(ref, diag.CannotConvert, "", "%v", d.Err)
		return
	}
	group, version, _ := strings.Cut(d.APIVersion, "/")
	switch {
	case d.Kind == "Ingress" && group == "networking.k8s.io" && version == "v1":
		in.ingress(d, ref, class)
	case d.Kind == "Ingress":
		ref.Name = nameIn(d.JSON)
		in.say(ref, diag.CannotConvert, "apiVersion", "%s is not networking.k8s.io/v1: get it from an API server again, which converts it", d.APIVersion)
	case d.Kind == "Service" && d.APIVersion == "v1":
		var s corev1.Service
		if yaml.Unmarshal(d.JSON, &s) == nil {
			s.Namespace = cmp.Or(s.Namespace, "default")
			in.services[s.Namespace+"/"+s.Name] = &s
		}
	}
}

// nameIn is the name of an object of any version.
func nameIn(raw []byte) string {
	var o struct{ Metadata struct{ Name string } }
	_ = yaml.Unmarshal(raw, &o) // what it does not have stays empty
	return o.Metadata.Name
}

func (in *input) say(ref diag.Object, f diag.Finding, at diag.Path, format string, args ...any) {
	l := diag.For(ref)
	l.Add(f, at, format, args...)
	in.found = append(in.found, l.All()...)
}

func (in *input) ingress(d config.Document, ref diag.Object, class string) {
	i := &ingress{Ingress: &networkingv1.Ingress{}}
	if err := yaml.UnmarshalStrict(d.JSON, i.Ingress); err != nil {
		in.say(ref, diag.CannotConvert, "", "not an Ingress: %v", err)
		return
	}
	i.Namespace = cmp.Or(i.Namespace, "default")
	ref.Namespace, ref.Name = i.Namespace, i.Name
	if hostname.Check(i.Name) != nil || !hostname.IsLabel(i.Namespace) {
		in.say(ref, diag.CannotConvert, "metadata.name", "%q is not the name of an Ingress", i.Namespace+"/"+i.Name)
		return
	}
	i.d = diag.For(ref)
	own := i.Annotations["kubernetes.io/ingress.class"]
	if i.Spec.IngressClassName != nil {
		own = *i.Spec.IngressClassName
	}
	if class != "" && own != "" && own != class {
		in.say(ref, diag.OtherClass, "spec.ingressClassName", "its class is %q: it is left to another controller", own)
		return
	}
	i.settings = readAnnotations(i.Annotations, i.d)
	in.ingresses = append(in.ingresses, i)
}

// port resolves the port of a backend; 0 with a finding where that cannot be
// known: the destination is then a service's only port.
func (in *input) port(i *ingress, b *networkingv1.IngressServiceBackend, at diag.Path) uint32 {
	if b.Port.Name == "" {
		return uint32(b.Port.Number)
	}
	at = at.Field("port.name")
	s := in.services[i.Namespace+"/"+b.Name]
	if s == nil {
		i.d.Add(diag.NotAsBefore, at, "Service %s/%s is not in the input, so port %q has no number; as it is converted, it works where the Service has one port", i.Namespace, b.Name, b.Port.Name)
		return 0
	}
	for _, p := range s.Spec.Ports {
		if p.Name == b.Port.Name {
			return uint32(p.Port)
		}
	}
	i.d.Add(diag.CannotConvert, at, "Service %s/%s has no port named %q", i.Namespace, b.Name, b.Port.Name)
	return 0
}

// speaksHTTP2 says whether the Service's port tells the mesh already that it
// takes HTTP/2.
func (in *input) speaksHTTP2(namespace, name string, port uint32) bool {
	s := in.services[namespace+"/"+name]
	if s == nil {
		return false
	}
	for _, p := range s.Spec.Ports {
		if uint32(p.Port) != port && port != 0 {
			continue
		}
		word, _, _ := strings.Cut(p.Name, "-")
		if p.AppProtocol != nil {
			word = *p.AppProtocol
		}
		return slices.Contains([]string{"grpc", "http2", "kubernetes.io/h2c"}, strings.ToLower(word))
	}
	return false
}

func key(i *ingress) string { return fmt.Sprintf("%s/%s", i.Namespace, i.Name) }
