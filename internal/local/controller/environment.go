package controller

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/weftmesh/weft/internal/config"
)

// variable is one environment variable.
type variable struct{ name, value string }

func pairs(vs []variable) (out []string) {
	for _, v := range vs {
		out = append(out, v.name+"="+v.value)
	}
	return out
}

// environment resolves a container's env and envFrom as a kubelet does.
func environment(p *corev1.Pod, c corev1.Container, s surroundings) ([]variable, error) {
	var out []variable
	for i, from := range c.EnvFrom {
		vs, err := allOf(p.Namespace, from, s.set)
		if err != nil {
			return nil, fmt.Errorf("envFrom[%d]: %w", i, err)
		}
		out = append(out, vs...)
	}
	for _, e := range c.Env {
		value, ok := expand(e.Value, out), true
		if e.ValueFrom != nil {
			var err error
			if value, ok, err = valueFrom(p, e.ValueFrom, s.set); err != nil {
				return nil, fmt.Errorf("env %s: %w", e.Name, err)
			}
		}
		if ok {
			out = append(out, variable{e.Name, value})
		}
	}
	return out, nil
}

// data is what a ConfigMap or Secret holds; found says whether it exists.
func data(set config.Set, kind config.Kind, key string) (values map[string]string, found bool) {
	o, ok := set.Of(kind).Get(key)
	if !ok {
		return nil, false
	}
	values = map[string]string{}
	switch spec := o.Spec.(type) {
	case *corev1.ConfigMap:
		maps.Copy(values, spec.Data)
	case *corev1.Secret:
		for k, v := range spec.Data {
			values[k] = string(v)
		}
		maps.Copy(values, spec.StringData)
	}
	return values, true
}

func allOf(namespace string, from corev1.EnvFromSource, set config.Set) (out []variable, err error) {
	kind, name, optional := config.ConfigMap, "", false
	switch {
	case from.ConfigMapRef != nil:
		name, optional = from.ConfigMapRef.Name, from.ConfigMapRef.Optional != nil && *from.ConfigMapRef.Optional
	case from.SecretRef != nil:
		kind, name, optional = config.Secret, from.SecretRef.Name, from.SecretRef.Optional != nil && *from.SecretRef.Optional
	}
	values, found := data(set, kind, namespace+"/"+name)
	if !found && !optional {
		return nil, fmt.Errorf("%s %s/%s does not exist", kind, namespace, name)
	}
	for _, k := range slices.Sorted(maps.Keys(values)) {
		out = append(out, variable{from.Prefix + k, values[k]})
	}
	return out, nil
}

// valueFrom resolves one reference; ok is false for an optional one that is
// not there.
func valueFrom(p *corev1.Pod, from *corev1.EnvVarSource, set config.Set) (value string, ok bool, err error) {
	switch {
	case from.FieldRef != nil:
		value, err = podField(p, from.FieldRef.FieldPath)
		return value, true, err
	case from.ConfigMapKeyRef != nil:
		r := from.ConfigMapKeyRef
		return keyOf(set, config.ConfigMap, p.Namespace+"/"+r.Name, r.Key, r.Optional)
	case from.SecretKeyRef != nil:
		r := from.SecretKeyRef
		return keyOf(set, config.Secret, p.Namespace+"/"+r.Name, r.Key, r.Optional)
	}
	return "", false, fmt.Errorf("valueFrom: only fieldRef, configMapKeyRef and secretKeyRef can be resolved here")
}

func keyOf(set config.Set, kind config.Kind, object, key string, optional *bool) (string, bool, error) {
	values, found := data(set, kind, object)
	value, ok := values[key]
	switch {
	case ok:
		return value, true, nil
	case optional != nil && *optional:
		return "", false, nil
	case !found:
		return "", false, fmt.Errorf("%s %s does not exist", kind, object)
	}
	return "", false, fmt.Errorf("%s %s has no key %q", kind, object, key)
}

// podField is the downward API.
func podField(p *corev1.Pod, path string) (string, error) {
	for prefix, values := range map[string]map[string]string{"metadata.labels['": p.Labels, "metadata.annotations['": p.Annotations} {
		if rest, ok := strings.CutPrefix(path, prefix); ok {
			return values[strings.TrimSuffix(rest, "']")], nil
		}
	}
	switch path {
	case "metadata.name":
		return p.Name, nil
	case "metadata.namespace":
		return p.Namespace, nil
	case "metadata.uid":
		return string(p.UID), nil
	case "spec.serviceAccountName":
		return p.Spec.ServiceAccountName, nil
	case "spec.nodeName":
		return p.Spec.NodeName, nil
	case "status.podIP", "status.hostIP":
		return p.Status.PodIP, nil
	case "status.podIPs":
		var ips []string
		for _, ip := range p.Status.PodIPs {
			ips = append(ips, ip.IP)
		}
		return strings.Join(ips, ","), nil
	}
	return "", fmt.Errorf("fieldRef: unknown fieldPath %q", path)
}

// expand replaces $(NAME) by the variable's value; $$ is a dollar; what is not
// known stays as it is. Source: Kubernetes, Container.command.
func expand(text string, vars []variable) string {
	known := map[string]string{}
	for _, v := range vars {
		known[v.name] = v.value
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '$' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		end := strings.IndexByte(text[i:], ')')
		switch {
		case text[i+1] == '$':
			b.WriteByte('$')
			i++
		case text[i+1] == '(' && end > 0:
			if v, ok := known[text[i+2:i+end]]; ok {
				b.WriteString(v)
			} else {
				b.WriteString(text[i : i+end+1])
			}
			i += end
		default:
			b.WriteByte('$')
		}
	}
	return b.String()
}
