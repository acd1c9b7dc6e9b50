package cli

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/gateway/ingress"
	"github.com/weftmesh/weft/install"
	"github.com/weftmesh/weft/internal/diag"
)

func (a *app) convert() *cobra.Command {
	c := &cobra.Command{
		Use: "convert", GroupID: "look", Short: "Turn objects of other programs into Weft's", Args: known,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	c.AddCommand(a.convertIngress())
	return c
}

func (a *app) convertIngress() *cobra.Command {
	var files []string
	o := ingress.Options{}
	c := &cobra.Command{
		Use: "ingress -f FILE", Short: "Turn Ingresses into Gateways, VirtualServices and DestinationRules",
		Long: "Print what does the same as the Ingresses of the files (and of nginx's annotations on them). What is\n" +
			"not the same, and each annotation that is not translated, is said on the error output and in a\n" +
			"comment above the YAML. Give the Services too: they number the ports that Ingresses name.\n\n" +
			"Exit code 1 if requests would be treated otherwise than before; a warning does not.",
		Example: "  kubectl get ingress,service -A -o yaml | weft convert ingress -f - > routes.yaml",
		Args:    exactly(cobra.NoArgs),
		RunE: func(cmd *cobra.Command, _ []string) error {
			read, err := a.readFiles(cmd.InOrStdin(), files)
			if err != nil {
				return err
			}
			return a.printConverted(ingress.Convert(read, o))
		},
	}
	c.Flags().StringSliceVarP(&files, "filename", "f", nil, "`FILE` or folder to read, - for the standard input; may be given several times")
	c.Flags().StringVar(&o.Class, "class", "", "convert only Ingresses of this `CLASS`, and those of none")
	c.Flags().StringVar(&o.GatewayNamespace, "gateway-namespace", install.DefaultNamespace, "`NAMESPACE` of the gateway's pods")
	a.outputFlag(c, "yaml", "json")
	return c
}

// readFiles reads what -f names.
func (a *app) readFiles(stdin io.Reader, names []string) (out []ingress.File, err error) {
	if len(names) == 0 {
		return nil, usageError{errors.New("say what to read with -f FILE")}
	}
	for _, name := range names {
		if name == "-" {
			text, err := io.ReadAll(stdin)
			if err != nil {
				return nil, err
			}
			out = append(out, ingress.File{Name: "standard input", Text: text})
			continue
		}
		paths, err := manifests(name)
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				return nil, err
			}
			out = append(out, ingress.File{Name: path, Text: text})
		}
	}
	return out, nil
}

// manifests are the files that a name stands for: itself, or those of a folder.
func manifests(name string) (out []string, err error) {
	if info, err := os.Stat(name); err != nil || !info.IsDir() {
		return []string{name}, err
	}
	for _, pattern := range []string{"*.yaml", "*.yml", "*.json"} {
		found, err := filepath.Glob(filepath.Join(name, pattern))
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return out, nil
}

// converted is the output as one object, for -o json.
type converted struct {
	APIVersion string           `json:"apiVersion"`
	Kind       string           `json:"kind"`
	Items      []ingress.Object `json:"items"`
}

func (a *app) printConverted(r ingress.Result) error {
	failed := false
	for _, d := range r.Findings {
		failed = failed || d.Severity == diag.Error
		fmt.Fprintln(a.err, findingLine(d))
	}
	if len(r.Objects) == 0 {
		return errors.New("there is no Ingress to convert")
	}
	if a.output == "json" {
		if err := a.json(converted{"v1", "List", r.Objects}); err != nil {
			return err
		}
	} else if err := a.printObjects(r); err != nil {
		return err
	}
	if failed {
		return exitCode(1)
	}
	return nil
}

func (a *app) printObjects(r ingress.Result) error {
	for _, d := range r.Findings {
		fmt.Fprintln(a.out, "#", strings.ReplaceAll(d.String(), "\n", " "))
	}
	for _, o := range r.Objects {
		text, err := yaml.Marshal(o)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.out, "---\n%s", text)
	}
	return nil
}
