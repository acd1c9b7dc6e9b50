package scrape

import (
	"bytes"
	"io"
	"math"
	"slices"
	"strconv"
)

// format is one of the two texts that Prometheus reads. OpenMetrics has exemplars,
// and other rules for types: a counter ends in _total.
type format bool

const (
	plain       format = false
	openMetrics format = true
)

// formatter writes lines of one format as those of another. The names of samples stay
// as they are, so that a series has one name whoever asks: where OpenMetrics would
// have another, the type is left open.
type formatter struct {
	w    io.Writer
	to   format
	from format

	line []byte // used again

	name, kind, help []byte // of the metric whose comments have come; its samples have not
}

// comment takes "TYPE", "HELP" or "UNIT", a name, and what follows it.
func (f *formatter) comment(word string, name, text []byte) error {
	if !bytes.Equal(name, f.name) {
		if err := f.flush(); err != nil {
			return err
		}
		f.name = bytes.Clone(name)
	}
	switch word {
	case "TYPE":
		f.kind = bytes.Clone(text)
	case "HELP":
		f.help = bytes.Clone(text)
	}
	return nil
}

// flush writes the comments of a metric.
func (f *formatter) flush() error {
	name, kind := f.typed()
	var out []byte
	if f.help != nil {
		out = append(append(append(append(append(out, "# HELP "...), name...), ' '), f.escaped()...), '\n')
	}
	if kind != nil {
		out = append(append(append(append(append(out, "# TYPE "...), name...), ' '), kind...), '\n')
	}
	f.name, f.kind, f.help = nil, nil, nil
	if len(out) == 0 {
		return nil
	}
	_, err := f.w.Write(out)
	return err
}

// typed is a metric's name and type in the other format. Source: OpenMetrics 1.0,
// "Metric Types"; Prometheus, "Exposition formats".
func (f *formatter) typed() (name, kind []byte) {
	name, kind = f.name, f.kind
	switch {
	case kind == nil || f.to == f.from:
	case f.to == openMetrics:
		base, total := bytes.CutSuffix(name, []byte("_total"))
		switch {
		case string(kind) == "counter" && total && !bytes.HasPrefix(name, []byte("envoy_")): // Envoy has upstream_rq_total and upstream_rq, which would be one metric twice
			return base, kind
		case string(kind) == "counter", string(kind) == "untyped":
			return name, []byte("unknown")
		}
	default:
		switch string(kind) {
		case "counter":
			return append(bytes.Clone(name), "_total"...), kind
		case "unknown", "gaugehistogram":
			return name, []byte("untyped")
		case "stateset":
			return name, []byte("gauge")
		case "info":
			return append(bytes.Clone(name), "_info"...), []byte("gauge")
		}
	}
	return name, kind
}

// escaped is the help text: in OpenMetrics a quote has a backslash.
func (f *formatter) escaped() []byte {
	switch {
	case f.to == f.from:
		return f.help
	case f.to == openMetrics:
		return bytes.ReplaceAll(f.help, []byte(`"`), []byte(`\"`))
	}
	return bytes.ReplaceAll(f.help, []byte(`\"`), []byte(`"`))
}

// sample writes one, as it has been read.
func (f *formatter) sample(s sample) error {
	if err := f.flush(); err != nil {
		return err
	}
	out := append(append(append(append(f.line[:0], s.name...), s.labels...), ' '), s.value...)
	if s.time != nil {
		out = f.appendTime(append(out, ' '), s.time)
	}
	if s.exemplar != nil && f.to == openMetrics {
		out = append(append(out, " # "...), s.exemplar...)
	}
	f.line = append(out, '\n')
	_, err := f.w.Write(f.line)
	return err
}

// end ends the page.
func (f *formatter) end() error {
	err := f.flush()
	if err == nil && f.to == openMetrics {
		_, err = io.WriteString(f.w, "# EOF\n")
	}
	return err
}

// pass writes a line of no consequence.
func (f *formatter) pass(line []byte) error {
	if err := f.flush(); err != nil {
		return err
	}
	_, err := f.w.Write(append(bytes.Clone(line), '\n'))
	return err
}

// appendTime appends a time, which OpenMetrics has in seconds and the other in
// milliseconds.
func (f *formatter) appendTime(out, text []byte) []byte {
	t, err := strconv.ParseFloat(string(text), 64)
	switch {
	case f.from == f.to || err != nil:
		return append(out, text...)
	case f.to == openMetrics:
		return strconv.AppendFloat(out, t/1000, 'f', -1, 64)
	}
	return strconv.AppendInt(out, int64(math.Round(t*1000)), 10)
}

// Write takes whole lines that are known to be good, without times: the agent's own
// and Envoy's.
func (f *formatter) Write(lines []byte) (int, error) {
	if f.to == plain {
		return f.w.Write(lines)
	}
	for line := range bytes.Lines(lines) {
		if word, name, text, ok := commentOf(line); ok {
			if err := f.comment(word, name, text); err != nil {
				return 0, err
			}
			continue
		}
		if len(bytes.TrimSpace(line)) == 0 || line[0] == '#' {
			continue
		}
		if err := f.flush(); err != nil {
			return 0, err
		}
		if _, err := f.w.Write(line); err != nil {
			return 0, err
		}
	}
	return len(lines), nil
}

// commentOf reads a comment about a metric.
func commentOf(line []byte) (word string, name, text []byte, ok bool) {
	rest, found := bytes.CutPrefix(skip(line), []byte("#"))
	if !found {
		return "", nil, nil, false
	}
	first, rest := field(rest)
	name, text = field(rest)
	word = string(first)
	return word, name, bytes.TrimRight(skip(text), "\r\n"), slices.Contains([]string{"TYPE", "HELP", "UNIT"}, word) && len(name) > 0
}

// field is the first word, and what follows it.
func field(b []byte) (word, rest []byte) {
	b = bytes.TrimLeft(b, " \t")
	at := bytes.IndexAny(b, " \t\r\n")
	if at < 0 {
		return b, nil
	}
	return b[:at], b[at:]
}
