package main

import (
	"fmt"
	"strings"

	"github.com/weftmesh/weft/apis"
)

const proxylessHead = `
## Clients without a proxy

A process whose gRPC library speaks xDS ([guide](guides/proxyless.md)) takes the fields above as a sidecar does, but for
these, which are told of where such a client is known. "Nothing": the field has no effect for it; "fails": its calls
fail; "other": another effect.

| field | | why |
|---|---|---|
`

// proxyless lists what differs for gRPC clients without a proxy.
func (p *page) proxyless() error {
	notes, err := apis.Proxyless()
	if err != nil {
		return err
	}
	p.out.WriteString(proxylessHead)
	for _, message := range notes.Messages() {
		short := strings.TrimPrefix(message, "istio.networking.v1alpha3.")
		for _, field := range notes.Fields(message) {
			n := notes.Of(message, field)
			fmt.Fprintf(&p.out, "| `%s.%s` | %s | %s |\n", short, field, n.Effect, n.Why)
		}
	}
	return nil
}
