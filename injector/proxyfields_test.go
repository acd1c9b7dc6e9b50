package injector

import (
	"testing"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	networkingbeta "istio.io/api/networking/v1beta1"
	"k8s.io/apimachinery/pkg/api/equality"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/config"
)

// TestEveryFieldOfProxyConfigCounts takes each field that the ledger calls
// supported out of the ProxyConfigs of a case: the pod that comes out differs.
//
// Source: istio.io/api networking/v1beta1, messages ProxyConfig and ProxyImage.
func TestEveryFieldOfProxyConfigCounts(t *testing.T) {
	ledger, err := apis.Support()
	if err != nil {
		t.Fatal(err)
	}
	g := goldens(t)["proxy-config-objects"]
	pod, v := g.pod(t), g.values(t)
	like := &networkingbeta.ProxyConfig{}
	fields := like.ProtoReflect().Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if ledger.Field(string(like.ProtoReflect().Descriptor().FullName()), f.JSONName()).Status != apis.Supported {
			t.Errorf("%s is not supported", f.Name())
		}
		with, without := v, v
		with.ProxyConfigs, without.ProxyConfigs = changed(v.ProxyConfigs, f, false), changed(v.ProxyConfigs, f, true)
		a, errA := Inject(pod, with)
		b, errB := Inject(pod, without)
		if (errA == nil) == (errB == nil) && equality.Semantic.DeepEqual(a, b) {
			t.Errorf("%s: without it the pod is the same", f.Name())
		}
	}
}

// changed are the objects with f taken out, or as they are; of an image, whose
// known types are all one, with a type that there is not.
func changed(all []*config.Object, f protoreflect.FieldDescriptor, out bool) (edited []*config.Object) {
	for _, o := range all {
		in, _ := o.Spec.(*networkingbeta.ProxyConfig)
		spec, one := proto.CloneOf(in), *o
		if spec.GetImage() != nil && f.Name() == "image" {
			spec.Image.ImageType = "debug"
		}
		if out {
			spec.ProtoReflect().Clear(f)
		}
		one.Spec = spec
		edited = append(edited, &one)
	}
	return edited
}
