package diag

// The codes of findings, in one table. IST codes are Istio's, where the
// meaning is the same (istio.io/latest/docs/reference/config/analysis); WEFT
// codes are ours (WEFT00xx: form, in config; WEFT01xx: meaning). A code is never
// given a second meaning.
var (
	// OldField still works, but another is meant to be used.
	OldField = Finding{"IST0002", Warning, "use the field that replaces it"}
	// NotFound: the object names something that does not exist.
	NotFound = Finding{"IST0101", Error, "create it, or correct the name"}
	// Invalid: a value that the field's documentation does not allow.
	Invalid = Finding{"IST0106", Error, "correct the value"}
	// HostConflict: several VirtualServices claim one host in the mesh.
	HostConflict = Finding{"IST0109", Error, "merge the VirtualServices, or give each its own host"}
	// PortNeeded: the destination's service has several ports and none is named.
	PortNeeded = Finding{"IST0112", Error, "set destination.port.number"}
	// PortUnnamed: a port tells no protocol.
	PortUnnamed = Finding{"IST0118", Info, "set appProtocol, or name the port PROTOCOL-SUFFIX"}
	// BadAnnotation: an annotation's value cannot be read.
	BadAnnotation = Finding{"IST0125", Warning, "correct the annotation"}
	// Unreachable: an earlier part takes all that this one would.
	Unreachable = Finding{"IST0130", Warning, "remove it, or put it before the part that takes its requests"}
	// NotInGateway: a host of the VirtualService is taken by no server of the Gateway.
	NotInGateway = Finding{"IST0132", Warning, "add the host to a server of the Gateway"}
	// GatewayConflict: two servers of Gateways contradict one another.
	GatewayConflict = Finding{"IST0145", Error, "give the servers different ports or the same protocol"}
	// BadCredential: a TLS credential that no proxy could load.
	BadCredential = Finding{"IST0161", Error, "put a matching PEM chain and key into the Secret (tls.crt, tls.key, ca.crt)"}

	// PortNotOnService: a Gateway's port that the Service of its pods lacks.
	PortNotOnService = Finding{"IST0162", Warning, "add the port to the Service, or correct the server's"}
	// SubsetEmpty: a subset that selects no pod.
	SubsetEmpty = Finding{"IST0173", Warning, "correct the labels, or deploy such pods before you send requests there"}

	// NotSupported: a field that Weft does not have yet; it has no effect.
	NotSupported = Finding{"WEFT0101", Error, "remove the field; apis/support.yaml lists what is supported"}
	// KindNotSupported: a whole kind that Weft does not have yet.
	KindNotSupported = Finding{"WEFT0102", Error, "remove the object; apis/support.yaml lists what is supported"}
	// NotEnforced: a security rule that would do nothing.
	NotEnforced = Finding{"WEFT0103", Error, "do not rely on this rule: nothing enforces it; remove the object, or keep the workload elsewhere"}
	// RouteToNothing: a route that cannot be honoured; it answers 503.
	RouteToNothing = Finding{"WEFT0104", Error, "give the route a destination, a redirect or a direct response"}
	// Duplicate: a second thing of the same name; the first is in force.
	Duplicate = Finding{"WEFT0105", Error, "remove one of them"}
	// LeftOut: an entry of the cluster's own objects that cannot be used.
	LeftOut = Finding{"WEFT0106", Warning, "correct the entry"}
	// NoEffect: allowed, but it does nothing here.
	NoEffect = Finding{"WEFT0108", Warning, "remove it"}
	// GatewaysOnly: a credential that sidecars are not given.
	GatewaysOnly = Finding{"WEFT0111", Warning, "give the rule a workloadSelector for the sidecars that may use the Secret, or name files in clientCertificate, privateKey and caCertificates"}
	// NoCommand: a "%" that no URI has and Envoy gives no meaning to here.
	NoCommand = Finding{"WEFT0109", Warning, "write %25 for the character %; commands such as %REQ(NAME)% are read in values of headers only"}
	// NoProcess: a container that a local mesh cannot run; a cluster may.
	NoProcess = Finding{"WEFT0110", Warning, "correct it, if it is to run in a local mesh"}
	// WrongProtocol: an HTTP route to a port that is declared as something else.
	WrongProtocol = Finding{"WEFT0112", Warning, "name the port http or grpc (or set appProtocol), or send the route elsewhere"}
	// SharedHost: several VirtualServices claim one host at a Gateway.
	SharedHost = Finding{"WEFT0113", Warning, "put the routes into one VirtualService, where their order is to be seen"}
	// NobodySelected: a selector that no pod answers to.
	NobodySelected = Finding{"WEFT0114", Warning, "correct the labels, or start such pods"}
	// CannotConvert: a part of a foreign object that has no counterpart: requests
	// would be treated otherwise.
	CannotConvert = Finding{"WEFT0301", Error, "correct it, or settle it by hand before you switch over"}
	// NotConverted: an annotation that nothing was made of.
	NotConverted = Finding{"WEFT0302", Warning, "see whether you need what it does"}
	// NotAsBefore: converted, but not the same in each respect.
	NotAsBefore = Finding{"WEFT0303", Warning, "see whether the difference matters to you"}
	// OtherClass: an object that another controller takes care of.
	OtherClass = Finding{"WEFT0304", Info, "nothing to do; leave --class out to convert it too"}
	// Insecure: in force, but weaker than it may look.
	Insecure = Finding{"WEFT0107", Warning, "name what the server must prove (caCertificates, subjectAltNames)"}
)
