package traffic

import (
	"fmt"
	"strings"
	"time"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/samples/bookshop/shop"
	"github.com/weftmesh/weft/test/cluster"
)

// renewed is the patience with renewals: one comes a minute after the last, and
// three may be waited for, where all requests go to one of the gateways.
const renewed = 6 * time.Minute

// rotation: the certificates of both ends are renewed, more than once, while
// requests run whose connections end after ten of them, so that each new
// certificate is shaken hands with; no request fails.
func (b *bench) rotation() {
	const renewals = 2
	pod := names(b.pods("shop", "app=details"))[0]
	began := time.Now()
	steady := b.knocks(50, request{host: "details.example.com", path: "/"})
	held := map[string]bool{} // ends of the server's certificates
	cluster.Eventually(b.T, renewed, fmt.Sprintf("%d renewals of the server's certificate", renewals), func() error {
		held[b.validUntil("shop", pod)] = true
		if len(held) <= renewals {
			return fmt.Errorf("seen until now: %v", held)
		}
		return nil
	})
	var clients map[string]bool // hashes of the gateways' certificates
	steady.within(renewed, "renewals of the gateway's certificate", func(lines []load.Line) error {
		clients = map[string]bool{}
		for _, l := range lines {
			if hop := shop.LastHop(l.Answer.Peer); hop.URI != identity("weft-system", "istio-ingressgateway") || hop.By != identity("shop", "details") {
				b.Fatalf("a request came by %+v", hop)
			} else {
				clients[hop.Hash] = true
			}
		}
		if gateways := len(b.pods("weft-system", "istio=ingressgateway")); len(clients) < gateways+renewals {
			return fmt.Errorf("%d gateways have shown %d certificates", gateways, len(clients))
		}
		return nil
	})
	lines := steady.stop()
	b.Logf("%d requests in %v, none failed; the server had %d certificates, the gateways showed %d", len(lines), time.Since(began).Round(time.Second), len(held), len(clients))
}

// validUntil is the end of the certificate that a pod's Envoy serves with.
func (b *bench) validUntil(namespace, pod string) string {
	b.Helper()
	out := b.MustWeft("", "proxy-config", "secrets", "-n", namespace, pod)
	for line := range strings.Lines(out) {
		if fields := strings.Fields(line); len(fields) > 2 && fields[0] == "default" {
			return fields[2]
		}
	}
	b.Fatalf("no certificate:\n%s", out)
	return ""
}
