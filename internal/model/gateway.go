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
	Protocol Protocol     // ProtocolHTTP, HTTP2, GRPC, GRPCWeb, TLS (HTTPS and TLS) or TCP
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
	// ServerAutoPassthrough passes mesh mTLS on to the service that its server
	// name stands for.
	ServerAutoPassthrough
)

// ChecksClients reports whether clients' certificates are asked for and checked
// against the server's own CA.
func (m ServerTLSMode) ChecksClients() bool {
	return m == ServerMutual || m == ServerOptionalMutual
}

// ServerTLS is how a gateway's server terminates TLS.
type ServerTLS struct {
	Mode ServerTLSMode
	// Credentials are Secrets "namespace/name", by SDS as
	// "kubernetes://namespace/name". Several differ in the kind of their keys, or
	// in their names.
	Credentials []string
	// Files are certificates in the pod, where there are no Credentials.
	Files []CertificateFiles
	// CA checks clients, and CRL lists whom it has revoked: files in the pod,
	// where there are no Credentials.
	CA, CRL string
	// CACredential is a Secret "namespace/name" whose CA checks clients, in place
	// of that of the first of Credentials; empty: that one's.
	CACredential  string
	HTTPSRedirect bool
	MinVersion    string // "", "1.0" ... "1.3"
	MaxVersion    string
	Ciphers       []string
	// SANs, SPKIs (base64 of SHA-256) and Hashes (hex of SHA-256) are what the
	// clients' certificates must have, where they are checked: one of the SANs,
	// and one of SPKIs and Hashes. Empty: any.
	SANs, SPKIs, Hashes []string
	// AnyClient lets in clients whose certificate cannot be verified.
	AnyClient bool
}

// CertificateFiles are a chain and its key, PEM in files of the pod.
type CertificateFiles struct{ Cert, Key string }

// CACredentialKey is the Secret whose CA checks clients; "" if it is none.
func (t *ServerTLS) CACredentialKey() string {
	if t.CACredential != "" || len(t.Credentials) == 0 {
		return t.CACredential
	}
	return t.Credentials[0]
}
