package translate

import (
	"time"

	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/weftmesh/weft/internal/model"
)

// How long a connection may say nothing before it counts as bytes, where
// MeshConfig says nothing (decision 024).
const (
	// clientPatience is for clients that all speak first.
	clientPatience = 5 * time.Second
	// outboundPatience is for an app, which is as near as can be: what comes late
	// goes to the same service, but by no route of HTTP.
	outboundPatience = 200 * time.Millisecond
	// inboundPatience is longer: mesh mTLS whose first bytes come later, having
	// been lost on their way, would be taken for plaintext.
	inboundPatience = time.Second
)

// patience is that of an outbound or a gateway's listener.
func patience(l *model.Listener) time.Duration {
	if l.ServerFirst {
		return outboundPatience
	}
	return clientPatience
}

// detectionTimeout is what MeshConfig says, else byDefault; 0 waits for ever.
// Source: envoy.config.listener.v3.Listener.listener_filters_timeout.
func (b *builder) detectionTimeout(byDefault time.Duration) *durationpb.Duration {
	if own := b.ProtocolDetectionTimeout; own != nil {
		return durationpb.New(*own)
	}
	return durationpb.New(byDefault)
}
