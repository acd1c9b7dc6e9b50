package model

// Gateway is one compiled Gateway object.
type Gateway struct {
	Namespace, Name string
	Origin          Origin
	Rank            string
	Selector        map[string]string // of proxies; nil: none
	Servers         []Server
}

// Key is "namespace/name".
func (g *Gateway) Key() string { return g.Namespace + "/" + g.Name }

// Server is one port of a Gateway with the hosts it takes.
type Server struct {
	Index    int // in the object's spec.servers
	Name     string
	Port     uint32
	Protocol Protocol     // ProtocolHTTP, HTTP2, GRPC, TLS (HTTPS and TLS) or TCP
	HTTPS    bool         // TLS that carries HTTP: routes apply after termination
	Bind     string       // address, empty: all
	Hosts    []ServerHost // at least one
	TLS      *ServerTLS   // nil: none
	// RouteTable names its route table: "http.80", or
	// "https.443.PORTNAME.GATEWAY.NAMESPACE"; empty for TCP and pass-through.
	RouteTable string
}

// ServerHost is "namespace/host" of a server; Namespace "*" is any, "." has
// been resolved.
type ServerHost struct{ Namespace, Host string }

// ServerTLSMode of a gateway server.
type ServerTLSMode int

// The zero value, pass-through, does not terminate.
const (
	ServerPassthrough ServerTLSMode = iota
	ServerSimple
	ServerMutual
	ServerOptionalMutual
	ServerMesh
)

// ServerTLS is how a gateway's server terminates TLS.
type ServerTLS struct {
	Mode          ServerTLSMode
	Credential    string // Secret "namespace/name", by SDS as "kubernetes://namespace/name"
	Cert, Key, CA string // files, where no Credential
	HTTPSRedirect bool
	MinVersion    string // "", "1.0" ... "1.3"
	MaxVersion    string
	Ciphers       []string
	SANs          []string // of the client, with ServerMutual
}
