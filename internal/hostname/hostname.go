// Package hostname knows host names as Istio's API writes them: short names,
// fully qualified names and names with a leading "*".
//
// In: names. Out: names, and why one is not valid. Imports: the standard
// library only.
package hostname

import (
	"errors"
	"fmt"
	"strings"
)

// Longest name and label, RFC 1035 2.3.4.
const (
	maxName  = 253
	maxLabel = 63
)

// Service gives the fully qualified name of a Kubernetes Service.
func Service(name, namespace, domain string) string {
	return strings.ToLower(name + "." + namespace + ".svc." + domain)
}

// Qualify resolves a name as Istio does: a name without a dot is a service in
// namespace; any other name, and "*", is complete already. It is lower case,
// and without the dot that may end a complete name: proxies take it off the
// names that clients write.
//
// Source: istio.io/api networking/v1alpha3, VirtualService.hosts.
func Qualify(name, namespace, domain string) string {
	if name == "" || name == "*" || strings.Contains(name, ".") {
		return strings.ToLower(strings.TrimSuffix(name, "."))
	}
	return Service(name, namespace, domain)
}

// Check reports why name is not a DNS name or IP address. A leading "*." or
// "*-label" and "*" alone are allowed.
func Check(name string) error {
	if name == "" {
		return errors.New("it is empty")
	}
	if len(name) > maxName {
		return fmt.Errorf("it has %d characters, at most %d are allowed", len(name), maxName)
	}
	if name == "*" {
		return nil
	}
	labels := strings.Split(strings.TrimSuffix(name, "."), ".")
	labels[0] = strings.TrimPrefix(labels[0], "*")
	for i, label := range labels {
		if i == 0 && label == "" && name[0] == '*' && len(labels) > 1 {
			continue
		}
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	return nil
}

func checkLabel(label string) error {
	if label == "" {
		return errors.New("it has an empty label")
	}
	if len(label) > maxLabel {
		return fmt.Errorf("label %q has more than %d characters", label, maxLabel)
	}
	for _, c := range label {
		if c > 0x7f {
			return fmt.Errorf("character %q is not allowed; write the name in its xn-- form", c)
		}
		if !alnum(byte(c)) && c != '_' && c != '-' {
			return fmt.Errorf("character %q is not allowed", c)
		}
	}
	if label[len(label)-1] == '-' {
		return fmt.Errorf("label %q ends with '-'", label)
	}
	return nil
}

func alnum(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// IsLabel reports whether s is a DNS-1123 label: lower-case letters, digits
// and inner '-', at most 63.
func IsLabel(s string) bool {
	if s == "" || len(s) > maxLabel || s[0] == '-' || s[len(s)-1] == '-' {
		return false
	}
	for i := range len(s) {
		if c := s[i]; !(c >= 'a' && c <= 'z' || c >= '0' && c <= '9' || c == '-') {
			return false
		}
	}
	return true
}

// Covers reports whether pattern, which may begin with "*", takes every host
// that name, which may too, stands for.
func Covers(pattern, name string) bool {
	suffix, wild := strings.CutPrefix(pattern, "*")
	if !wild {
		return pattern == name
	}
	rest := strings.TrimPrefix(name, "*")
	if len(rest) == len(name) {
		return len(name) > len(suffix) && strings.HasSuffix(name, suffix)
	}
	return strings.HasSuffix(rest, suffix)
}

// Wider gives name, and then the wildcards of whole labels that cover it, the
// narrowest first: of "a.b.c" "a.b.c", "*.b.c", "*.c" and "*".
func Wider(name string) []string {
	out := []string{name}
	for rest := strings.TrimPrefix(name, "*."); rest != "*"; {
		_, parent, more := strings.Cut(rest, ".")
		if !more {
			return append(out, "*")
		}
		out, rest = append(out, "*."+parent), parent
	}
	return out
}
