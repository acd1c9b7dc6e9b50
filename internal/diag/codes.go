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
	// SidecarConflict: several Sidecars select one workload.
	SidecarConflict = Finding{"IST0110", Error, "give their workloadSelectors labels that no workload has both of"}
	// SidecarTwice: several Sidecars are for a whole namespace.
	SidecarTwice = Finding{"IST0111", Error, "keep one, or give the others a workloadSelector"}
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
	// TokensUnchecked: routes by claims of tokens at a gateway that checks none.
	TokensUnchecked = Finding{"IST0149", Error, "apply a RequestAuthentication to the gateway's pods"}
	// BadCredential: a TLS credential that no proxy could load.
	BadCredential = Finding{"IST0161", Error, "put a matching PEM chain and key into the Secret (tls.crt, tls.key, ca.crt)"}

	// PortNotOnService: a Gateway's port that the Service of its pods lacks.
	PortNotOnService = Finding{"IST0162", Warning, "add the port to the Service, or correct the server's"}
	// SubsetEmpty: a subset that selects no pod.
	SubsetEmpty = Finding{"IST0173", Warning, "correct the labels, or deploy such pods before you send requests there"}

	// NotSupported: a field that Weft does not have yet; it has no effect.
	NotSupported = Finding{"WEFT0101", Error, "remove the field; apis/support.yaml lists what is supported"}
	// NotEnforced: a security rule that would do nothing.
	NotEnforced = Finding{"WEFT0103", Error, "do not rely on this rule: nothing enforces it; remove the object, or keep the workload elsewhere"}
	// TokensRefused: a rule for tokens without keys: every token is refused.
	TokensRefused = Finding{"WEFT0190", Error, "give the rule an issuer and a JSON Web Key Set with a public key (jwks, jwksUri)"}
	// KeyLeftOut: a key of a set that is not used.
	KeyLeftOut = Finding{"WEFT0191", Warning, "publish public keys only (kty RSA, EC or OKP)"}
	// KeysMissing: the keys of a rule for tokens could not be fetched, ever.
	KeysMissing = Finding{"WEFT0192", Error, "let the URL answer the pilot with a JSON Web Key Set; it is asked again by itself"}
	// KeysOld: the keys of a rule for tokens can no longer be fetched.
	KeysOld = Finding{"WEFT0193", Warning, "let the URL answer the pilot with a JSON Web Key Set; it is asked again by itself"}
	// NoAuthorizer: a CUSTOM policy whose authorizer cannot be asked.
	NoAuthorizer = Finding{"WEFT0202", Error, "define it in extensionProviders of MeshConfig (envoyExtAuthzGrpc, envoyExtAuthzHttp), with a service and a port that the mesh has"}
	// NoProvider: a provider of logs, metrics or traces that there is none of.
	NoProvider = Finding{"WEFT0230", Error, "define it in extensionProviders of MeshConfig (envoyFileAccessLog, envoyHttpAls, envoyTcpAls, envoyOtelAls, prometheus, opentelemetry, zipkin), or name one that is there"}
	// NoCollector: logs that only some proxies know where to send.
	NoCollector = Finding{"WEFT0233", Warning, "set envoyAccessLogService.address in defaultConfig, or in the ProxyConfig of each proxy that is to log"}
	// BadExpression: a CEL expression that Envoy would refuse.
	BadExpression = Finding{"WEFT0231", Error, "write it with Envoy's attributes, CEL's operators and the functions that docs/telemetry.md lists"}
	// NoMetric: a metric that the proxies do not have.
	NoMetric = Finding{"WEFT0232", Warning, "name one of Istio's standard metrics, such as REQUEST_COUNT"}
	// ClaimInMesh: a match by a token's claim for more than gateways.
	ClaimInMesh = Finding{"WEFT0194", Error, "name gateways without mesh, in the VirtualService or in the match"}
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
	// AnyClient: a server that lets in clients which prove nothing.
	AnyClient = Finding{"WEFT0140", Warning, "let the app check the certificate that X-Forwarded-Client-Cert has, or remove the field"}
	// WrongProtocol: an HTTP route to a port that is declared as something else.
	WrongProtocol = Finding{"WEFT0112", Warning, "name the port http or grpc (or set appProtocol), or send the route elsewhere"}
	// NoSuchPort: a tls or tcp route for a port that its hosts do not have, or
	// that is of another protocol.
	NoSuchPort = Finding{"WEFT0121", Warning, "name the port for what it carries (tls-..., tcp-...; or set appProtocol), or correct the route"}
	// Unserved: a server of a Gateway for bytes that no route takes from.
	Unserved = Finding{"WEFT0170", Warning, "add a VirtualService with such routes that names the Gateway in gateways, or remove the server"}
	// AliasRouted: routes for a name that stands for another service.
	AliasRouted = Finding{"WEFT0171", Warning, "name the service that it stands for; its routes hold for both names"}
	// AskedBeyond: clients of a gateway could name hosts that a destination with
	// the resolution DYNAMIC_DNS does not have.
	AskedBeyond = Finding{"WEFT0180", Error, "give the VirtualService hosts (and tls routes sniHosts) within those of the ServiceEntry"}
	// SharedHost: several VirtualServices claim one host at a Gateway.
	SharedHost = Finding{"WEFT0113", Warning, "put the routes into one VirtualService, where their order is to be seen"}
	// NobodySelected: a selector that no pod answers to.
	NobodySelected = Finding{"WEFT0114", Warning, "correct the labels, or start such pods"}
	// HostOfNothing: a host of a Sidecar that stands for nothing in the mesh.
	HostOfNothing = Finding{"WEFT0130", Warning, "correct the namespace or the name, or remove the host"}
	// AllSelected: an empty selector, which selects everything.
	AllSelected = Finding{"WEFT0115", Warning, "give it labels, or leave workloadSelector out if all proxies are meant"}
	// NoMatch: a patch that edits nothing.
	NoMatch = Finding{"WEFT0116", Warning, "compare the match with what `weft proxy-config` shows of the proxy, or remove the patch"}
	// PatchLeftOut: a patch that cannot be applied, or whose result Envoy would
	// refuse.
	PatchLeftOut = Finding{"WEFT0117", Error, "correct the patch; until then the configuration is as without it"}
	// UnknownPart: a part of a patch's body that no message of Envoy's has.
	UnknownPart = Finding{"WEFT0118", Warning, "correct or remove it; the rest of the patch is applied"}
	// HostOfOthers: an object claims a host that another namespace owns.
	HostOfOthers = Finding{"WEFT0131", Error, "have the host added to weft.mesh/hosts of the object's Namespace, or export the object to its own namespace (exportTo: [\".\"])"}
	// HostOfOthersAudit: HostOfOthers, while the mesh only watches.
	HostOfOthersAudit = Finding{"WEFT0132", Warning, "have the host added to weft.mesh/hosts of the object's Namespace before ownership is enforced"}
	// BadSession: a Service's label for persistent sessions that cannot be read.
	BadSession = Finding{"WEFT0150", Error, "correct the label; until then clients are balanced as without it"}
	// Unread: a part of a security policy that cannot be read.
	Unread = Finding{"WEFT0155", Error, "correct or remove the field; until then it is taken in nobody's favour"}
	// ShortHost: a host of a ServiceEntry that is a shorter name of a Service.
	ShortHost = Finding{"WEFT0156", Warning, "give the entry a host of its own; a VirtualService sends a Service's requests elsewhere"}
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
