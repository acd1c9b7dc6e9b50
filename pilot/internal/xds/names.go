package xds

import "slices"

// nameSet is a sorted list of names: a fifth of a map's memory, which counts
// where every stream has thousands. The zero value is empty.
type nameSet []string

func (n nameSet) has(name string) bool {
	_, ok := slices.BinarySearch(n, name)
	return ok
}

// add puts names into the set; it sorts its argument.
func (n *nameSet) add(names []string) {
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), n.has)
	switch len(names) {
	case 0:
	case 1:
		at, _ := slices.BinarySearch(*n, names[0])
		*n = slices.Insert(*n, at, names[0])
	default:
		merged := slices.Concat(*n, names)
		slices.Sort(merged)
		*n = merged
	}
}

func (n *nameSet) remove(name string) {
	if at, ok := slices.BinarySearch(*n, name); ok {
		*n = slices.Delete(*n, at, at+1)
	}
}
