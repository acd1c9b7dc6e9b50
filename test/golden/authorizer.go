package golden

import (
	"fmt"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
	"github.com/weftmesh/weft/test/envoy"
)

// Authorizer is how an external authorizer answers; by default it allows.
type Authorizer struct {
	Status   int               `json:"status"`
	Headers  map[string]Values `json:"headers"`
	Response map[string]Values `json:"response"` // over gRPC, for the answer to what is allowed
	Body     string            `json:"body"`
	Delay    string            `json:"delay"`
	Refuse   bool              `json:"refuse"`
}

func (a Authorizer) resolve() (out simulate.Authorizer, err error) {
	out = simulate.Authorizer{Status: a.Status, Body: a.Body, Refuse: a.Refuse}
	for name, values := range a.Headers {
		out.Headers = out.Headers.With(name, values...)
	}
	for name, values := range a.Response {
		out.Response = out.Response.With(name, values...)
	}
	if a.Delay != "" {
		if out.Delay, err = time.ParseDuration(a.Delay); err != nil {
			return out, fmt.Errorf("authorizers: delay: %w", err)
		}
	}
	return out, nil
}

// Question is what an external authorizer must have been asked.
type Question struct {
	Cluster string             `json:"cluster"`
	Method  string             `json:"method"`
	Host    *string            `json:"host"`
	Path    *string            `json:"path"`
	Headers map[string]*string `json:"headers"`
	Body    *string            `json:"body"`
	Bytes   *bool              `json:"bytes"` // the body came as bytes
}

// checks compares what authorizers were asked.
func (w Want) checks(f *findings, got []simulate.Check) {
	if w.Checks == nil {
		return
	}
	f.differ("questions to authorizers", len(*w.Checks), len(got))
	for i, c := range *w.Checks {
		if i >= len(got) {
			return
		}
		g := got[i]
		f.differ("authorizer", c.Cluster, g.Cluster)
		f.text("host in the question", c.Host, g.Request.Host)
		f.text("path in the question", c.Path, g.Request.Path)
		f.text("body in the question", c.Body, g.Body)
		f.headers("header in the question", c.Headers, g.Request.Headers)
		if c.Method != "" {
			f.differ("method in the question", c.Method, g.Request.Method)
		}
		if c.Bytes != nil {
			f.differ("bytes in the question", *c.Bytes, g.Bytes)
		}
	}
}

// asked lists the points on which simulator and Envoy differ in what they ask of
// authorizers.
func asked(o simulate.Outcome, found envoy.Observed) (d []string) {
	differ := func(what string, sim, real any) {
		if fmt.Sprint(sim) != fmt.Sprint(real) {
			d = append(d, fmt.Sprintf("%s is %v in the simulator, %v in Envoy", what, sim, real))
		}
	}
	differ("number of questions", len(o.Checks), len(found.Checks))
	for i := range min(len(o.Checks), len(found.Checks)) {
		sim, real := o.Checks[i], found.Checks[i]
		differ("authorizer", sim.Cluster, real.Cluster)
		differ("method in the question", sim.Request.Method, real.Request.Method)
		differ("host in the question", sim.Request.Host, real.Request.Host)
		differ("path in the question", sim.Request.Path, real.Request.Path)
		differ("body in the question", sim.Body, real.Body)
		differ("bytes in the question", sim.Bytes, real.Bytes)
		d = append(d, headers("header in the question", sim.Request.Headers, real.Request.Headers)...)
	}
	return d
}
