package random

import (
	"maps"
	"slices"
)

// Shrink takes from objects what they fail without, one field or element at a
// time, until nothing more can go. fails must be deterministic. The objects are
// written to.
func Shrink(objects []Tree, fails func([]Tree) bool) []Tree {
	for again := true; again; {
		again = false
		for i := len(objects) - 1; i >= 0; i-- {
			less := slices.Delete(slices.Clone(objects), i, i+1)
			if fails(less) {
				objects, again = less, true
			}
		}
		for _, o := range objects {
			if spec, ok := o["spec"].(Tree); ok && thin(spec, func() bool { return fails(objects) }) {
				again = true
			}
		}
	}
	return objects
}

// thin takes away what it can of a message, and reports whether it could.
func thin(in Tree, fails func() bool) (smaller bool) {
	for _, key := range slices.Sorted(maps.Keys(in)) {
		value := in[key]
		delete(in, key)
		if fails() {
			smaller = true
			continue
		}
		in[key] = value
		switch v := value.(type) {
		case Tree:
			smaller = thin(v, fails) || smaller
		case []any:
			smaller = thinList(in, key, v, fails) || smaller
		}
	}
	return smaller
}

func thinList(in Tree, key string, list []any, fails func() bool) (smaller bool) {
	for i := len(list) - 1; i >= 0; i-- {
		less := slices.Delete(slices.Clone(list), i, i+1)
		in[key] = less
		if fails() {
			list, smaller = less, true
			continue
		}
		in[key] = list
		if sub, ok := list[i].(Tree); ok {
			smaller = thin(sub, fails) || smaller
		}
	}
	return smaller
}
