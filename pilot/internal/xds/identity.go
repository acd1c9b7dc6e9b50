package xds

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/netip"
	"strings"

	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/peer"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/internal/spiffe"
)

// Limits of what a node may say of itself.
const (
	maxNodeField = 512
	maxLabels    = 256
	maxAddresses = 64
)

// identity returns who is at the other end of a connection: a zero ID and
// false where the connection proves nothing (plaintext on loopback).
func identity(ctx context.Context) (spiffe.ID, bool, error) {
	p, ok := peer.FromContext(ctx)
	if !ok {
		return spiffe.ID{}, false, errors.New("the connection has no peer")
	}
	info, ok := p.AuthInfo.(credentials.TLSInfo)
	if !ok {
		return spiffe.ID{}, false, nil
	}
	id, err := peerID(&info.State)
	return id, true, err
}

// peerID is the identity that a client proved. The server's TLS configuration
// must have verified the certificate.
func peerID(state *tls.ConnectionState) (spiffe.ID, error) {
	if len(state.PeerCertificates) == 0 {
		return spiffe.ID{}, errors.New("the client sent no certificate")
	}
	return spiffe.FromCertificate(state.PeerCertificates[0])
}

// parseNode reads an Istio node: id ROLE~IP~POD.NS~DOMAIN, and metadata.
func parseNode(n *core.Node) (model.Proxy, error) {
	var p model.Proxy
	if n == nil {
		return p, errors.New("the first request has no node")
	}
	if len(n.Id) > maxNodeField {
		return p, fmt.Errorf("node id of %d bytes, the limit is %d", len(n.Id), maxNodeField)
	}
	part := strings.Split(n.Id, "~")
	if len(part) != 4 {
		return p, fmt.Errorf("node id %q is not ROLE~IP~POD.NAMESPACE~DOMAIN", n.Id)
	}
	if part[0] != "sidecar" && part[0] != "router" {
		return p, fmt.Errorf("node id %q: role %q is neither sidecar nor router", n.Id, part[0])
	}
	// A pod's name may hold dots, a namespace may not.
	dot := strings.LastIndexByte(part[2], '.')
	if dot <= 0 || dot == len(part[2])-1 {
		return p, fmt.Errorf("node id %q: %q is not POD.NAMESPACE", n.Id, part[2])
	}
	p = model.Proxy{ID: n.Id, Sidecar: part[0] == "sidecar", Name: part[2][:dot], Namespace: part[2][dot+1:]}
	if l := n.GetLocality(); len(l.GetRegion())+len(l.GetZone())+len(l.GetSubZone()) <= maxNodeField {
		p.Locality = model.Locality{Region: l.GetRegion(), Zone: l.GetZone(), SubZone: l.GetSubZone()}
	}
	return p, readMetadata(&p, part[1], n.GetMetadata().GetFields())
}

func readMetadata(p *model.Proxy, ip string, fields map[string]*structpb.Value) error {
	text := func(name string) string { return fields[name].GetStringValue() }
	for _, name := range []string{"NAMESPACE", "SERVICE_ACCOUNT", "CLUSTER_ID"} {
		if len(text(name)) > maxNodeField {
			return fmt.Errorf("node metadata %s has %d bytes, the limit is %d", name, len(text(name)), maxNodeField)
		}
	}
	if ns := text("NAMESPACE"); ns != "" && ns != p.Namespace {
		return fmt.Errorf("node metadata NAMESPACE %q differs from the node id's %q", ns, p.Namespace)
	}
	if err := readTexts(p, fields); err != nil {
		return err
	}
	p.ServiceAccount, p.ClusterID = text("SERVICE_ACCOUNT"), text("CLUSTER_ID")
	p.Proxyless = text("GENERATOR") == "grpc" // Istio's word for it
	labels := fields["LABELS"].GetStructValue().GetFields()
	if len(labels) > maxLabels {
		return fmt.Errorf("node metadata LABELS has %d entries, the limit is %d", len(labels), maxLabels)
	}
	p.Labels = make(map[string]string, len(labels))
	for k, v := range labels {
		if len(k)+len(v.GetStringValue()) > maxNodeField {
			return fmt.Errorf("node metadata LABELS: %.40q is longer than %d bytes", k, maxNodeField)
		}
		p.Labels[k] = v.GetStringValue()
	}
	return readAddresses(p, ip, text("INSTANCE_IPS"))
}

// readTexts keeps the metadata that are short strings, which EnvoyFilters may
// select proxies by.
func readTexts(p *model.Proxy, fields map[string]*structpb.Value) error {
	if len(fields) > maxLabels {
		return fmt.Errorf("node metadata has %d entries, the limit is %d", len(fields), maxLabels)
	}
	p.Metadata = make(map[string]string, len(fields))
	for k, v := range fields {
		if text, ok := v.GetKind().(*structpb.Value_StringValue); ok && len(k)+len(text.StringValue) <= maxNodeField {
			p.Metadata[k] = text.StringValue
		}
	}
	return nil
}

func readAddresses(p *model.Proxy, ip, list string) error {
	if list == "" {
		list = ip
	}
	if len(list) > maxAddresses*maxNodeField {
		return fmt.Errorf("node metadata INSTANCE_IPS has %d bytes", len(list))
	}
	for text := range strings.SplitSeq(list, ",") {
		addr, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return fmt.Errorf("node address: %w", err)
		}
		if len(p.Addresses) == maxAddresses {
			return fmt.Errorf("node metadata INSTANCE_IPS names more than %d addresses", maxAddresses)
		}
		p.Addresses = append(p.Addresses, addr.String())
	}
	return nil
}

// prove sets what the certificate decides, and refuses a node that claims
// something else.
func prove(p model.Proxy, id spiffe.ID) (model.Proxy, error) {
	if p.Namespace != id.Namespace {
		return p, fmt.Errorf("node claims namespace %q, but its certificate is for %q", p.Namespace, id.Namespace)
	}
	if p.ServiceAccount != "" && p.ServiceAccount != id.ServiceAccount {
		return p, fmt.Errorf("node claims service account %q, but its certificate is for %q", p.ServiceAccount, id.ServiceAccount)
	}
	p.ServiceAccount, p.Proven = id.ServiceAccount, true
	return p, nil
}

// errUnknownPod says that a proven identity names a pod that the pilot does
// not know (yet).
var errUnknownPod = errors.New("the pilot does not know this pod")

// errNotReady says that the pilot knows nothing yet.
var errNotReady = errors.New("the pilot has read no configuration yet")

// known replaces what a proxy claims by what the pilot knows of its pod. A
// proven identity may only speak for a pod of its own service account; without
// proof an unknown pod's own word counts.
func known(p model.Proxy, w *model.Workload) (model.Proxy, error) {
	switch {
	case w == nil && p.Proven:
		return p, fmt.Errorf("%w: %s/%s", errUnknownPod, p.Namespace, p.Name)
	case w == nil:
		return p, nil
	case p.Proven && w.ServiceAccount != p.ServiceAccount:
		return p, fmt.Errorf("pod %s/%s runs as service account %q, but the certificate is for %q", p.Namespace, p.Name, w.ServiceAccount, p.ServiceAccount)
	}
	p.Labels = w.Labels
	if len(w.Addresses) > 0 {
		p.Addresses = w.Addresses
	}
	if p.ServiceAccount == "" {
		p.ServiceAccount = w.ServiceAccount
	}
	return p, nil
}
