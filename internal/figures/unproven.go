package figures

// way is where calls go. Requests and connections are told apart, for a server
// may take both.
type way struct {
	namespace, service, workload, version string
	bytes                                 bool
}

func wayOf(f Flow) way {
	return way{f.ServiceNamespace, f.Service, f.Destination.Workload, f.Destination.Version, f.Protocol == ""}
}

// unproven are calls in which nobody proved who they are.
type unproven struct {
	callers float64 // as the callers' proxies count them
	servers float64 // as the servers' do, which have those of callers without a proxy too
}

// callsUnproven are those of each way. A call by a proxy in plaintext is counted
// at both ends, of which the server's knows no caller. What did not arrive no
// server has counted.
func callsUnproven(counted []Delta) map[way]unproven {
	out := map[way]unproven{}
	for _, d := range counted {
		for f, c := range d.Flows {
			w, n := wayOf(f), c.Requests+c.Opened+c.Closed
			u := out[w]
			switch {
			case f.Reporter == FromDestination && f.Source.Workload == Unknown:
				u.servers += n
			case f.Reporter == FromSource && f.Destination.Principal == Unknown && !f.lost():
				u.callers += n
			}
			out[w] = u
		}
	}
	return out
}

// part is a part of the counts, of a whole that they belong to.
func (c Counts) part(part, whole float64) Counts {
	if part == whole {
		return c
	}
	of := func(n float64) float64 { return n * part / whole }
	out := Counts{Requests: of(c.Requests), Received: of(c.Received), Sent: of(c.Sent), Opened: of(c.Opened), Closed: of(c.Closed), Duration: Histogram{}}
	for bound, n := range c.Duration {
		out.Duration[bound] = of(n)
	}
	return out
}
