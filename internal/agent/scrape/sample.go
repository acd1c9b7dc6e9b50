package scrape

import (
	"bytes"
	"math"
	"slices"
	"strconv"
	"unicode/utf8"
)

// sample is one line of an app's page that a reader of either format takes. Its
// parts are slices of the line.
type sample struct {
	name     []byte // without its labels; of a quoted name empty
	labels   []byte // with its braces; nil for none
	value    []byte
	time     []byte // as the page's format has it; nil for none
	exemplar []byte // from its "{" on; nil for none
}

// parseSample reads a line of the text format or of OpenMetrics; false where it is
// neither. Source: Prometheus, "Exposition formats"; OpenMetrics 1.0, "ABNF".
func parseSample(line []byte) (s sample, ok bool) {
	rest := bytes.TrimRight(bytes.TrimLeft(line, " \t"), " \t\r\n")
	if !utf8.Valid(rest) {
		return s, false
	}
	n := nameLength(rest, true)
	s.name, rest = rest[:n], skip(rest[n:])
	if len(rest) > 0 && rest[0] == '{' {
		end := labelsEnd(rest, n == 0)
		if end < 0 {
			return s, false
		}
		s.labels, rest = compact(rest[:end]), rest[end:]
	}
	if n == 0 && s.labels == nil {
		return s, false
	}
	if before, exemplar, found := bytes.Cut(rest, []byte(" # ")); found {
		rest, s.exemplar = before, bytes.TrimLeft(exemplar, " ")
	}
	fields := bytes.Fields(rest)
	if len(fields) < 1 || len(fields) > 2 || !isNumber(fields[0]) {
		return s, false
	}
	if s.value = fields[0]; len(fields) == 2 {
		s.time = fields[1]
	}
	return s, (s.time == nil || isTime(s.time)) && (s.exemplar == nil || isExemplar(s.exemplar))
}

func skip(b []byte) []byte { return bytes.TrimLeft(b, " \t") }

// nameLength is how much of b is a metric's name, or a label's.
func nameLength(b []byte, metric bool) int {
	for i, c := range b {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', metric && c == ':', i > 0 && c >= '0' && c <= '9':
		default:
			return i
		}
	}
	return len(b)
}

// maxLabels of a sample.
const maxLabels = 100

// labelsEnd is the length of a set of labels with its braces, in which a quoted
// name may come first; -1: it is none, or has a label twice, which readers refuse, or
// one that would be taken for the name.
func labelsEnd(b []byte, named bool) int {
	var names [maxLabels][]byte
	for i, n := 1, 0; ; n++ {
		i = blanks(b, i)
		if i < len(b) && b[i] == '}' && !named {
			return i + 1
		}
		name, end := label(b, i, named)
		if end < 0 || n == maxLabels || slices.ContainsFunc(names[:n], func(had []byte) bool { return bytes.Equal(had, name) }) {
			return -1
		}
		names[n], named = name, false
		i = blanks(b, end)
		if i == len(b) || b[i] != ',' && b[i] != '}' {
			return -1
		}
		if i++; b[i-1] == '}' {
			return i
		}
	}
}

// compact is a set of labels without the blanks outside of its quotes.
func compact(labels []byte) []byte {
	var out []byte
	for i := 0; i < len(labels); {
		n := 1
		switch labels[i] {
		case ' ', '\t':
			if out == nil {
				out = append(make([]byte, 0, len(labels)), labels[:i]...)
			}
			i++
			continue
		case '"':
			n = quotedLength(labels[i:])
		}
		if out != nil {
			out = append(out, labels[i:i+n]...)
		}
		i += n
	}
	if out == nil {
		return labels
	}
	return out
}

// blanks is where what is not blank begins, at i or after it.
func blanks(b []byte, i int) int { return len(b) - len(skip(b[i:])) }

// label reads NAME="VALUE", or "NAME" alone, at i; end -1: it is neither.
func label(b []byte, i int, alone bool) (name []byte, end int) {
	n := nameLength(b[i:], false)
	if n == 0 || alone {
		n = quotedLength(b[i:])
	}
	if n <= 0 || b[i] == '"' && n == 2 {
		return nil, -1
	}
	name, i = bytes.Trim(b[i:i+n], `"`), i+n
	if alone {
		return nil, i
	}
	if i = blanks(b, i); i == len(b) || b[i] != '=' || string(name) == "__name__" {
		return nil, -1
	}
	i = blanks(b, i+1)
	if n = quotedLength(b[i:]); n < 0 {
		return nil, -1
	}
	return name, i + n
}

// quotedLength is the length of a quoted text, in which only a backslash, a quote
// and n are escaped; -1: it is none.
func quotedLength(b []byte) int {
	if len(b) == 0 || b[0] != '"' {
		return -1
	}
	for i := 1; i < len(b); i++ {
		switch b[i] {
		case '"':
			return i + 1
		case '\\':
			if i++; i == len(b) || b[i] != '\\' && b[i] != '"' && b[i] != 'n' {
				return -1
			}
		}
	}
	return -1
}

// isNumber: Go reads more than Prometheus does, such as 0x1p-2 and 1_0.
func isNumber(b []byte) bool {
	if bytes.ContainsAny(b, "_xXpP") {
		return false
	}
	_, err := strconv.ParseFloat(string(b), 64)
	return err == nil
}

// isTime is true of milliseconds and of seconds with a fraction.
func isTime(b []byte) bool {
	t, err := strconv.ParseFloat(string(b), 64)
	return err == nil && isNumber(b) && math.Abs(t) < 1<<53
}

// isExemplar is true of {LABELS} VALUE [TIME].
func isExemplar(b []byte) bool {
	if len(b) == 0 || b[0] != '{' {
		return false
	}
	end := labelsEnd(b, false)
	if end < 0 {
		return false
	}
	fields := bytes.Fields(b[end:])
	return (len(fields) == 1 || len(fields) == 2 && isTime(fields[1])) && isNumber(fields[0])
}
