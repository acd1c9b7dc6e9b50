package model

import "time"

// Authorizer is an external one that AuthorizationPolicies of action CUSTOM
// ask, over gRPC or HTTP.
// Source: istio.io/api mesh/v1alpha1, MeshConfig.ExtensionProvider,
// envoyExtAuthzGrpc and envoyExtAuthzHttp.
type Authorizer struct {
	Name string
	Callee
	GRPC bool // else HTTP
	// Timeout of one question; Istio's default is 600 s.
	Timeout time.Duration
	// FailOpen lets pass what the authorizer could not be asked about.
	FailOpen bool
	// ClearRoutes has the route chosen again, by the headers that it adds.
	ClearRoutes bool
	// StatusOnError answers a request that it could not be asked about; 0 is 403.
	StatusOnError uint32
	// Body is what of the request's body it is shown; nil: nothing.
	Body *AuthorizerBody
	// HTTP is for those that are asked over HTTP.
	HTTP AuthorizerHTTP
}

// AuthorizerBody bounds what of a body an Authorizer is shown.
type AuthorizerBody struct {
	MaxBytes uint32 // at least 1
	Partial  bool   // the beginning of a longer one, which is else answered 413
	Bytes    bool   // as bytes, not as UTF-8; of gRPC
}

// AuthorizerHTTP is how an Authorizer is asked over HTTP. The matches are of
// names of headers, in any case.
type AuthorizerHTTP struct {
	PathPrefix string        // goes before the request's path
	Shown      []StringMatch // headers of the request that it is shown
	Added      []Header      // to what it is shown, sorted by name
	// Upstream are headers of its answer that an allowed request gets, Allowed
	// those that its answer gets, and Denied those of a denial; none: of a denial
	// all.
	Upstream, Allowed, Denied []StringMatch
}

// AskedAuthorizer is an Authorizer that the policies of a class ask, with the
// cluster by which proxies of the class reach it.
type AskedAuthorizer struct {
	*Authorizer
	Cluster string
}

// Authorizer returns that of a name; nil if there is none that can be used.
func (s *Settings) Authorizer(name string) *Authorizer {
	for _, a := range s.Authorizers {
		if a.Name == name {
			return a
		}
	}
	return nil
}
