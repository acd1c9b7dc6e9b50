package envoy

import (
	"fmt"

	discovery "github.com/envoyproxy/go-control-plane/envoy/service/discovery/v3"
)

// Keys is a certificate authority for several Proxies, which trust one another.
type Keys struct{ ca *pki }

// NewKeys makes a CA.
func NewKeys() (*Keys, error) {
	ca, err := newPKI("spiffe://cluster.local/ns/default/sa/default")
	return &Keys{ca: ca}, err
}

// pki gives a proxy its certificate; nil Keys a CA of its own.
func (k *Keys) pki(identity string) (*pki, error) {
	if k == nil {
		return newPKI(identity)
	}
	leaf, err := k.ca.leaf(identity)
	own := &pki{key: k.ca.key, root: k.ca.root, public: k.ca.public, crl: k.ca.crl, leaves: k.ca.leaves, proxy: leaf}
	return own, err
}

// Send changes resources of a running Proxy, as they are.
func (p *Proxy) Send(all ...*discovery.Resource) error {
	for _, r := range all {
		if err := p.ads.push(r); err != nil {
			return fmt.Errorf("send %s: %w", r.GetName(), err)
		}
	}
	return nil
}
