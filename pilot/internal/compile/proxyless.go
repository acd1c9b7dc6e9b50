package compile

import (
	"slices"
	"strings"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/apis"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

// proxylessNotes is constant data; its test keeps it readable.
var proxylessNotes = sync.OnceValues(apis.Proxyless)

// Proxyless reports what of a VirtualService or DestinationRule a gRPC client
// without a proxy cannot honour, or does otherwise. client names one that calls
// a host of the object.
func Proxyless(o *config.Object, client string) []diag.Diagnostic {
	m, ok := o.Spec.(proto.Message)
	notes, err := proxylessNotes()
	d := diag.For(o.Ref())
	if err != nil {
		d.Add(diag.NotSupported, "", "the notes on gRPC clients cannot be read: %v", err)
	}
	if !ok || err != nil {
		return d.All()
	}
	(&proxyless{notes: notes, d: d, client: client}).message(m.ProtoReflect(), "spec")
	return d.All()
}

// proxyless walks a spec.
type proxyless struct {
	notes  *apis.Notes
	d      *diag.List
	client string
}

func (p *proxyless) message(m protoreflect.Message, at diag.Path) {
	name := string(m.Descriptor().FullName())
	if retry, ok := m.Interface().(*networking.HTTPRetry); ok {
		p.retry(retry, at)
	}
	for _, f := range setFields(m) {
		key, v := f.JSONName(), m.Get(f)
		what := key
		note := p.notes.Of(name, key)
		if f.Kind() == protoreflect.EnumKind && !f.IsList() && note.Effect == "" {
			if word := f.Enum().Values().ByNumber(v.Enum()); word != nil {
				what += " " + string(word.Name())
				note = p.notes.Of(name, key+"="+string(word.Name()))
			}
		}
		if note.Effect != "" {
			p.say(note, at.Field(key), what)
			continue
		}
		p.inside(f, v, at.Field(key))
	}
}

// inside walks the messages of a field.
func (p *proxyless) inside(f protoreflect.FieldDescriptor, v protoreflect.Value, at diag.Path) {
	switch {
	case f.IsMap() || f.Message() == nil || !strings.HasPrefix(string(f.Message().FullName()), "istio."):
	case f.IsList():
		for i := range v.List().Len() {
			p.message(v.List().Get(i).Message(), at.Index(i))
		}
	default:
		p.message(v.Message(), at)
	}
}

func (p *proxyless) say(n apis.Note, at diag.Path, what string) {
	switch n.Effect {
	case apis.Fails:
		p.d.Add(diag.ProxylessFails, at, "%s calls here without a proxy, and its calls fail by %s: %s", p.client, what, n.Why)
	case apis.Other:
		p.d.Add(diag.ProxylessOther, at, "%s calls here without a proxy, where %s has another effect: %s", p.client, what, n.Why)
	default:
		p.d.Add(diag.ProxylessNothing, at, "%s calls here without a proxy, and %s does nothing for it: %s", p.client, what, n.Why)
	}
}

// grpcAttempts is how often a gRPC library tries at most, the first included.
// Source: gRFC A6, maxAttempts.
const grpcAttempts = 5

// retry reports conditions that gRPC does not have, and more attempts than it makes.
func (p *proxyless) retry(r *networking.HTTPRetry, at diag.Path) {
	if r.GetAttempts() >= grpcAttempts {
		p.d.Add(diag.ProxylessOther, at.Field("attempts"), "%s calls here without a proxy, where %d attempts are too many: a gRPC library tries %d times at most, the first included", p.client, r.GetAttempts(), grpcAttempts)
	}
	var unknown []string
	for word := range strings.SplitSeq(r.GetRetryOn(), ",") {
		if word = strings.TrimSpace(word); word != "" && !slices.Contains(model.GRPCRetries, word) {
			unknown = append(unknown, word)
		}
	}
	if len(unknown) > 0 {
		p.d.Add(diag.ProxylessNothing, at.Field("retryOn"), "%s calls here without a proxy, and is not retried on %s: a gRPC library knows %s", p.client, strings.Join(unknown, ", "), strings.Join(model.GRPCRetries, ", "))
	}
}
