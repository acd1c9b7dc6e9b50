package compile

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// Bounds of a log's format.
const (
	maxLogFormat = 16 << 10 // bytes
	maxLogDepth  = 8        // of objects in objects
)

// logCommand is a command that lines of logs may have and values of headers
// may not. Envoy ends it at the first ")%", or at "):LENGTH%".
var logCommand = regexp.MustCompile(`^%([A-Z_]+)\((.*?)\)(:[0-9]{1,5})?%`)

// logArguments are the arguments that Envoy 1.40 was seen to take of each
// (envoy --mode validate).
var logArguments = map[string]*regexp.Regexp{
	"METADATA":              regexp.MustCompile(`^(DYNAMIC|CLUSTER|ROUTE|UPSTREAM_HOST|LISTENER|VIRTUAL_HOST|LISTENER_FILTER_CHAIN):[^%() ]+$`),
	"FILTER_STATE":          regexp.MustCompile(`^[^%():]+(:(PLAIN|TYPED|FIELD:[^%():]+))?$`),
	"UPSTREAM_FILTER_STATE": regexp.MustCompile(`^[^%():]+(:(PLAIN|TYPED|FIELD:[^%():]+))?$`),
	"REQ_WITHOUT_QUERY":     headerArgument,
	"PATH":                  regexp.MustCompile(`^(WQ|NQ)(:(ORIG|PATH|ORIG_OR_PATH))?$`),
	"GRPC_STATUS":           regexp.MustCompile(`^(CAMEL_STRING|SNAKE_STRING|NUMBER)$`),
	"RESPONSE_CODE_DETAILS": regexp.MustCompile(`^ALLOW_WHITESPACES$`),
	"COMMON_DURATION":       regexp.MustCompile(`^(DS_RX_BEG|DS_RX_END|US_TX_BEG|US_TX_END|US_RX_BEG|US_RX_END|DS_TX_BEG|DS_TX_END):(DS_RX_BEG|DS_RX_END|US_TX_BEG|US_TX_END|US_RX_BEG|US_RX_END|DS_TX_BEG|DS_TX_END):(ms|us|ns)$`),
}

// boundedCommands are those of logCommand that may have a length.
var boundedCommands = []string{"METADATA", "FILTER_STATE", "UPSTREAM_FILTER_STATE", "REQ_WITHOUT_QUERY", "CEL"}

// checkLogFormat reports whether Envoy can parse the format of a log's line, or
// of a field of one. One that it cannot makes it refuse every listener.
//
// Source: Envoy, "Access logging, command operators".
func checkLogFormat(s string, at diag.Path, d *diag.List) bool {
	if len(s) > maxLogFormat {
		d.Add(diag.Invalid, at, "it has %d bytes, at most %d are allowed", len(s), maxLogFormat)
		return false
	}
	return scanFormat(s, func(s string) int {
		n, why := commandLength(s), ""
		if n == 0 {
			n, why = logCommandLength(s)
		}
		if n == 0 {
			d.Add(diag.Invalid, at, "%.100q begins no command such as %%PROTOCOL%% or %%REQ(NAME)%% that Envoy knows%s; write %%%% for the character %%", s, why)
		}
		return n
	})
}

// logCommandLength is commandLength for the commands of logs alone.
func logCommandLength(s string) (n int, why string) {
	m := logCommand.FindStringSubmatch(s)
	if m == nil || m[3] != "" && !slices.Contains(boundedCommands, m[1]) {
		return 0, ""
	}
	if m[1] == "CEL" {
		if err := expression(m[2]); err != nil {
			return 0, " (" + err.Error() + ")"
		}
		return len(m[0]), ""
	}
	if known := logArguments[m[1]]; known == nil || !known.MatchString(m[2]) {
		return 0, ""
	}
	return len(m[0]), ""
}

// textFormat reads a format of text; false: it cannot be used.
func textFormat(s string, at diag.Path, d *diag.List) (model.LogFormat, bool) {
	if s == "" {
		return model.LogFormat{}, true
	}
	if !checkLogFormat(s, at, d) {
		return model.LogFormat{}, false
	}
	// Istio: "Istio will insert a newline ('\n') on all formats (if missing)".
	return model.LogFormat{Text: strings.TrimSuffix(s, "\n") + "\n"}, true
}

// jsonFormat reads a format of JSON; false: it cannot be used.
func jsonFormat(in *structpb.Struct, at diag.Path, d *diag.List) (model.LogFormat, bool) {
	out := model.LogFormat{JSON: true}
	if len(in.GetFields()) == 0 {
		return out, true
	}
	if !checkLogFields(structpb.NewStructValue(in), at, maxLogDepth, d) {
		return out, false
	}
	text, err := json.Marshal(in.AsMap())
	if err != nil || len(text) > maxLogFormat {
		d.Add(diag.Invalid, at, "it cannot be written as JSON of at most %d bytes", maxLogFormat)
		return out, false
	}
	out.Labels = string(text)
	return out, true
}

// checkLogFields checks every string of a value.
func checkLogFields(v *structpb.Value, at diag.Path, depth int, d *diag.List) bool {
	if depth == 0 {
		d.Add(diag.Invalid, at, "at most %d objects and lists may be in one another", maxLogDepth)
		return false
	}
	ok := true
	switch kind := v.GetKind().(type) {
	case *structpb.Value_StringValue:
		return checkLogFormat(kind.StringValue, at, d)
	case *structpb.Value_StructValue:
		for _, name := range slices.Sorted(maps.Keys(kind.StructValue.GetFields())) {
			ok = checkLogFields(kind.StructValue.GetFields()[name], at.Key(name), depth-1, d) && ok
		}
	case *structpb.Value_ListValue:
		for i, e := range kind.ListValue.GetValues() {
			ok = checkLogFields(e, at.Index(i), depth-1, d) && ok
		}
	}
	return ok
}
