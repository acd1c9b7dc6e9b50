package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// mesh is the folder that the pilot reads: one file for each service, one for
// its endpoints, one for its routes.
type mesh struct {
	options
	dir string
}

const namespace = "bench"

func service(i int) string { return fmt.Sprintf("svc-%05d", i) }

func host(i int) string { return service(i) + "." + namespace + ".svc.cluster.local" }

func (m mesh) write() error {
	for i := range m.services {
		if err := m.put(service(i)+".yaml", serviceYAML(i)); err != nil {
			return err
		}
		if err := m.put(service(i)+"-endpoints.yaml", endpointsYAML(i, m.addresses(i))); err != nil {
			return err
		}
		if i < m.services/10 {
			if err := m.put(service(i)+"-routes.yaml", routesYAML(i, "rev-0", 90)); err != nil {
				return err
			}
		}
	}
	return nil
}

// put replaces a file in one step.
func (m mesh) put(name, text string) error { return m.prepare(name, text)() }

// prepare writes a file's next content beside it; the function that it returns
// puts it in place.
func (m mesh) prepare(name, text string) func() error {
	temp := filepath.Join(m.dir, "."+name)
	err := os.WriteFile(temp, []byte(text), 0o600)
	return func() error { return errors.Join(err, os.Rename(temp, filepath.Join(m.dir, name))) }
}

func (m mesh) addresses(i int) (out []string) {
	for j := range m.endpoints {
		out = append(out, fmt.Sprintf("10.%d.%d.%d", 1+i/250, i%250, 1+j))
	}
	return out
}

// addEndpoint adds an address that no run had before to service k; the text is
// what a client finds in its new endpoints.
func (m mesh) addEndpoint(k int) (text string, apply func() error) {
	i := k % m.services
	text = fmt.Sprintf("10.201.%d.%d", k/250, 1+k%250)
	return text, m.prepare(service(i)+"-endpoints.yaml", endpointsYAML(i, append(m.addresses(i), text)))
}

// changeWeight changes the weights of the k-th VirtualService.
func (m mesh) changeWeight(k int) (text string, apply func() error) {
	i := k % (m.services / 10)
	text = fmt.Sprintf("rev-%x-%d", time.Now().UnixNano(), k)
	return text, m.prepare(service(i)+"-routes.yaml", routesYAML(i, text, 50+k%50))
}

func serviceYAML(i int) string {
	return fmt.Sprintf(`apiVersion: v1
kind: Service
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  clusterIP: 10.%[3]d.%[4]d.%[5]d
  selector: {app: %[1]s}
  ports: [{name: http, port: 80, targetPort: 8080}, {name: grpc, port: 9000, targetPort: 9000}]
`, service(i), namespace, 100+i/62500, i/250%250, 1+i%250)
}

func endpointsYAML(i int, addresses []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, `apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: %[1]s-a, namespace: %[2]s, labels: {kubernetes.io/service-name: %[1]s}}
addressType: IPv4
ports: [{name: http, port: 8080, protocol: TCP}, {name: grpc, port: 9000, protocol: TCP}]
endpoints:
`, service(i), namespace)
	for _, a := range addresses {
		fmt.Fprintf(&b, "- {addresses: [%s], conditions: {ready: true}}\n", a)
	}
	return b.String()
}

func routesYAML(i int, revision string, weight int) string {
	return fmt.Sprintf(`apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  host: %[3]s
  subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: %[1]s, namespace: %[2]s}
spec:
  hosts: [%[3]s]
  http:
  - headers: {response: {set: {x-rev: %[4]s}}}
    route:
    - {destination: {host: %[3]s, subset: v1}, weight: %[5]d}
    - {destination: {host: %[3]s, subset: v2}, weight: %[6]d}
`, service(i), namespace, host(i), revision, weight, 100-weight)
}
