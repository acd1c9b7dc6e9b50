package outage

import (
	"errors"
	"time"
)

// hasty is a life of certificates of which several are due in an outage.
const hasty = 30 * time.Second

// apiServer is away: pilots and CAs go on with what they know, and say that they
// cannot ask. The certificate of a pod that wants a new one gets old; the CA
// tells it why and does not ask in vain for each.
func (b *bench) apiServer() {
	agent := agentPage(b.brief("hasty", hasty))
	var authorities []string
	for _, ip := range b.addresses("weft-ca") {
		authorities = append(authorities, componentPage(ip))
	}
	b.becomes("weft_ca_client_breaker_state", closed, agent)
	began := time.Now()
	if err := b.KillAPIServer(); err != nil {
		b.Fatal(err)
	}
	b.refusedWith("does not answer", "proxy-status")
	b.refusedWith("does not answer", "check")
	b.becomes("weft_ca_kubernetes_breaker_state", open, authorities...)
	b.becomes("weft_ca_client_breaker_state", open, agent)
	last(began)
	if err := b.StartAPIServer(b.Context()); err != nil {
		b.Fatal(err)
	}
	b.Logf("the API server was away for %v", time.Since(began).Round(time.Millisecond))
	b.route("/after-api-server")
	b.routed("/after-api-server")
	b.InSync("caller.shop", "istio-ingressgateway", "hasty.shop")
	b.renewed(agent)
	b.clean(began, "API server away")
}

// renewed waits until a pod has a certificate that holds.
func (b *bench) renewed(agent string) {
	b.Helper()
	b.becomes("weft_ca_client_breaker_state", closed, agent)
	b.Eventually("the certificate holds", func() error {
		end, err := b.metric("weft_workload_certificate_expiry_timestamp_seconds", agent)
		if err == nil && time.Until(time.Unix(int64(end), 0)) <= 0 {
			return errors.New("it has ended")
		}
		return err
	})
}
