package translate

import (
	"reflect"
	"slices"
	"testing"

	route "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	"google.golang.org/protobuf/proto"

	"github.com/weftmesh/weft/internal/model"
)

// usualMesh has retries for all, as by default.
func usualMesh() *model.Settings {
	return &model.Settings{DefaultRetry: &model.Retry{Attempts: 2, On: "connect-failure"}}
}

func usualOf(s *model.Settings) *model.VirtualHost {
	d := model.Destination{Host: "a.b.svc.cluster.local", Port: 80, Weight: 1, Cluster: "outbound|80||a.b.svc.cluster.local"}
	r := &model.Route{Name: "default", Action: &model.Forward{Destinations: []model.Destination{d}, Retry: s.DefaultRetry}}
	return &model.VirtualHost{Table: "80", Name: "a.b.svc.cluster.local:80", Domains: []string{"a.b.svc.cluster.local", "a", "10.0.0.1"}, Routes: []*model.Route{r}}
}

// written is a virtual host as its reader sees it, and what it would be if all
// of it were made of Envoy's messages. It is serialised to the same bytes
// whether it is the first of its kind or not.
func written(t *testing.T, s *model.Settings, h *model.VirtualHost) (got, want *route.VirtualHost) {
	t.Helper()
	b := &builder{shared: shared{Settings: s}, trunks: map[any][]byte{}}
	bodies := [][]byte{bytesOf(b.host(h)), bytesOf(b.host(h))}
	if len(b.errs) > 0 || !slices.Equal(bodies[0], bodies[1]) {
		t.Fatalf("%v; or not the same bytes twice: %q %q", b.errs, bodies[0], bodies[1])
	}
	got, _ = rejoined(bodies[0], &route.VirtualHost{}).(*route.VirtualHost)
	want, _ = rejoined(serialised(b.virtualHost(h)), &route.VirtualHost{}).(*route.VirtualHost)
	return got, want
}

// bytesOf is a message as it is sent.
func bytesOf(m message) []byte {
	if m.written != nil {
		return slices.Clone(m.written)
	}
	return serialised(m.body)
}

// A virtual host that is written by hand is what Envoy's messages would be.
func TestUsualHosts(t *testing.T) {
	retried := usualMesh()
	counted := usualMesh()
	counted.Headers.NoAttemptCount = true
	for name, s := range map[string]*model.Settings{"retried": retried, "not retried": {}, "no attempt count": counted} {
		h := usualOf(s)
		if (&builder{shared: shared{Settings: s}}).usualHost(h) == nil {
			t.Errorf("%s: it is not usual", name)
		}
		if got, want := written(t, s, h); !proto.Equal(got, want) || got.Validate() != nil {
			t.Errorf("%s: %v\nwant %v", name, got, want)
		}
	}
}

// Whatever a user can say of a virtual host is in it: each field of the model in
// turn is set to something.
func TestUsualRoutes(t *testing.T) {
	s := usualMesh()
	parts := map[string]func(*model.VirtualHost) any{
		"VirtualHost": func(h *model.VirtualHost) any { return h },
		"Route":       func(h *model.VirtualHost) any { return h.Routes[0] },
		"Match":       func(h *model.VirtualHost) any { return &h.Routes[0].Match },
		"Forward":     func(h *model.VirtualHost) any { return h.Routes[0].Action },
		"Destination": func(h *model.VirtualHost) any { return &h.Routes[0].Action.(*model.Forward).Destinations[0] },
	}
	for name, part := range parts {
		for i := range reflect.TypeOf(part(usualOf(s))).Elem().NumField() {
			h := usualOf(s)
			field := reflect.ValueOf(part(h)).Elem().Field(i)
			what := name + "." + reflect.TypeOf(part(h)).Elem().Field(i).Name
			if what == "Route.Action" || what == "VirtualHost.Routes" || what == "Forward.Destinations" {
				continue // their parts are set
			}
			field.Set(something(field.Type(), 3))
			if got, want := written(t, s, h); !proto.Equal(got, want) {
				t.Errorf("%s: %v\nwant %v", what, got, want)
			}
		}
	}
}

// something is a value of a type that is not its zero value, nor are its parts,
// so deep.
func something(of reflect.Type, deep int) reflect.Value {
	v := reflect.New(of).Elem()
	switch of.Kind() {
	case reflect.String:
		v.SetString("x")
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint32:
		v.SetUint(503) // a status, too
	case reflect.Int, reflect.Int64:
		v.SetInt(1)
	case reflect.Uint8:
		v.SetUint(65)
	case reflect.Pointer:
		v.Set(reflect.New(of.Elem()))
		v.Elem().Set(something(of.Elem(), deep-1))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(of, 1, 1))
		v.Index(0).Set(something(of.Elem(), deep-1))
	case reflect.Map:
		v.Set(reflect.MakeMap(of))
		v.SetMapIndex(something(of.Key(), deep-1), something(of.Elem(), deep-1))
	case reflect.Struct:
		for i := range of.NumField() {
			if f := v.Field(i); f.CanSet() && deep > 0 {
				f.Set(something(f.Type(), deep-1))
			}
		}
	}
	return v
}

// Names that Envoy might refuse are left to its own rules.
func TestUsualNames(t *testing.T) {
	for _, bad := range []string{"", "a\nb", "a\x00", "ä", "\xff"} {
		h := usualOf(usualMesh())
		h.Domains = append(h.Domains, bad)
		b := &builder{shared: shared{Settings: usualMesh()}}
		if b.usualHost(h) != nil {
			t.Errorf("domain %q is usual", bad)
		}
		h = usualOf(usualMesh())
		h.Domains = nil
		named := usualOf(usualMesh())
		named.Name = bad
		if b.usualHost(h) != nil || b.usualHost(named) != nil {
			t.Errorf("no domains, or the name %q, are usual", bad)
		}
	}
	h := usualOf(usualMesh())
	h.Domains = []string{"a\nb"}
	if (&builder{shared: shared{Settings: usualMesh()}}).host(h).written != nil {
		t.Error("a domain with a newline is written by hand")
	}
}
