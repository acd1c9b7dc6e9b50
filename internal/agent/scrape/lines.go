package scrape

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"

	"github.com/weftmesh/weft/internal/counted"
)

// maxLine bounds one line: a sample with all its labels.
const maxLine = 64 << 10

// lineWriter takes one whole line, its newline included.
type lineWriter func(line []byte) error

// copyLines gives each whole line of r to write. Errors: a line or the whole is
// too long, r fails or ends within a line.
func copyLines(r io.Reader, write lineWriter) error {
	limited := &io.LimitedReader{R: r, N: maxBytes}
	in := bufio.NewReaderSize(limited, maxLine)
	for {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, io.EOF) && limited.N == 0 {
			return fmt.Errorf("more than %d bytes", maxBytes)
		}
		if errors.Is(err, io.EOF) && len(line) == 0 {
			return nil
		}
		if errors.Is(err, io.EOF) { // a last line without its newline is whole all the same
			return write(append(bytes.Clone(line), '\n'))
		}
		if err != nil {
			return fmt.Errorf("a line: %w", err)
		}
		if err := write(line); err != nil {
			return err
		}
	}
}

// passing drops the mark with which OpenMetrics ends: more may follow. It drops
// and counts what has a name of the mesh's metrics: whoever reads the page takes
// those for the proxy's word.
func passing(w io.Writer, dropped func()) lineWriter {
	return func(line []byte) error {
		switch {
		case bytes.HasPrefix(line, []byte("# EOF")):
			return nil
		case ofMesh(line):
			dropped()
			return nil
		}
		_, err := w.Write(line)
		return err
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

	emptyFlags  = []byte(`response_flags=""`)
	noFlags     = []byte(`response_flags="-"`)
	emptyLabel  = []byte(`=""`)
	filledLabel = []byte(`="unknown"`)

	// Of HTTP there is none, and in Istio's metrics no label for it.
	unknownStatus = []byte(`grpc_response_status="unknown"`)
	noStatus      = []byte(`grpc_response_status=""`)
)

// renaming gives Envoy's own form of the standard metrics, and of ours, their names, and
// fills in empty labels, which Prometheus would drop and readers require.
func renaming(w io.Writer) lineWriter {
	return func(line []byte) error {
		_, err := w.Write(rename(line))
		return err
	}
}

func rename(line []byte) []byte {
	switch {
	case bytes.HasPrefix(line, prefix):
		return fill(line[cut:])
	case bytes.HasPrefix(line, ownPrefix):
		return line[cut:]
	case bytes.HasPrefix(line, typePrefix), bytes.HasPrefix(line, ownType):
		return append(helpOf(line[commentStart+cut:]), append(bytes.Clone(line[:commentStart]), line[commentStart+cut:]...)...)
	case bytes.HasPrefix(line, helpPrefix), bytes.HasPrefix(line, ownHelp):
		if helpOf(line[commentStart+cut:]) != nil {
			return nil // it may be there once
		}
		return append(bytes.Clone(line[:commentStart]), line[commentStart+cut:]...)
	}
	return line
}

// helpOf is the line that goes before that of a type: Envoy has no help texts.
func helpOf(typed []byte) []byte {
	name, _, _ := bytes.Cut(typed, []byte(" "))
	if help := counted.Help[string(name)]; help != "" {
		return []byte("# HELP " + string(name) + " " + help + "\n")
	}
	return nil
}

// fill looks for two quotes after an equals sign. Within a value a quote is
// always escaped, so that these three bytes are an empty value and nothing else.
func fill(line []byte) []byte {
	if !bytes.Contains(line, emptyLabel) {
		return line
	}
	line = bytes.ReplaceAll(line, emptyFlags, noFlags)
	line = bytes.ReplaceAll(line, emptyLabel, filledLabel)
	return bytes.ReplaceAll(line, unknownStatus, noStatus)
}
