package cluster

import (
	"bytes"
	"embed"
	"fmt"
	"os"
	"path/filepath"
	"text/template"
)

//go:embed files
var files embed.FS

// nodeFiles are the configuration of a node: a template of each is embedded.
var nodeFiles = []string{"containerd.toml", "kubelet.yaml", "kube-proxy.yaml", "resolv.conf", "cni/10-bridge.conflist"}

// writeFiles writes those of node n.
func (l layout) writeFiles(n int, proxyMode string) error {
	etc := filepath.Join(l.dir, "etc", nodeName(n))
	data := map[string]string{
		"Name": nodeName(n), "Address": nodeAddress(n).String(), "Pods": podRange(n).String(), "AllPods": pods.String(),
		"DNS": dns.String(), "Etc": etc, "PKI": l.pki(""), "Plugins": filepath.Dir(l.programs["bridge"]),
		"Socket": containerdSocket, "Pause": pauseImage, "ProxyMode": proxyMode,
	}
	for _, name := range nodeFiles {
		content, err := render(name, data)
		if err != nil {
			return err
		}
		path := filepath.Join(etc, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// render fills an embedded template.
func render(name string, data map[string]string) ([]byte, error) {
	t, err := template.New(filepath.Base(name)).Option("missingkey=error").ParseFS(files, filepath.Join("files", name))
	if err != nil {
		return nil, fmt.Errorf("template %s: %w", name, err)
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("template %s: %w", name, err)
	}
	return out.Bytes(), nil
}
