package model

// ProxySettings are what the pilot reads of a ProxyConfig: of MeshConfig's
// defaultConfig, over which a pod may lay its own.
// Source: istio.io/api mesh/v1alpha1, message ProxyConfig.
type ProxySettings struct {
	Edge    Edge         // gatewayTopology
	Headers ProxyHeaders // proxyHeaders
	// Connections is connectionSettings.
	Connections Connections
}

// OwnProxy are the ProxySettings of a class whose pods say some themselves. The
// zero value says nothing: those of the mesh hold.
type OwnProxy struct {
	Said bool
	ProxySettings
}
