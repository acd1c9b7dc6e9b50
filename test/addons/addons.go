// Package addons reads samples/addons: what the dashboards ask Prometheus, and
// the alert rules.
//
// Input: that folder. Output: Dashboards and Rules. It imports the standard
// library and a reader of YAML: the tests here hold the files to what can be known
// without a cluster, test/e2e/observe asks a live Prometheus.
package addons

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"sigs.k8s.io/yaml"
)

// Dashboard is one of Grafana's, as far as it is read here. Source: Grafana's
// "Dashboard JSON model".
type Dashboard struct {
	File        string `json:"-"` // without its folder
	UID, Title  string
	Description string
	Templating  struct{ List []Variable }
	Panels      []Panel
}

// Variable is chosen at the top of a dashboard.
type Variable struct {
	Name, Label, Type, Query string
	Multi                    bool
}

// Panel is a picture of a dashboard.
type Panel struct {
	ID                       int
	Type, Title, Description string
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig              struct{ Defaults struct{ Unit string } }
	Targets                  []struct{ RefID, Expr string }
}

// Dashboards reads all of a folder.
func Dashboards(dir string) ([]Dashboard, error) {
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		return nil, fmt.Errorf("no dashboard in %s (%w)", dir, err)
	}
	out := make([]Dashboard, len(files))
	for i, file := range files {
		text, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(text, &out[i])
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out[i].File = filepath.Base(file)
	}
	return out, nil
}

var labelValues = regexp.MustCompile(`^label_values\((.+), (\w+)\)$`)

// Asks gives the series whose label has the variable's values. An error: the
// query is another one than label_values(SERIES, LABEL).
func (v Variable) Asks() (series, label string, err error) {
	m := labelValues.FindStringSubmatch(v.Query)
	if m == nil {
		return "", "", fmt.Errorf("variable %s: %q is not label_values(SERIES, LABEL)", v.Name, v.Query)
	}
	return m[1], m[2], nil
}

// Rule is an alert's.
type Rule struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

// Rules reads the alert rules of a file.
func Rules(file string) ([]Rule, error) {
	var in struct {
		Groups []struct {
			Name  string
			Rules []Rule
		}
	}
	if err := readYAML(file, &in); err != nil {
		return nil, err
	}
	var out []Rule
	for _, g := range in.Groups {
		out = append(out, g.Rules...)
	}
	return out, nil
}

func readYAML(file string, into any) error {
	text, err := os.ReadFile(file)
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return nil
}

var (
	bound  = regexp.MustCompile(` (?:[<>]=?|==) [0-9.]+`)
	absent = regexp.MustCompile(`^absent\((.*)\)$`)
)

// Asks is the rule's expression without its bounds: it has a value where the
// alert is not due too, as long as its series exist.
func (r Rule) Asks() string { return absent.ReplaceAllString(bound.ReplaceAllString(r.Expr, ""), "$1") }

// Relabeling is a step of a monitor's, as prometheus.yml spells it. Source:
// prometheus-operator, "API reference", RelabelConfig.
type Relabeling struct {
	SourceLabels []string `json:"source_labels,omitempty"`
	Regex        string   `json:"regex,omitempty"`
	Action       string   `json:"action,omitempty"`
	TargetLabel  string   `json:"target_label,omitempty"`
	Replacement  string   `json:"replacement,omitempty"`
}

// Job is what the Prometheus Operator makes of a PodMonitor, as far as it is used
// here.
type Job struct {
	Name        string       `json:"job_name"`
	Path        string       `json:"metrics_path"`
	Relabelings []Relabeling `json:"relabel_configs"`
	Files       []any        `json:"file_sd_configs"`
}

// PodMonitors reads the jobs of a file's PodMonitors, which find their pods in a
// file.
func PodMonitors(file, pods string) ([]Job, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var out []Job
	for part := range strings.SplitSeq(string(text), "\n---\n") {
		var m struct {
			Kind     string
			Metadata struct{ Name string }
			Spec     struct {
				PodMetricsEndpoints []struct {
					Path        string
					Relabelings []struct {
						SourceLabels                            []string
						Regex, Action, TargetLabel, Replacement string
					}
				}
			}
		}
		if err := yaml.Unmarshal([]byte(part), &m); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		for _, e := range m.Spec.PodMetricsEndpoints {
			job := Job{Name: m.Metadata.Name, Path: e.Path, Files: []any{map[string][]string{"files": {pods}}}}
			for _, r := range e.Relabelings {
				job.Relabelings = append(job.Relabelings, Relabeling(r))
			}
			out = append(out, job)
		}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("%s has no PodMonitor", file)
	}
	return out, nil
}

// Discovering is a configuration of Prometheus that finds its pods in a file
// instead of asking Kubernetes.
func Discovering(config, file string) string {
	return strings.Replace(config, "kubernetes_sd_configs: [{role: pod}]", "file_sd_configs: [{files: ["+file+"]}]", 1)
}
