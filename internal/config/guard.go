package config

import (
	"encoding/json"
	"strconv"

	"github.com/weftmesh/weft/internal/diag"
)

// Guards reports whether objects of the kind protect workloads. Of them what can
// be read is in force, for nothing in their place would leave open what they are
// to close; see Object.Unread.
func (k Kind) Guards() bool {
	return k == PeerAuthentication || k == AuthorizationPolicy || k == RequestAuthentication
}

// salvage reads a guard without the fields that cannot be read, and returns
// those problems and what else comes up.
func (o *Object) salvage(t typed, tree any, problems []fieldProblem) []fieldProblem {
	root := map[string]any{"spec": tree}
	for _, p := range problems {
		drop(root, p.path)
	}
	for {
		spec := root["spec"]
		if spec == nil {
			spec = map[string]any{}
		}
		m := t.message()
		raw, err := json.Marshal(spec)
		if err == nil {
			err = readMessage(raw, m)
		}
		o.Spec = m
		if err == nil {
			break
		}
		p := misread(m.ProtoReflect().Descriptor(), spec, fieldProblem{"spec", plainError(err)})
		problems = append(problems, p)
		if !drop(root, p.path) {
			o.Spec = t.message()
			break
		}
	}
	for _, p := range problems {
		o.Unread = append(o.Unread, p.path)
	}
	return problems
}

// drop takes a field out of a tree, and reports whether it was there.
func drop(tree any, at diag.Path) bool {
	steps := step.FindAllStringSubmatch(string(at), -1)
	for i, m := range steps {
		switch v := tree.(type) {
		case map[string]any:
			name := m[1] + m[3]
			if _, ok := v[name]; ok && i == len(steps)-1 {
				delete(v, name)
				return true
			}
			tree = v[name]
		case []any:
			index, err := strconv.Atoi(m[2])
			if err != nil || index >= len(v) {
				return false
			}
			tree = v[index]
		default:
			return false
		}
	}
	return false
}
