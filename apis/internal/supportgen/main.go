// Command supportgen writes docs/api-support.md: what Weft does with each field
// of Istio's API, from the ledger, in the order of istio.io/api's messages.
//
// In: the ledger of package apis, and istio.io/api. Out: the file that the first
// argument names. `go generate ./apis` calls it.
package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	mesh "istio.io/api/mesh/v1alpha1"
	networking "istio.io/api/networking/v1alpha3"
	networkingbeta "istio.io/api/networking/v1beta1"
	security "istio.io/api/security/v1beta1"
	telemetry "istio.io/api/telemetry/v1alpha1"

	"github.com/weftmesh/weft/apis"
)

const head = `# What Weft does with each field of Istio's API

Made from apis/support.yaml by ` + "`go generate ./apis`" + `; what is said here is what ` + "`weft analyze`" + `, the webhook and an
object's status say when a field is set.

| | |
|---|---|
| supported | it does what Istio documents |
| refused | it has no effect, and setting it is an error at its path: the mesh would be wrong or less safe than the object says |
| unused | it has no effect, and setting it is a warning |
| ignored | it has no effect, and needs none |

A field that is not here is none of Istio's, and an error.
`

// kinds in the order of the page.
var kinds = []struct {
	name    string
	message proto.Message
}{
	{"VirtualService", &networking.VirtualService{}},
	{"DestinationRule", &networking.DestinationRule{}},
	{"Gateway", &networking.Gateway{}},
	{"ServiceEntry", &networking.ServiceEntry{}},
	{"WorkloadEntry", &networking.WorkloadEntry{}},
	{"WorkloadGroup", &networking.WorkloadGroup{}},
	{"Sidecar", &networking.Sidecar{}},
	{"EnvoyFilter", &networking.EnvoyFilter{}},
	{"ProxyConfig", &networkingbeta.ProxyConfig{}},
	{"PeerAuthentication", &security.PeerAuthentication{}},
	{"RequestAuthentication", &security.RequestAuthentication{}},
	{"AuthorizationPolicy", &security.AuthorizationPolicy{}},
	{"Telemetry", &telemetry.Telemetry{}},
	{"MeshConfig", &mesh.MeshConfig{}},
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) != 1 {
		return fmt.Errorf("want the file to write")
	}
	ledger, err := apis.Support()
	if err != nil {
		return err
	}
	p := page{ledger: ledger}
	p.out.WriteString(head)
	p.out.WriteString("\n## Kinds\n\n| kind | | why |\n|---|---|---|\n")
	for _, k := range kinds {
		fmt.Fprintf(&p.out, "| %s | by field, [below](#%s) | |\n", k.name, strings.ToLower(k.name))
	}
	for _, kind := range ledger.Kinds() {
		row := ledger.Kind(kind)
		fmt.Fprintf(&p.out, "| %s | %s | %s |\n", kind, row.Status, row.Why)
	}
	for _, k := range kinds {
		fmt.Fprintf(&p.out, "\n## %s\n\n| field | | why |\n|---|---|---|\n", k.name)
		p.seen = map[protoreflect.FullName]string{}
		p.message(k.message.ProtoReflect().Descriptor(), "")
	}
	if err := p.proxyless(); err != nil {
		return err
	}
	return os.WriteFile(args[0], p.out.Bytes(), 0o644)
}

// page is the file on its way.
type page struct {
	out    bytes.Buffer
	ledger *apis.Ledger
	seen   map[protoreflect.FullName]string // where a message's fields were listed
}

// message lists the fields of a message that lies at a path.
func (p *page) message(m protoreflect.MessageDescriptor, path string) {
	for i := range m.Fields().Len() {
		p.field(m, m.Fields().Get(i), path)
	}
}

func (p *page) field(m protoreflect.MessageDescriptor, f protoreflect.FieldDescriptor, path string) {
	row := p.ledger.Field(string(m.FullName()), f.JSONName())
	if row.Status == "" {
		return // of a message that no supported field leads to
	}
	at := path + f.JSONName()
	switch {
	case f.IsMap():
		at += ".*"
	case f.IsList():
		at += "[]"
	}
	sub := f.Message()
	if f.IsMap() {
		sub = f.MapValue().Message()
	}
	why := row.Why
	inside := sub != nil && row.Status == apis.Supported && p.described(sub)
	if inside && p.seen[sub.FullName()] != "" {
		why, inside = "as `"+p.seen[sub.FullName()]+"`", false
	}
	fmt.Fprintf(&p.out, "| `%s` | %s | %s |\n", at, row.Status, why)
	if inside {
		p.seen[sub.FullName()] = at
		p.message(sub, at+".")
	}
}

// described says whether the ledger has rows for the fields of a message.
func (p *page) described(m protoreflect.MessageDescriptor) bool {
	return len(p.ledger.Fields(string(m.FullName()))) > 0
}
