package tap

import (
	"net/url"
	"reflect"
	"testing"
)

func TestFilter(t *testing.T) {
	get := Entry{Event: Request, Method: "GET", Path: "/api/x?q=1", Status: 503}
	call := Entry{Event: Request, Method: "POST", Path: "/shop.Stars/Get", Status: 200, GRPC: "Unavailable"}
	bytes := Entry{Event: Closed, Protocol: "TCP"}
	for name, c := range map[string]struct {
		filter           Filter
		get, call, bytes bool
	}{
		"nothing":            {Filter{}, true, true, true},
		"a path":             {Filter{Path: "/api/"}, true, false, false},
		"a method":           {Filter{Method: "post"}, false, true, false},
		"a code":             {Filter{Status: []string{"503"}}, true, false, false},
		"a class":            {Filter{Status: []string{"5XX", "4xx"}}, true, false, false},
		"a status of gRPC":   {Filter{Status: []string{"unavailable"}}, false, true, false},
		"one of two":         {Filter{Status: []string{"503", "200"}}, true, true, false},
		"all must hold":      {Filter{Path: "/api", Method: "GET", Status: []string{"2xx"}}, false, false, false},
		"another gRPC's":     {Filter{Status: []string{"OK"}}, false, false, false},
		"no such path":       {Filter{Path: "/ap", Status: []string{"404"}}, false, false, false},
		"path with an query": {Filter{Path: "/api/x?q="}, true, false, false},
	} {
		if c.filter.Match(&get) != c.get || c.filter.Match(&call) != c.call || c.filter.Match(&bytes) != c.bytes {
			t.Errorf("%s: %v %v %v, want %v %v %v", name, c.filter.Match(&get), c.filter.Match(&call), c.filter.Match(&bytes), c.get, c.call, c.bytes)
		}
	}
}

func TestQuery(t *testing.T) {
	for _, f := range []Filter{{}, {Path: "/a b&c=%d", Method: "GET", Status: []string{"5xx", "404", "Unavailable"}}} {
		q, err := url.ParseQuery(f.Query())
		if err != nil {
			t.Fatal(err)
		}
		if got, err := Parse(q); err != nil || !reflect.DeepEqual(got, f) {
			t.Errorf("%+v became %+v: %v", f, got, err)
		}
	}
	for _, bad := range []string{"99", "6xx", "600", "-1", "a1", "5xxx", "O K"} {
		if f, err := Parse(url.Values{"status": {bad}}); err == nil {
			t.Errorf("status %q is taken: %+v", bad, f)
		}
	}
}
