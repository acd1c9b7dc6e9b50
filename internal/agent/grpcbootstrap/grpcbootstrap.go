// Package grpcbootstrap makes the bootstrap file by which a gRPC library finds
// the pilot, says who it is, and reads its certificates.
//
// Input: a Config. Output: the JSON that GRPC_XDS_BOOTSTRAP names, equal for
// equal input, and the files that it refers to. Of the agent it may import the
// node alone.
package grpcbootstrap

import (
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/agent/node"
)

// SNIVariable lets grpc-go, if true, say which host it means when it opens mTLS
// (SNI). Sidecars that take plaintext too know mesh mTLS by that.
// Source: gRFC A101.
const SNIVariable = "GRPC_EXPERIMENTAL_XDS_SNI"

// PathVariable names the bootstrap file. Source: gRFC A27.
const PathVariable = "GRPC_XDS_BOOTSTRAP"

// serverNames is how a server's listener is asked for; %s is its ADDRESS:PORT.
// Istio has the same. Source: gRFC A36.
const serverNames = "xds.istio.io/grpc/lds/inbound/%s"

// Refresh is how often a library looks at the certificate files.
const Refresh = 10 * time.Second

// Config of one process.
type Config struct {
	// Node is who the process is; it must be valid.
	Node node.Node
	// Server is where the pilot is: unix:///PATH of an agent, or HOST:PORT.
	Server string
	// Plaintext speaks to HOST:PORT without TLS; to a socket that is always so.
	Plaintext bool
	// Certificates is the folder of Chain, Key and Roots; "" without them: then
	// there is no mTLS.
	Certificates string
}

// Names of the files in Config.Certificates.
const (
	Chain = "cert-chain.pem"
	Key   = "key.pem"
	Roots = "root-cert.pem"
)

type server struct {
	URI      string        `json:"server_uri"`
	Creds    []credentials `json:"channel_creds"`
	Features []string      `json:"server_features"`
}

type credentials struct {
	Type   string `json:"type"`
	Config *files `json:"config,omitempty"`
}

type provider struct {
	Plugin string `json:"plugin_name"`
	Config files  `json:"config"`
}

type files struct {
	Chain   string `json:"certificate_file"`
	Key     string `json:"private_key_file"`
	Roots   string `json:"ca_certificate_file"`
	Refresh string `json:"refresh_interval"`
}

// bootstrap is gRFC A27's file, with A29's certificate providers.
type bootstrap struct {
	Servers     []server            `json:"xds_servers"`
	Node        json.RawMessage     `json:"node"`
	Providers   map[string]provider `json:"certificate_providers,omitempty"`
	ServerNames string              `json:"server_listener_resource_name_template"`
}

// JSON renders c, indented. Errors say what c lacks.
func JSON(c Config) ([]byte, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	self := c.Node.Proto()
	self.Metadata.Fields["GENERATOR"] = structpb.NewStringValue("grpc")
	compact, err := protojson.Marshal(self)
	if err != nil {
		return nil, fmt.Errorf("gRPC bootstrap: node: %w", err)
	}
	out := bootstrap{
		Servers: []server{{URI: c.Server, Creds: []credentials{c.credentials()}, Features: []string{"xds_v3"}}},
		Node:    compact, ServerNames: serverNames,
	}
	if c.Certificates != "" {
		out.Providers = map[string]provider{"default": {Plugin: "file_watcher", Config: c.files()}}
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("gRPC bootstrap: %w", err)
	}
	return append(text, '\n'), nil
}

func (c Config) validate() error {
	switch {
	case c.Server == "":
		return errors.New("gRPC bootstrap: no server: give unix:///PATH of the agent's socket, or HOST:PORT of the pilot")
	case !c.local() && !c.Plaintext && c.Certificates == "":
		return fmt.Errorf("gRPC bootstrap: the pilot at %s wants a certificate: give the folder of %s, %s and %s", c.Server, Chain, Key, Roots)
	case c.Certificates != "" && !filepath.IsAbs(c.Certificates):
		return fmt.Errorf("gRPC bootstrap: folder of certificates %q: give an absolute path", c.Certificates)
	}
	return c.Node.Validate()
}

func (c Config) local() bool { return strings.HasPrefix(c.Server, "unix:") }

func (c Config) credentials() credentials {
	if c.local() || c.Plaintext {
		return credentials{Type: "insecure"}
	}
	own := c.files()
	return credentials{Type: "tls", Config: &own}
}

func (c Config) files() files {
	return files{
		Chain: filepath.Join(c.Certificates, Chain), Key: filepath.Join(c.Certificates, Key), Roots: filepath.Join(c.Certificates, Roots),
		Refresh: fmt.Sprintf("%ds", Refresh/time.Second),
	}
}
