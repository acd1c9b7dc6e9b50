package figures

// Samples are those of all proxies at one time, by NAMESPACE/POD.
type Samples map[string]Sample

// All is what was counted since the proxies' start.
func (s Samples) All() (out []Delta) {
	for _, one := range s {
		out = append(out, All(one))
	}
	return out
}

// Since is what each proxy counted since the first of earlier samples, oldest
// first, that has it whole.
func (s Samples) Since(earlier ...Samples) (out []Delta) {
	for name, now := range s {
		for _, before := range earlier {
			if old, there := before[name]; there && !old.Partial {
				if d, sure := Between(old, now); sure {
					out = append(out, d)
				}
				break
			}
		}
	}
	return out
}
