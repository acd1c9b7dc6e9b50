package translate

import (
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// What is written by hand is what Go's library writes.
func FuzzMetadata(f *testing.F) {
	f.Add("host", "reviews.default.svc.cluster.local", 9080.0)
	f.Add("", "", -1.5)
	f.Add("ü", string(make([]byte, 300)), 0.0)
	f.Fuzz(func(t *testing.T, key, value string, n float64) {
		texted, err := structpb.NewStruct(map[string]any{key: value})
		if err != nil {
			return // no UTF-8, which no object of the API can have
		}
		want := &core.Metadata{FilterMetadata: map[string]*structpb.Struct{
			key: {Fields: map[string]*structpb.Value{
				"a" + key: structpb.NewStringValue(value),
				"b" + key: structpb.NewNumberValue(n),
				"c" + key: structpb.NewListValue(&structpb.ListValue{Values: []*structpb.Value{structpb.NewStructValue(texted)}}),
			}},
			"other" + key: texted,
		}}
		s := texts("a"+key, value).number("b"+key, n).list("c"+key, texts(key, value))
		got := &core.Metadata{}
		if err := proto.Unmarshal(serialised(metadata(space{key, s}, space{"other" + key, texts(key, value)})), got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}
