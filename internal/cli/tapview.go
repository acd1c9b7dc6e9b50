package cli

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/tap"
)

// tapText is an entry on one line, with nothing in it that a terminal acts upon.
func tapText(e *tap.Entry) string {
	way := "out"
	if e.Direction == tap.Inbound {
		way = "in "
	}
	parts := []string{e.Time.Local().Format("15:04:05.000"), way, peerText(e.From) + " > " + peerText(e.To), tapAsked(e)}
	if e.Event == tap.Request {
		parts = append(parts, fmt.Sprint(e.Status))
	}
	parts = append(parts, dash(e.Flags), fmt.Sprintf("%.1fms %d/%dB", e.Millis, e.Received, e.Sent))
	more := func(name, value string) {
		if value != "" {
			parts = append(parts, name+"="+value)
		}
	}
	more("grpc", e.GRPC)
	more("denied-by", e.Denied)
	if e.Denied == "" && e.Details != "via_upstream" {
		more("because", e.Details)
	}
	more("route", e.Route)
	if e.Attempts > 1 {
		more("attempts", fmt.Sprint(e.Attempts))
	}
	more("id", e.RequestID)
	more("trace", e.TraceID)
	if e.Dropped > 0 {
		more("left-out-before", fmt.Sprint(e.Dropped))
	}
	return figures.Printable(strings.Join(parts, " "), 3000)
}

// tapAsked is what a request asked for, and what became of a connection.
func tapAsked(e *tap.Entry) string {
	if e.Event != tap.Request {
		return e.Protocol + " " + e.Event
	}
	return cmp.Or(e.Method, "?") + " " + e.Authority + e.Path
}

// peerText is the closest that is known of a peer.
func peerText(p tap.Peer) string {
	if name := cmp.Or(p.Pod, p.Workload); name != "" {
		return p.Namespace + "/" + name
	}
	return cmp.Or(p.Address, "-")
}

// printLine prints an entry, and which pod told it, as JSON on a line. What does
// not print is escaped as JSON has it.
func printLine(to io.Writer, pod string, e *tap.Entry) error {
	text, err := json.Marshal(struct {
		Told string `json:"pod"`
		*tap.Entry
	}{pod, e})
	if err != nil {
		return err
	}
	_, err = io.WriteString(to, escapeJSON(text)+"\n")
	return err
}

// escapeJSON is JSON of which all prints: what does not is escaped as JSON has it.
func escapeJSON(text []byte) string {
	var out strings.Builder
	for _, r := range string(text) {
		switch {
		case unicode.IsPrint(r):
			out.WriteRune(r)
		case r > 0xffff:
			high, low := utf16.EncodeRune(r)
			fmt.Fprintf(&out, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&out, `\u%04x`, r)
		}
	}
	return out.String()
}
