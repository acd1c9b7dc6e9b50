package webhook

import (
	"context"
	"log/slog"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/weftmesh/weft/internal/admission"
	"github.com/weftmesh/weft/internal/enroll"
)

// Keeper keeps the caBundle of the ValidatingWebhookConfiguration, so that the
// API server trusts the certificate that the mesh's CA gave the pilot.
type Keeper struct {
	Config    *rest.Config
	Namespace string // of the control plane, with the ConfigMap of the roots
	Name      string // of the configuration
	Log       *slog.Logger
	Identity  *enroll.Manager // that keeps the webhook's certificate; nil: somebody else does
}

// Run keeps it until ctx ends, and then returns nil. The API server may be away
// and the configuration missing: both are waited for.
func (k Keeper) Run(ctx context.Context) error {
	client, err := kubernetes.NewForConfig(k.Config)
	if err != nil {
		return err
	}
	poked := make(chan struct{}, 1)
	poke := func() {
		select {
		case poked <- struct{}{}:
		default: // a look is due already
		}
	}
	bundle := &admission.Bundle{
		Client: client.AdmissionregistrationV1().RESTClient(), Manager: "weft-pilot",
		Hooks: admission.Kept{Resource: "validatingwebhookconfigurations", Name: k.Name, Object: &admissionregistrationv1.ValidatingWebhookConfiguration{}},
	}
	bundle.Follow(ctx, client.CoreV1().RESTClient(), k.Namespace, poke)
	if k.Identity != nil {
		k.Identity.KnownTo(bundle.Trusted)
	}
	for {
		var again <-chan time.Time
		wrote, err := bundle.Keep(ctx)
		if err != nil {
			k.Log.Warn("the validating webhook's caBundle is not written; will try again", "error", err)
			again = time.After(admission.RetryAfter)
		} else if wrote {
			k.Log.Info("the validating webhook's caBundle is written", "configuration", k.Name)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-poked:
		case <-again:
		}
	}
}
