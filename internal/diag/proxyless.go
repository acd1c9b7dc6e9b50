package diag

// Findings about processes whose gRPC library speaks xDS, without an Envoy.
var (
	// ProxylessNothing: a field that does nothing for a gRPC client without a proxy.
	ProxylessNothing = Finding{"WEFT0160", Warning, "do without the field where such clients call, or give them sidecars"}
	// ProxylessFails: calls of a gRPC client without a proxy fail by it.
	ProxylessFails = Finding{"WEFT0161", Warning, "do without it where such clients call, or give them sidecars"}
	// ProxylessOther: honoured for gRPC clients without a proxy in another way.
	ProxylessOther = Finding{"WEFT0162", Info, "nothing to do if that will serve; else give the clients sidecars"}
	// ProxylessPlain: a gRPC server without a proxy that takes clear text alone.
	ProxylessPlain = Finding{"WEFT0163", Warning, "set the mode STRICT by a PeerAuthentication for these pods: a gRPC library takes either mutual TLS or clear text"}
	// ProxylessUnguarded: a port of a pod without a proxy that no policy holds for.
	ProxylessUnguarded = Finding{"WEFT0164", Warning, "name the port grpc if a gRPC server listens there, else do not rely on the policy or give the pod a sidecar"}
	// ProxylessLeftOut: endpoints that gRPC clients without a proxy do not use.
	ProxylessLeftOut = Finding{"WEFT0165", Warning, "let all pods of the service take mutual TLS, or none"}
	// ProxylessDenied: a condition that a gRPC server without a proxy cannot ask.
	ProxylessDenied = Finding{"WEFT0166", Error, "do without the condition where such servers are meant, or give them sidecars; until then callers are denied"}
	// ProxylessUnmarked: a policy that only marks or counts, which gRPC does not.
	ProxylessUnmarked = Finding{"WEFT0167", Warning, "give the servers sidecars where you would see what the policy takes"}
	// ProxylessOpen: a port of a pod without a proxy where nothing enforces a policy.
	ProxylessOpen = Finding{"WEFT0168", Error, "name the port grpc if a gRPC server listens there, else do not rely on the policy or give the pod a sidecar"}
	// ProxylessTokens: a RequestAuthentication for pods without a proxy.
	ProxylessTokens = Finding{"WEFT0169", Error, "ask for tokens in the app, or give the pods sidecars; policies that ask for what tokens say take no call there"}
)
