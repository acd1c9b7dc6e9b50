package envoy

import (
	"bytes"
	"encoding/pem"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"

	tls "github.com/envoyproxy/go-control-plane/envoy/extensions/transport_sockets/tls/v3"
	logservice "github.com/envoyproxy/go-control-plane/envoy/service/accesslog/v3"
	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
	secret "github.com/envoyproxy/go-control-plane/envoy/service/secret/v3"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/anypb"
)

// Type URLs of the resources that are served by rules of their own.
const (
	typeListener = "type.googleapis.com/envoy.config.listener.v3.Listener"
	typeCluster  = "type.googleapis.com/envoy.config.cluster.v3.Cluster"
	typeVHost    = "type.googleapis.com/envoy.config.route.v3.VirtualHost"
	typeSecret   = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"
)

// adsServer serves one fixed configuration to one Envoy: delta ADS, and SDS
// for the streams of its own that an agent would serve.
type adsServer struct {
	discovery.UnimplementedAggregatedDiscoveryServiceServer
	secret.UnimplementedSecretDiscoveryServiceServer
	byType map[string]map[string]*discovery.Resource
	pki    *pki
	logs   *accessLogs
	server *grpc.Server

	mu      sync.Mutex
	nacks   []string
	streams map[deltaStream]bool // that are open; sends are made under mu
}

func startADS(socket string, resources []*discovery.Resource, keys *pki) (*adsServer, error) {
	s := &adsServer{streams: map[deltaStream]bool{}, byType: map[string]map[string]*discovery.Resource{}, pki: keys, logs: newAccessLogs(), server: grpc.NewServer()}
	for _, r := range resources {
		url := r.GetResource().GetTypeUrl()
		if s.byType[url] == nil {
			s.byType[url] = map[string]*discovery.Resource{}
		}
		s.byType[url][r.GetName()] = r
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	discovery.RegisterAggregatedDiscoveryServiceServer(s.server, s)
	secret.RegisterSecretDiscoveryServiceServer(s.server, s)
	logservice.RegisterAccessLogServiceServer(s.server, s.logs)
	go func() { _ = s.server.Serve(listener) }()
	return s, nil
}

func (s *adsServer) stop() { s.server.Stop() }

// refused is what Envoy said of resources that it would not take.
func (s *adsServer) refused() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.nacks)
}

// deltaStream is either of the two delta services' streams.
type deltaStream interface {
	Recv() (*discovery.DeltaDiscoveryRequest, error)
	Send(*discovery.DeltaDiscoveryResponse) error
}

// DeltaAggregatedResources serves all types on one stream.
func (s *adsServer) DeltaAggregatedResources(stream discovery.AggregatedDiscoveryService_DeltaAggregatedResourcesServer) error {
	s.mu.Lock()
	s.streams[stream] = true
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.streams, stream)
	}()
	return s.serve(stream)
}

// DeltaSecrets serves secrets as the agent's socket does.
func (s *adsServer) DeltaSecrets(stream secret.SecretDiscoveryService_DeltaSecretsServer) error {
	return s.serve(stream)
}

// StreamSecrets serves secrets in the state-of-the-world form, which an
// api_config_source of type GRPC asks for.
func (s *adsServer) StreamSecrets(stream secret.SecretDiscoveryService_StreamSecretsServer) error {
	for nonce := 0; ; nonce++ {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		if s.noteRefusal(req.GetTypeUrl(), req.GetErrorDetail().GetMessage()) || req.GetResponseNonce() != "" {
			continue
		}
		resp := &discovery.DiscoveryResponse{TypeUrl: typeSecret, VersionInfo: "1", Nonce: fmt.Sprint(nonce)}
		for _, name := range req.GetResourceNames() {
			if r, err := s.secret(name); err != nil {
				return err
			} else if r != nil {
				resp.Resources = append(resp.Resources, r.GetResource())
			}
		}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
}

func (s *adsServer) noteRefusal(typeURL, message string) bool {
	if message == "" {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.nacks = append(s.nacks, typeURL+": "+message)
	return true
}

func (s *adsServer) serve(stream deltaStream) error {
	wild := map[string]bool{}
	for nonce := 0; ; nonce++ {
		req, err := stream.Recv()
		if err != nil {
			return err
		}
		url := req.GetTypeUrl()
		if s.noteRefusal(url, req.GetErrorDetail().GetMessage()) {
			continue
		}
		names := req.GetResourceNamesSubscribe()
		// The first request of a type that names nothing asks for all of it:
		// the wildcard types, and VHDS at its start.
		all := !wild[url] && len(names) == 0 && req.GetResponseNonce() == "" || slices.Contains(names, "*")
		if !all && len(names) == 0 {
			continue // an ACK, or an unsubscription
		}
		wild[url] = wild[url] || all
		if err := s.respond(stream, url, names, all, fmt.Sprint(nonce)); err != nil {
			return err
		}
	}
}

func (s *adsServer) respond(stream deltaStream, url string, names []string, all bool, nonce string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	resp, err := s.answer(url, names, all)
	if err != nil {
		return err
	}
	resp.Nonce = nonce
	return stream.Send(resp)
}

// push sends a changed resource to a client that has it already.
func (s *adsServer) push(r *discovery.Resource) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	url := r.GetResource().GetTypeUrl()
	s.byType[url][r.GetName()] = r
	for stream := range s.streams {
		resp := &discovery.DeltaDiscoveryResponse{TypeUrl: url, SystemVersionInfo: "2", Nonce: "pushed " + r.GetVersion(), Resources: []*discovery.Resource{r}}
		if err := stream.Send(resp); err != nil {
			return err
		}
	}
	return nil
}

// answer holds the named resources, or all of them; a name that is not there
// is answered as removed, so that Envoy does not wait for it.
func (s *adsServer) answer(url string, names []string, all bool) (*discovery.DeltaDiscoveryResponse, error) {
	resp := &discovery.DeltaDiscoveryResponse{TypeUrl: url, SystemVersionInfo: "1"}
	if all {
		for _, name := range slices.Sorted(maps.Keys(s.byType[url])) {
			resp.Resources = append(resp.Resources, s.byType[url][name])
		}
		return resp, nil
	}
	for _, name := range names {
		r := s.byType[url][name]
		if r == nil && url == typeSecret {
			var err error
			if r, err = s.secret(name); err != nil {
				return nil, err
			}
		}
		if r == nil {
			resp.RemovedResources = append(resp.RemovedResources, name)
		} else {
			resp.Resources = append(resp.Resources, r)
		}
	}
	return resp, nil
}

// holder is the name of the given secret that holds a certificate, DER.
func (s *adsServer) holder(leaf []byte) string {
	for name, r := range s.byType[typeSecret] {
		given := &tls.Secret{}
		if r.GetResource().UnmarshalTo(given) != nil {
			continue
		}
		block, _ := pem.Decode(given.GetTlsCertificate().GetCertificateChain().GetInlineBytes())
		if block != nil && bytes.Equal(block.Bytes, leaf) {
			return name
		}
	}
	return ""
}

// fromCluster begins the names of secrets that the pilot serves.
const fromCluster = "kubernetes://"

// secret is a given secret, or one that an agent would serve, of the harness's
// own making; nil when there is none.
func (s *adsServer) secret(name string) (*discovery.Resource, error) {
	if r := s.byType[typeSecret][name]; r != nil || strings.HasPrefix(name, fromCluster) {
		return r, nil
	}
	made := s.pki.secret(name)
	body, err := anypb.New(made)
	if err != nil {
		return nil, err
	}
	return &discovery.Resource{Name: name, Version: "1", Resource: body}, nil
}
