package translate

import (
	"bytes"
	"strings"
	"testing"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/spiffe"
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
		written := metadata(func(e *encoder) {
			e.space(key, func() {
				e.say("a"+key, value)
				e.sayNumber("b"+key, n)
				e.sayList("c"+key, func() { e.say(key, value) })
			})
			e.space("other"+key, func() { e.say(key, value) })
		})
		got := &core.Metadata{}
		if err := proto.Unmarshal(serialised(written), got); err != nil {
			t.Fatal(err)
		}
		if !proto.Equal(got, want) {
			t.Errorf("%v, want %v", got, want)
		}
	})
}

// A length of any size goes before what it is the length of.
func TestMeasure(t *testing.T) {
	for _, length := range []int{0, 1, 127, 128, 129, 16_383, 16_384, 2_097_152} {
		content := bytes.Repeat([]byte("x"), length)
		inner := protowire.AppendBytes(protowire.AppendTag(nil, 43, protowire.BytesType), content)
		want := protowire.AppendBytes(protowire.AppendTag([]byte("before"), 1, protowire.BytesType), inner)
		e := &encoder{bytes: []byte("before")}
		e.within(1, func() { e.within(43, func() { e.bytes = append(e.bytes, content...) }) })
		if !bytes.Equal(e.bytes, want) {
			t.Errorf("%d bytes: %.40q, want %.40q", length, e.bytes, want)
		}
	}
}

// A caller's proxy names the endpoint as the endpoint's certificate does.
func TestLongNamesAreThoseOfTheCertificate(t *testing.T) {
	long := strings.Repeat("a", 63)
	b := &builder{shared: shared{Settings: &model.Settings{}}}
	raw, err := proto.Marshal(b.endpointMetadata(&model.Endpoint{Workload: long, Namespace: long, App: long, Version: long}))
	if err != nil {
		t.Fatal(err)
	}
	var got core.Metadata
	if err := proto.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	for _, l := range []spiffe.Label{spiffe.WorkloadLabel, spiffe.NamespaceLabel, spiffe.AppLabel, spiffe.VersionLabel} {
		if name := got.GetFilterMetadata()[telemetrySpace].GetFields()[string(l)].GetStringValue(); name != l.Short(long) || name == long {
			t.Errorf("%s is %q", l, name)
		}
	}
}
