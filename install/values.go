package install

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"helm.sh/helm/v4/pkg/chart/v2/loader"
	"helm.sh/helm/v4/pkg/strvals"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"
)

// Inputs are the values that a user gives. Later ones win: Base or profile, then
// files in their order, then sets, then Revision. The zero value is the profile
// "default".
type Inputs struct {
	Base     map[string]any // of an earlier install; nil: the profile
	Profile  string
	Files    []string  // paths; "-" is Stdin
	Sets     []string  // KEY=VALUE[,KEY=VALUE], as helm's --set
	Revision string    // "" leaves what the others say
	Stdin    io.Reader // for the file "-"
}

// Profiles are the names of the built-in profiles, sorted.
func Profiles() []string {
	entries, err := files.ReadDir("profiles")
	if err != nil {
		return nil // built in: it cannot be missing
	}
	var out []string
	for _, e := range entries {
		out = append(out, strings.TrimSuffix(e.Name(), ".yaml"))
	}
	return out
}

// Values merges what in names. An error names the profile, the file or the
// --set at fault, and for a key that there is not the nearest one that there is.
func (in Inputs) Values() (map[string]any, error) {
	out, err := in.base()
	if err != nil {
		return nil, err
	}
	known, err := valuesSchema()
	if err != nil {
		return nil, err
	}
	for _, file := range in.Files {
		values, err := in.read(file)
		if err != nil {
			return nil, err
		}
		if err := known.check(values); err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = loader.MergeMaps(out, values)
	}
	for _, set := range in.Sets {
		given, err := strvals.Parse(set)
		if err != nil {
			return nil, fmt.Errorf("--set %s: %w; write KEY=VALUE", set, err)
		}
		if err := known.check(given); err != nil {
			return nil, fmt.Errorf("--set %s: %w", set, err)
		}
		// Parsed again into what there is, so that lists keep their other items.
		if err := strvals.ParseInto(set, out); err != nil {
			return nil, fmt.Errorf("--set %s: %w", set, err)
		}
	}
	if in.Revision != "" {
		out["revision"] = in.Revision
	}
	return out, nil
}

func (in Inputs) base() (map[string]any, error) {
	if in.Base != nil && in.Profile == "" {
		return runtime.DeepCopyJSON(in.Base), nil
	}
	return in.profile()
}

func (in Inputs) profile() (map[string]any, error) {
	name := in.Profile
	if name == "" {
		name = "default"
	}
	if !slices.Contains(Profiles(), name) {
		return nil, fmt.Errorf("there is no profile %q; it is one of %s", name, strings.Join(Profiles(), ", "))
	}
	text, err := files.ReadFile(path.Join("profiles", name+".yaml"))
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	return out, yaml.Unmarshal(text, &out)
}

func (in Inputs) read(file string) (map[string]any, error) {
	var text []byte
	var err error
	switch {
	case file != "-":
		text, err = os.ReadFile(file)
	case in.Stdin == nil:
		return nil, errors.New("-: there is no standard input to read values from")
	default:
		text, err = io.ReadAll(in.Stdin)
	}
	if err != nil {
		return nil, err
	}
	out := map[string]any{}
	if err := yaml.UnmarshalStrict(text, &out); err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return out, nil
}
