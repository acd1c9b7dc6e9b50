package cli

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/source/file"
	"github.com/weftmesh/weft/pilot"
)

// proxyFile says whose configuration is asked for.
type proxyFile struct {
	Role           string            `json:"role"` // sidecar (default) or router
	Name           string            `json:"name"`
	Namespace      string            `json:"namespace"`
	ServiceAccount string            `json:"serviceAccount"`
	Labels         map[string]string `json:"labels"`
	Addresses      []string          `json:"addresses"`
}

func readProxy(path string) (model.Proxy, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return model.Proxy{}, err
	}
	f := proxyFile{Role: "sidecar", Namespace: "default", ServiceAccount: "default"}
	if err := yaml.UnmarshalStrict(text, &f); err != nil {
		return model.Proxy{}, fmt.Errorf("%s: %w; it may hold role, name, namespace, serviceAccount, labels and addresses", path, err)
	}
	if f.Role != "sidecar" && f.Role != "router" {
		return model.Proxy{}, fmt.Errorf("%s: role %q: it is sidecar or router", path, f.Role)
	}
	return model.Proxy{
		Sidecar: f.Role == "sidecar", Name: f.Name, Namespace: f.Namespace, ServiceAccount: f.ServiceAccount,
		Labels: f.Labels, Addresses: f.Addresses, ClusterID: "Kubernetes", Proven: true,
	}, nil
}

func (a *app) translate() *cobra.Command {
	var proxy string
	var kinds []string
	c := &cobra.Command{
		Use: "translate DIR", ValidArgsFunction: folders, GroupID: "look", Short: "Show what a proxy would get for a folder of YAML, without running anything",
		Long: "Compile DIR and print the Envoy resources of one proxy, which --proxy describes:\n\n" +
			"  role: sidecar          # or router\n  namespace: default\n  labels: {app: web}\n\n" +
			"Without --proxy: a sidecar of namespace default without labels.",
		Example: "  weft translate samples/canary --proxy router.yaml --type VirtualHost",
		Args:    exactly(cobra.ExactArgs(1)),
		RunE: interruptible(func(args []string) error {
			who := model.Proxy{Sidecar: true, Namespace: "default", ServiceAccount: "default", Proven: true}
			if proxy != "" {
				var err error
				if who, err = readProxy(proxy); err != nil {
					return err
				}
			}
			st, err := file.Read(args[0])
			if err != nil {
				return err
			}
			return a.printResources(pilot.Translate(st.Set, who), kinds)
		}),
	}
	c.Flags().StringVar(&proxy, "proxy", "", "YAML `FILE` that describes the proxy")
	c.Flags().StringSliceVar(&kinds, "type", nil, "only these `TYPES`, such as Cluster,Listener,VirtualHost")
	a.outputFlag(c, "yaml", "json")
	return c
}

// printed is one resource as it is shown.
type printed struct {
	Type     string          `json:"type"`
	Name     string          `json:"name"`
	Version  string          `json:"version"`
	Objects  []string        `json:"objects,omitempty"`
	Resource json.RawMessage `json:"resource"`
}

func (a *app) printResources(list []*pilot.Resource, kinds []string) error {
	out := []printed{}
	for _, r := range list {
		short := r.Type[strings.LastIndexByte(r.Type, '.')+1:]
		if len(kinds) == 0 || containsFold(kinds, short) {
			out = append(out, printed{Type: short, Name: r.Name, Version: r.Version, Objects: r.Sources, Resource: pilot.JSON(r)})
		}
	}
	switch a.output {
	case "json":
		return a.json(out)
	case "yaml":
		text, err := yaml.Marshal(out)
		if err != nil {
			return err
		}
		_, err = a.out.Write(text)
		return err
	}
	rows := [][]string{{"TYPE", "NAME", "VERSION", "FROM"}}
	for _, p := range out {
		rows = append(rows, []string{p.Type, p.Name, p.Version, dash(strings.Join(p.Objects, ","))})
	}
	return a.table(rows)
}

func containsFold(list []string, s string) bool {
	for _, l := range list {
		if strings.EqualFold(l, s) {
			return true
		}
	}
	return false
}
