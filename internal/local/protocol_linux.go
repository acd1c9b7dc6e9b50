package local

import (
	"github.com/weftmesh/weft/internal/local/pod"
)

// Descriptors that the supervisor leaves open in meshd.
const (
	controlFD = 3 // messages to and from the supervisor
	apiFD     = 4 // the listener of the API socket
)

// order is a message from the supervisor to meshd.
type order struct {
	Setup *setup `json:",omitempty"` // the first one
	Stop  bool   `json:",omitempty"` // drain and end
	Re    int    `json:",omitempty"` // answers the request of that ID; a file is the listener
	Error string `json:",omitempty"`
}

// setup is what a mesh is started from.
type setup struct {
	Name     string
	Mode     Mode
	Identity pod.Identity
	Config   []byte
	// MeshDir is the existing directory over which the mesh's memory file
	// system is mounted.
	MeshDir string
}

// request is a message from meshd to the supervisor.
type request struct {
	ID     int    `json:",omitempty"`
	Listen string `json:",omitempty"` // a listener in the host's network, HOST:PORT
	Ended  bool   `json:",omitempty"` // the controllers returned, with Error if not empty
	Error  string `json:",omitempty"`
	// InSetup tells that Error came before the controllers ran.
	InSetup bool `json:",omitempty"`
}
