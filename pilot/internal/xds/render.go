package xds

import (
	"bytes"
	"encoding/json"
	"slices"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/anypb"

	"github.com/weftmesh/weft/pilot/internal/snapshot"
)

// Order returns the types in the order in which they are sent.
func Order() []string { return slices.Clone(order) }

// JSON is a resource's body in protobuf's JSON form, in one line and stable
// for equal content. A secret is redacted; what cannot be shown is told as a
// JSON string.
func JSON(r *snapshot.Resource) []byte {
	if r.Type == snapshot.Secret {
		return []byte(`"[redacted]"`)
	}
	text, err := protojson.Marshal(&anypb.Any{TypeUrl: r.Type, Value: r.Body})
	if err != nil {
		text, _ = json.Marshal("cannot be shown: " + err.Error())
		return text
	}
	var out bytes.Buffer
	if json.Compact(&out, text) != nil { // protojson varies its spaces on purpose
		return text
	}
	return out.Bytes()
}
