package command

import (
	"fmt"
	"maps"
	"os"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/agent/node"
)

// addLabels adds the labels of --labels-file to pod's. The file is better than
// the environment: it has what was added after injection, such as the topology
// of the node that the pod was bound to.
func (f *flags) addLabels(pod *node.Node) error {
	if f.labelsFile == "" {
		return nil
	}
	text, err := os.ReadFile(f.labelsFile)
	if err != nil {
		return fmt.Errorf("--labels-file: %w", err)
	}
	labels, err := parseLabels(string(text))
	if err != nil {
		return fmt.Errorf("--labels-file %s: %w", f.labelsFile, err)
	}
	all := maps.Clone(pod.Labels)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, labels)
	pod.Labels = all
	return nil
}

// parseLabels reads NAME="VALUE" lines, the value quoted as Go quotes it.
// Source: Kubernetes, downward API volumes, metadata.labels.
func parseLabels(text string) (map[string]string, error) {
	out := map[string]string{}
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		name, quoted, _ := strings.Cut(line, "=")
		value, err := strconv.Unquote(quoted)
		if err != nil {
			return nil, fmt.Errorf("line %q: want NAME=\"VALUE\"", line)
		}
		out[name] = value
	}
	return out, nil
}
