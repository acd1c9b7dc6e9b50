package outage

import (
	"fmt"
	"strings"
	"time"
)

// shortLife is one of whose renewals falls into the outage, and whose end
// does not.
const shortLife = 2 * time.Minute

const pod = `{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: shop}, spec: {containers: [{name: app, image: "localhost/weft-test/app:1", args: [serve]}]}}`

var components = []string{"deployment/weft-pilot", "deployment/weft-ca", "deployment/weft-injector"}

// controlPlane: pilot, CA and injector are away at once. Proxies keep what they
// have, certificates that are due stay in use, and new pods are kept out or wait.
func (b *bench) controlPlane() {
	agent := agentPage(b.brief("brief", shortLife))
	caller := agentPage(b.Must("", "-n", "shop", "get", "pod", "caller", "-o", "jsonpath={.status.podIP}"))
	before, err := b.metric("weft_workload_certificate_expiry_timestamp_seconds", agent)
	if err != nil {
		b.Fatal(err)
	}
	start := time.Now()
	b.scale(0, "deployment/weft-pilot", "deployment/weft-ca")
	began := time.Now()
	b.Must(fmt.Sprintf(pod, "late"), "apply", "-f", "-")
	b.scale(0, "deployment/weft-injector")

	_, refused := b.Kubectl(fmt.Sprintf(pod, "refused"), "apply", "-f", "-")
	if refused == nil || !strings.Contains(refused.Error(), "sidecar-injector.weft.mesh") {
		b.Errorf("a pod of the mesh without an injector: %v", refused)
	}
	b.Logf("a pod that wants a sidecar: %v", refused)
	b.refusedWith("no pilot runs in namespace weft-system", "proxy-status")
	b.refusedWith("weft-ca: scaled to 0 replicas", "check")
	b.route("/after-pilot") // stored, for its webhook must not keep a cluster from being repaired
	b.becomes("weft_agent_pilot_breaker_state", open, caller)
	b.Eventually("a new pod says what it waits for", func() error {
		out, err := b.Kubectl("", "-n", "shop", "logs", "late", "-c", "istio-proxy")
		if err == nil && !strings.Contains(out, "no new certificate yet") {
			return fmt.Errorf("it says: %s", out)
		}
		return err
	})
	last(began)
	b.becomes("weft_ca_client_breaker_state", open, agent) // a renewal was due and failed

	b.scale(2, components...)
	b.Logf("pilot and CA were away for %v", time.Since(began).Round(time.Millisecond))
	b.routed("/after-pilot")
	b.Must("", "-n", "shop", "wait", "--for=condition=Ready", "pod/late", "--timeout=90s")
	b.Must(fmt.Sprintf(pod, "refused"), "apply", "-f", "-")
	b.Must("", "-n", "shop", "wait", "--for=condition=Ready", "pod/refused", "--timeout=90s")
	b.InSync("caller.shop", "istio-ingressgateway", "brief.shop", "late.shop", "refused.shop")
	b.becomes("weft_agent_pilot_breaker_state", closed, caller)
	b.Eventually("the certificate was renewed", func() error {
		if after, err := b.metric("weft_workload_certificate_expiry_timestamp_seconds", agent); err != nil || after <= before {
			return fmt.Errorf("it ends at %v, as before, %v", time.Unix(int64(after), 0), err)
		}
		return nil
	})
	b.renewed(agent)
	b.clean(start, "pilot, CA and injector away")
}

// scale gives Deployments of weft-system that many replicas, and waits until
// they have them.
func (b *bench) scale(replicas int, names ...string) {
	b.Helper()
	b.Must("", append([]string{"-n", "weft-system", "scale", fmt.Sprintf("--replicas=%d", replicas)}, names...)...)
	for _, name := range names {
		_, name, _ = strings.Cut(name, "/")
		b.Ready("weft-system/" + name)
		if replicas == 0 {
			app := map[string]string{"weft-pilot": "istiod"}[name]
			if app == "" {
				app = name
			}
			b.Must("", "-n", "weft-system", "wait", "--for=delete", "pod", "-l", "app="+app, "--timeout=90s")
		}
	}
}
