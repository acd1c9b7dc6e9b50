package clustername

import (
	"slices"
	"testing"
)

func FuzzParse(f *testing.F) {
	for _, name := range []string{"outbound|80|v1|reviews.default.svc.cluster.local", "inbound|8080||", "outbound|65536||a", "outbound|-1||a", "a|1|b|c|d", "BlackHoleCluster", "|||", "outbound|080||a"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		n, ok := Parse(name)
		if !ok {
			return
		}
		if again, ok := Parse(n.String()); !ok || again != n {
			t.Errorf("%q is %+v, which is written %q and read as %+v", name, n, n.String(), again)
		}
		if _, outbound := ParseOutbound(name); outbound != (n.Direction == "outbound") {
			t.Errorf("%q: outbound %t", name, outbound)
		}
	})
}

func TestNames(t *testing.T) {
	if got := Of(80, "v1", "a.example"); got != "outbound|80|v1|a.example" {
		t.Error(got)
	}
	if got, ok := ParseOutbound("outbound|65535||*.a.example"); !ok || got != (Name{"outbound", "65535", "", "*.a.example"}) {
		t.Error(got, ok)
	}
	if got := Labels("inbound|80||"); !slices.Equal(got, []string{"inbound|80||", "", ""}) {
		t.Error(got)
	}
	for _, name := range []string{"outbound|65536||a", "outbound|http||a", "outbound|80|a", "PassthroughCluster", "inbound|80||"} {
		if got, ok := ParseOutbound(name); ok {
			t.Errorf("%q is taken for %+v", name, got)
		}
	}
}
