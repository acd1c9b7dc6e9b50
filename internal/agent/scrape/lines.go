package scrape

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"unicode/utf8"

	"github.com/weftmesh/weft/internal/counted"
)

// maxLine bounds one line: a sample with all its labels.
const maxLine = 64 << 10

// lineWriter takes one whole line, its newline included.
type lineWriter func(line []byte) error

// copyLines gives each whole line of r to write, but for those that are too long.
// Errors: there were such, the whole is too long, r fails or ends within a line.
func copyLines(r io.Reader, write lineWriter) error {
	limited := &io.LimitedReader{R: r, N: maxBytes}
	in := bufio.NewReaderSize(limited, maxLine)
	long := 0
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case errors.Is(err, io.EOF) && limited.N == 0:
			return errTooBig
		case errors.Is(err, io.EOF) && len(line) > 0: // a last line without its newline is whole all the same
			if err := write(append(bytes.Clone(line), '\n')); err != nil {
				return fmt.Errorf("a line: %w", err)
			}
			return tooLong(long)
		case errors.Is(err, io.EOF):
			return tooLong(long)
		case errors.Is(err, bufio.ErrBufferFull):
			long++
			err = skipLine(in)
		case err == nil:
			err = write(line)
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return fmt.Errorf("a line: %w", err)
		}
	}
}

var errTooBig = fmt.Errorf("more than %d bytes", maxBytes)

// longLines is how many were left out; all others have passed.
type longLines int

func (n longLines) Error() string {
	return fmt.Sprintf("%d lines of more than %d bytes", int(n), maxLine)
}

func tooLong(lines int) error {
	if lines == 0 {
		return nil
	}
	return longLines(lines)
}

// passed says whether a part has passed to its end.
func passed(err error) bool {
	var long longLines
	return err == nil || errors.As(err, &long)
}

// skipLine reads what is left of a line.
func skipLine(in *bufio.Reader) error {
	for {
		if _, err := in.ReadSlice('\n'); !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// reserved begin the names of the mesh's own metrics.
var reserved = [][]byte{[]byte("istio_"), []byte("weft_")}

// ofMesh says whether a line is a sample or a comment of such a metric. A name
// may be indented, and quoted, in braces too, where some label's value may be
// taken for it. Source: Prometheus, "Exposition formats" and "UTF-8 in Prometheus".
func ofMesh(line []byte) bool {
	line = bytes.TrimLeft(line, " \t")
	if comment, ok := bytes.CutPrefix(line, []byte("#")); ok { // readers take one without a space after it
		words := bytes.Fields(comment)
		if len(words) < 2 || !slices.Contains([]string{"TYPE", "HELP", "UNIT"}, string(words[0])) {
			return false
		}
		line = words[1]
	}
	line = bytes.TrimPrefix(line, []byte(`"`))
	return slices.ContainsFunc(reserved, func(start []byte) bool {
		if bytes.HasPrefix(line, []byte("{")) {
			return bytes.Contains(line, append([]byte(`"`), start...))
		}
		return bytes.HasPrefix(line, start)
	})
}

var (
	prefix       = []byte("envoy_istio_")
	typePrefix   = []byte("# TYPE envoy_istio_")
	helpPrefix   = []byte("# HELP envoy_istio_")
	ownPrefix    = []byte("envoy_weft_")
	ownType      = []byte("# TYPE envoy_weft_")
	ownHelp      = []byte("# HELP envoy_weft_")
	commentStart = len("# TYPE ")
	cut          = len("envoy_")

	emptyLabel = []byte(`=""`)
)

// renaming gives Envoy's own form of the standard metrics, and of ours, their names, and
// fills in empty labels, which Prometheus would drop and readers require.
func renaming(w io.Writer) lineWriter {
	var out []byte
	return func(line []byte) error {
		if unmet(line) {
			return nil
		}
		if !utf8.Valid(line) { // a path may have any bytes, and readers refuse the page for them
			line = bytes.ToValidUTF8(line, []byte("\uFFFD"))
		}
		out = rename(out[:0], line)
		_, err := w.Write(out)
		return err
	}
}

// unmet says whether a line is of a circuit breaker's limit that was never met:
// four for each cluster, which tell nobody anything.
func unmet(line []byte) bool {
	name, _, _ := bytes.Cut(line, []byte("{"))
	return bytes.HasPrefix(name, []byte("envoy_cluster_upstream_")) && bytes.HasSuffix(name, []byte("_overflow")) && bytes.HasSuffix(line, []byte(" 0\n"))
}

// rename appends what becomes of a line.
func rename(out, line []byte) []byte {
	switch {
	case bytes.HasPrefix(line, prefix):
		return fill(out, line[cut:])
	case bytes.HasPrefix(line, ownPrefix):
		return append(out, line[cut:]...)
	case bytes.HasPrefix(line, typePrefix), bytes.HasPrefix(line, ownType):
		return append(append(appendHelp(out, line[commentStart+cut:]), line[:commentStart]...), line[commentStart+cut:]...)
	case bytes.HasPrefix(line, helpPrefix), bytes.HasPrefix(line, ownHelp):
		if len(appendHelp(nil, line[commentStart+cut:])) > 0 {
			return out // it may be there once
		}
		return append(append(out, line[:commentStart]...), line[commentStart+cut:]...)
	}
	return append(out, line...)
}

// appendHelp appends the line that goes before that of a type: Envoy has no help
// texts.
func appendHelp(out, typed []byte) []byte {
	name, _, _ := bytes.Cut(typed, []byte(" "))
	help := counted.Help[string(name)]
	if help == "" {
		return out
	}
	out = append(append(out, "# HELP "...), name...)
	return append(append(append(out, ' '), help...), '\n')
}

// fill looks for two quotes after an equals sign. Within a value a quote is
// always escaped, so that these three bytes are an empty value and nothing else.
func fill(out, line []byte) []byte {
	for {
		before, after, found := bytes.Cut(line, emptyLabel)
		if out = append(out, before...); !found {
			return out
		}
		switch {
		case bytes.HasSuffix(before, []byte("response_flags")):
			out = append(out, `="-"`...)
		case bytes.HasSuffix(before, []byte("grpc_response_status")): // of HTTP there is none, and in Istio's metrics no label for it
			out = append(out, emptyLabel...)
		default:
			out = append(out, `="unknown"`...)
		}
		line = after
	}
}
