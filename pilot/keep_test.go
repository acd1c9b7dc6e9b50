package pilot

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot/internal/compile"
)

const keepWorld = `{apiVersion: v1, kind: Service, metadata: {name: reviews, namespace: shop}, spec: {clusterIP: 10.96.0.9, ports: [{name: http, port: 80}]}}`

// form is a generation of the one VirtualService; uid tells it from another of
// its name.
func form(t *testing.T, uid string, generation int64, spec string) config.Set {
	t.Helper()
	vs := fmt.Sprintf(`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: reviews, namespace: shop}, spec: %s}`, spec)
	objects, found := config.Decode("keep.yaml", []byte(keepWorld+"\n---\n"+vs))
	if len(found) > 0 {
		t.Fatal(found)
	}
	var set config.Set
	for _, o := range objects {
		if o.Kind == config.VirtualService {
			o.UID, o.Generation = uid, generation
		}
		set = set.With(o)
	}
	return set
}

const (
	toV1      = `{hosts: [reviews], http: [{route: [{destination: {host: reviews}}], timeout: 1s}]}`
	toV2      = `{hosts: [reviews], http: [{route: [{destination: {host: reviews}}], timeout: 2s}]}`
	wrongToV2 = `{hosts: [reviews], http: [{match: [{uri: {regex: "/(a"}}], route: [{destination: {host: reviews}}]}, {route: [{destination: {host: reviews}}], timeout: 2s}]}`
	toNowhere = `{hosts: [reviews], http: [{route: [{destination: {host: nowhere}}]}]}`
)

// TestLastGoodForm: an object that is wrong by itself changes nothing of what
// was in force, and is found wrong for as long as it is.
func TestLastGoodForm(t *testing.T) {
	k, c := &keeper{held: map[string]kept{}}, newCompiler()
	routes := func(r compile.Result) *model.VirtualService {
		vs, _ := r.Mesh.VirtualServices.Get("shop/reviews")
		return vs
	}
	good := k.compile(c, form(t, "u", 1, toV1))
	for generation := range int64(3) { // the same mistake, again and again
		bad := k.compile(c, form(t, "u", 2+generation/2, wrongToV2))
		if !reflect.DeepEqual(routes(bad), routes(good)) {
			t.Fatal("a mistake took effect")
		}
		if f, ok := bad.Findings.Get("VirtualService/shop/reviews"); !ok || !strings.Contains(f.List[0].Path, "regex") {
			t.Fatalf("the mistake is not told of: %+v", f)
		}
	}
	mended := k.compile(c, form(t, "u", 4, toV2))
	if reflect.DeepEqual(routes(mended), routes(good)) || mended.Findings.Len() > 0 || len(k.held) > 0 {
		t.Errorf("the mended object is not in force: %+v, held %d", mended.Findings, len(k.held))
	}
	// What another object may cure takes effect: the route answers 503 until then.
	later := k.compile(c, form(t, "u", 5, toNowhere))
	if reflect.DeepEqual(routes(later), routes(mended)) || len(k.held) > 0 {
		t.Error("an object that names another, which may come, is held back")
	}
}

// TestNoGoodForm: an object that never was good, or is another one of the same
// name, is in force as far as it can be.
func TestNoGoodForm(t *testing.T) {
	k, c := &keeper{held: map[string]kept{}}, newCompiler()
	first := k.compile(c, form(t, "u", 1, wrongToV2))
	if want := compile.Mesh(form(t, "u", 1, wrongToV2)).Findings.Len(); len(k.held) > 0 || first.Findings.Len() != want {
		t.Errorf("held %d, findings %d of %d", len(k.held), first.Findings.Len(), want)
	}
	k.compile(c, form(t, "u", 2, toV1))
	k.compile(c, form(t, "another", 1, wrongToV2))
	if len(k.held) > 0 {
		t.Error("an object is held at the form of another")
	}
}

// TestManyMistakes: an object of thousands of mistakes is judged in a time that
// follows their number. Compared one with each other they took twelve seconds.
func TestManyMistakes(t *testing.T) {
	world := form(t, "u", 1, toV1)
	many := form(t, "u", 2, `{hosts: [reviews], http: [`+strings.Repeat("{},", 12_000)+`{}]}`)
	o, _ := many.Of(config.VirtualService).Get("shop/reviews")
	r := &reviewer{current: func() (config.Set, bool) { return world, true }}
	began := time.Now()
	own, _ := r.check(o)
	if took := time.Since(began); len(own) < 12_000 || took > 6*time.Second {
		t.Errorf("%d mistakes were found in %v", len(own), took)
	}
}
