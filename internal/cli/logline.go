package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/tap"
)

// accessLine is a line of an access log, by the names that Istio's JSON has for its
// fields. What the proxy did not know is not there. Numbers are int or json.Number.
type accessLine map[string]any

// textLine is Istio's text format. What a client writes into a header may have
// quotes: the four of them are one group, which ends where the last quoted value,
// the host's address, begins.
var textLine = regexp.MustCompile(`^\[([^\]]*)\] "(\S+) (\S+) (\S+)" (\d{1,3}) (\S+) (\S+) ([^"]*?) "(.*?)" (\d+) (\d+) (\d+|-) (\d+|-) "(.*)" "([^"]*)" ([^\s"]+) ([^\s"]+) ([^\s"]+) ([^\s"]+) ([^\s"]+) (.+)$`)

// textFields are the groups of textLine in their order.
var textFields = []string{
	"start_time", "method", "path", "protocol", "response_code", "response_flags", "response_code_details", "connection_termination_details",
	"upstream_transport_failure_reason", "bytes_received", "bytes_sent", "duration", "upstream_service_time", clientsOwn, "upstream_host",
	"upstream_cluster", "upstream_local_address", "downstream_local_address", "downstream_remote_address", "requested_server_name", "route_name",
}

// clientsOwn are the values of clientFields as one text, where a quote in one of
// them leaves open which is which.
const clientsOwn = "client_headers"

var clientFields = []string{"x_forwarded_for", "user_agent", "request_id", "authority"}

var numberFields = []string{"response_code", "bytes_received", "bytes_sent", "duration", "upstream_service_time"}

// parseAccess reads a line of Istio's text format, or an object of JSON that has at
// least a field of how the proxy answered. Of any other line it says that it is none.
func parseAccess(line []byte) (accessLine, bool) {
	line = bytes.TrimSpace(line)
	if bytes.HasPrefix(line, []byte("{")) {
		return parseJSONLine(line)
	}
	found := textLine.FindSubmatch(line)
	if found == nil {
		return nil, false
	}
	out := accessLine{}
	for i, name := range textFields {
		out.set(name, string(found[i+1]))
	}
	if values := strings.Split(string(found[slices.Index(textFields, clientsOwn)+1]), `" "`); len(values) == len(clientFields) {
		delete(out, clientsOwn)
		for i, name := range clientFields {
			out.set(name, values[i])
		}
	}
	return out, true
}

// set notes a field of text.
func (l accessLine) set(name, value string) {
	if value == "-" {
		return
	}
	if n, err := strconv.Atoi(value); err == nil && slices.Contains(numberFields, name) {
		l[name] = n
		return
	}
	l[name] = value
}

// parseJSONLine keeps fields of other names too: labels may be chosen in MeshConfig.
func parseJSONLine(line []byte) (accessLine, bool) {
	out := accessLine{}
	in := json.NewDecoder(bytes.NewReader(line))
	in.UseNumber() // as it was written
	if in.Decode(&out) != nil {
		return nil, false
	}
	if _, err := in.Token(); !errors.Is(err, io.EOF) { // more follows
		return nil, false
	}
	_, code := out["response_code"]
	_, flags := out["response_flags"]
	if !code && !flags {
		return nil, false
	}
	for name, value := range out {
		if text, isText := value.(string); value == nil || text == "-" {
			delete(out, name)
		} else if isText {
			out.set(name, text)
		}
	}
	return out, true
}

// text is a field as text, "" of one that is not there.
func (l accessLine) text(name string) string {
	switch v := l[name].(type) {
	case string:
		return v
	case nil:
		return ""
	default:
		return fmt.Sprint(v)
	}
}

// logFilter is which lines of an access log are wanted; the zero value all.
type logFilter struct {
	tap.Filter
	route string   // how its name begins
	flags []string // one of Envoy's response flags; none: any
}

func (f logFilter) empty() bool {
	return f.Path == "" && f.Method == "" && len(f.Status) == 0 && f.route == "" && len(f.flags) == 0
}

func (f logFilter) match(l accessLine) bool {
	code, _ := strconv.ParseUint(l.text("response_code"), 10, 16)
	has := strings.Split(l.text("response_flags"), ",")
	flagged := len(f.flags) == 0 || slices.ContainsFunc(f.flags, func(flag string) bool { return slices.Contains(has, strings.ToUpper(flag)) })
	return flagged && strings.HasPrefix(l.text("route_name"), f.route) &&
		f.Match(&tap.Entry{Path: l.text("path"), Method: l.text("method"), Status: uint32(code)})
}

// terminalLine is a line with nothing in it that a terminal acts upon but tabs.
func terminalLine(line string) string {
	parts := strings.Split(line, "\t")
	for i := range parts {
		parts[i] = figures.Printable(parts[i], len(line))
	}
	return strings.Join(parts, "\t")
}
