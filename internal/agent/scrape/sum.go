package scrape

import (
	"bytes"
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/agent/counts"
)

// summing adds what the agent has counted to Envoy's counters of the same names
// and labels, and writes those that Envoy has none of to the end of their metric.
type summing struct {
	counted counts.Counted
	write   lineWriter
	metric  string // whose lines are passing; "" for none that is in counted
}

// inEnvoy begins the names of Istio's metrics in Envoy's.
const inEnvoy = "envoy_"

// line takes one line of Envoy's page.
func (s *summing) line(line []byte) error {
	if metric, ok := bytes.CutPrefix(line, []byte("# TYPE "+inEnvoy)); ok {
		if err := s.end(); err != nil {
			return err
		}
		name, _, _ := bytes.Cut(metric, []byte(" "))
		if _, ok := s.counted[string(name)]; ok {
			s.metric = string(name)
		}
	}
	return s.write(s.add(line))
}

// add is the line with its sum.
func (s *summing) add(line []byte) []byte {
	if s.metric == "" || !bytes.HasPrefix(line, []byte(inEnvoy+s.metric+"{")) {
		return line
	}
	of := seriesOf(line)
	labels, whole := of.labels()
	value, err := strconv.ParseUint(string(of.value), 10, 64)
	more, here := s.counted[s.metric][labels]
	if !whole || err != nil || !here {
		return line
	}
	delete(s.counted[s.metric], labels)
	return append(slices.Clip(of.head), " "+strconv.FormatUint(value+more, 10)+"\n"...)
}

// end writes what is left of the metric whose lines have passed.
func (s *summing) end() error {
	of := s.counted[s.metric]
	for _, labels := range slices.Sorted(maps.Keys(of)) {
		if err := s.write([]byte(inEnvoy + s.metric + "{" + labels + "} " + strconv.FormatUint(of[labels], 10) + "\n")); err != nil {
			return err
		}
	}
	delete(s.counted, s.metric)
	s.metric = ""
	return nil
}

// rest writes the metrics that Envoy's page had none of.
func (s *summing) rest() error {
	if err := s.end(); err != nil {
		return err
	}
	for _, metric := range slices.Sorted(maps.Keys(s.counted)) {
		if len(s.counted[metric]) == 0 {
			continue
		}
		if err := s.write([]byte("# TYPE " + inEnvoy + metric + " counter\n")); err != nil {
			return err
		}
		s.metric = metric
		if err := s.end(); err != nil {
			return err
		}
	}
	return nil
}

// asked leaves those that Envoy's filter asks for, as it names them: "istio.NAME".
func asked(counted counts.Counted, query string) counts.Counted {
	values, _ := url.ParseQuery(query) // of one that cannot be read Envoy makes what it can too
	if filter, err := regexp.Compile(values.Get("filter")); err == nil {
		maps.DeleteFunc(counted, func(metric string, _ map[string]uint64) bool {
			return !filter.MatchString(strings.Replace(metric, "_", ".", 1))
		})
	}
	return counted
}

// labels are in the agent's order; false: they are not whole.
func (s series) labels() (string, bool) {
	var out []counts.Pair
	whole := s.each(func(name, value []byte) {
		out = append(out, counts.Pair{Name: string(name), Value: string(value[1 : len(value)-1])})
	})
	return counts.Canonical(out), whole
}
