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
	rest, ok := bytes.CutPrefix(line, []byte(inEnvoy+s.metric+"{"))
	at := bytes.LastIndexByte(rest, '}')
	if s.metric == "" || !ok || at < 0 {
		return line
	}
	labels, ok := canonical(string(rest[:at]))
	value, err := strconv.ParseUint(string(bytes.TrimSpace(rest[at+1:])), 10, 64)
	more, here := s.counted[s.metric][labels]
	if !ok || err != nil || !here {
		return line
	}
	delete(s.counted[s.metric], labels)
	head := len(line) - len(rest) + at + 1
	return append(line[:head:head], " "+strconv.FormatUint(value+more, 10)+"\n"...)
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

// canonical reads the labels of a line; false: they are not whole.
func canonical(text string) (string, bool) {
	var out []counts.Pair
	for text != "" {
		name, rest, ok := strings.Cut(text, `="`)
		end := closing(rest)
		if !ok || end < 0 {
			return "", false
		}
		out = append(out, counts.Pair{Name: name, Value: rest[:end]})
		text = strings.TrimPrefix(rest[end+1:], ",")
	}
	return counts.Canonical(out), true
}

// closing is where the quote is that ends a value, -1 for nowhere.
func closing(value string) int {
	for i := 0; i < len(value); i++ {
		switch value[i] {
		case '\\':
			i++
		case '"':
			return i
		}
	}
	return -1
}
