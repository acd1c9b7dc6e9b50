package hostile

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

const subsets = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews, namespace: shop},
 spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}]}}`

// route sends all requests to one version of reviews.
func route(version string) string {
	return fmt.Sprintf(`{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: reviews, namespace: shop},
 spec: {hosts: [reviews], http: [{route: [{destination: {host: reviews, subset: %s}}]}]}}`, version)
}

// The mistake is a regular expression that is none, before a route to v2.
const mistaken = `{apiVersion: networking.istio.io/v1, kind: VirtualService, metadata: {name: reviews, namespace: shop},
 spec: {hosts: [reviews], http: [{match: [{uri: {regex: "/(a"}}], route: [{destination: {host: reviews, subset: v1}}]}, {route: [{destination: {host: reviews, subset: v2}}]}]}}`

const unenforced = `{apiVersion: security.istio.io/v1, kind: AuthorizationPolicy, metadata: {name: nobody, namespace: shop}, spec: {action: DENY, targetRefs: [{kind: Service, group: "", name: reviews}], rules: [{}]}}
---
{apiVersion: security.istio.io/v1, kind: RequestAuthentication, metadata: {name: tokens, namespace: shop}, spec: {jwtRules: [{issuer: example.org, jwks: none}]}}`

// condition is one of an object's status.
type condition struct {
	Type, Status, Reason, Message string
	ObservedGeneration            int64
}

// conditions are those of an object's newest generation, by type.
func (b *bench) conditions(object string) (map[string]condition, error) {
	text, err := b.Kubectl("", "-n", "shop", "get", object, "-o", "json")
	if err != nil {
		return nil, err
	}
	var o struct {
		Metadata struct{ Generation int64 }
		Status   struct {
			ObservedGeneration json.Number
			Conditions         []condition
		}
	}
	if err := json.Unmarshal([]byte(text), &o); err != nil {
		return nil, err
	}
	if o.Status.ObservedGeneration.String() != strconv.FormatInt(o.Metadata.Generation, 10) {
		return nil, fmt.Errorf("%s: its status is of generation %s, it is at %d", object, o.Status.ObservedGeneration, o.Metadata.Generation)
	}
	out := map[string]condition{}
	for _, c := range o.Status.Conditions {
		if c.ObservedGeneration != o.Metadata.Generation {
			return nil, fmt.Errorf("%s: condition %s is of generation %d, the object at %d", object, c.Type, c.ObservedGeneration, o.Metadata.Generation)
		}
		out[c.Type] = c
	}
	return out, nil
}

// stands waits until a condition of an object is as wanted, with these texts.
func (b *bench) stands(object, name, status, reason string, texts ...string) {
	b.Helper()
	b.Eventually(fmt.Sprintf("%s is %s=%s, %s", object, name, status, reason), func() error {
		all, err := b.conditions(object)
		if err != nil {
			return err
		}
		c := all[name]
		if c.Status != status || c.Reason != reason {
			return fmt.Errorf("%+v", all)
		}
		for _, text := range texts {
			if !strings.Contains(c.Message, text) {
				return fmt.Errorf("no %q in %+v", text, c)
			}
		}
		return nil
	})
}

// refusedBefore: what is wrong whatever else there is does not get in.
func (b *bench) refusedBefore() {
	for input, want := range map[string][]string{
		mistaken:   {"IST0106", `spec.http[0].match[0].uri.regex`, "/(a"},
		unenforced: {"spec.targetRefs[0].kind", "WEFT0103", "WEFT0190", "remove the object"},
	} {
		if out, err := b.Kubectl(input, "apply", "-f", "-"); err == nil {
			b.Errorf("it was stored: %s", out)
		} else {
			for _, text := range want {
				if !strings.Contains(err.Error(), text) {
					b.Errorf("the refusal does not say %q: %v", text, err)
				}
			}
		}
	}
}

// pilots are the pods that run, and how many proxies each has.
func (b *bench) pilots() (map[string]int, error) {
	list, err := b.API.CoreV1().Pods("weft-system").List(b.Context(), metav1.ListOptions{LabelSelector: "app=istiod"})
	if err != nil {
		return nil, err
	}
	out := map[string]int{}
	for _, p := range list.Items {
		text, err := b.Kubectl("", "get", "--raw", "/api/v1/namespaces/weft-system/pods/"+p.Name+":15014/proxy/metrics")
		if err != nil {
			return nil, err
		}
		for line := range strings.Lines(text) {
			if value, ok := strings.CutPrefix(line, "pilot_xds "); ok {
				if out[p.Name], err = strconv.Atoi(strings.TrimSpace(value)); err != nil {
					return nil, err
				}
			}
		}
	}
	return out, nil
}

// spread sees to it that each of two pilots has proxies to count.
func (b *bench) spread() {
	b.Helper()
	b.Eventually("each pilot has proxies", func() error {
		all, err := b.pilots()
		if err != nil {
			return err
		}
		if len(all) != 2 {
			return fmt.Errorf("%d pilots", len(all))
		}
		for _, n := range all {
			if n == 0 {
				b.Must("", "-n", "shop", "rollout", "restart", "deployment/frontend")
				b.Must("", "-n", "shop", "rollout", "status", "deployment/frontend", "--timeout=90s")
				b.only("app=frontend")
				return fmt.Errorf("%v", all)
			}
		}
		return nil
	})
}

// only waits until one pod of namespace shop has these labels: one that ends has
// a proxy, which counts, until it is gone.
func (b *bench) only(labels string) {
	b.Helper()
	b.Eventually("one pod "+labels, func() error {
		list, err := b.API.CoreV1().Pods("shop").List(b.Context(), metav1.ListOptions{LabelSelector: labels})
		if err == nil && len(list.Items) != 1 {
			err = fmt.Errorf("%d pods", len(list.Items))
		}
		return err
	})
}

// countedOverReplicas: the status tells of the proxies of both pilots, and weft
// wait and kubectl wait take its word.
func (b *bench) countedOverReplicas() {
	b.spread()
	b.Must(subsets, "apply", "-f", "-")
	b.Must(route("v1"), "apply", "-f", "-")
	out := b.do("wait", "--for=programmed", "virtualservice/reviews", "-n", "shop", "--timeout", "60s")
	if !strings.Contains(out, "virtualservice/reviews programmed: live on 3 of 3 proxies") {
		b.Errorf("weft wait says %q", out)
	}
	b.Must("", "-n", "shop", "wait", "--for=condition=Programmed", "virtualservice/reviews", "destinationrule/reviews", "--timeout=60s")
	b.stands("virtualservice/reviews", "Accepted", "True", "Accepted", "the object is in force")
	b.stands("virtualservice/reviews", "Programmed", "True", "Live", "live on 3 of 3 proxies")
	if err := b.all("v1"); err != nil {
		b.Error(err) // at once: the status said so
	}
	// The next generation has a status of its own.
	b.Must(route("v2"), "apply", "-f", "-")
	b.do("wait", "vs/reviews", "-n", "shop")
	if err := b.all("v2"); err != nil {
		b.Error(err)
	}
	if all, err := b.conditions("virtualservice/reviews"); err != nil || all["Programmed"].ObservedGeneration != 2 {
		b.Errorf("%+v, %v", all, err)
	}
	b.Must(route("v1"), "apply", "-f", "-")
	b.do("wait", "vs/reviews", "-n", "shop")
}

// waitsInVain: at the end of its time weft wait says what stands in the way.
func (b *bench) waitsInVain() {
	b.soonSays("wait virtualservice/none -n shop --timeout 4s", 1, "virtualservice/none in namespace shop is not programmed after 4s", "not found")
	b.says(b.Weft("", "wait", "virtualservice"), 2, `"virtualservice" is not KIND/NAME`)
	b.says(b.Weft("", "wait", "deployment/reviews-v1", "-n", "shop"), 2, `there is no kind "deployment" of Istio's`)
	b.says(b.Weft("", "wait", "vs/reviews", "--for=ready"), 2, "it is programmed or accepted")
}

// withoutWebhook: what nobody refuses is stored, its status says what is wrong,
// and the mesh does what it did.
func (b *bench) withoutWebhook() {
	b.Must("", "delete", "validatingwebhookconfiguration", "weft-validator")
	b.soonSays("check", 0, "warn  validation: there is no ValidatingWebhookConfiguration", "weft install makes it")
	b.Must(mistaken, "apply", "-f", "-")
	b.Must(unenforced, "apply", "-f", "-")
	b.stands("virtualservice/reviews", "Accepted", "False", "Invalid", "IST0106", "spec.http[0].match[0].uri.regex")
	b.stands("virtualservice/reviews", "Programmed", "False", "Invalid", "its last good form")
	b.stands("authorizationpolicy/nobody", "Accepted", "False", "Invalid", "WEFT0103")
	b.stands("requestauthentication/tokens", "Accepted", "False", "Invalid", "WEFT0190")
	if err := b.all("v1"); err != nil {
		b.Errorf("the last good route: %v", err)
	}
	b.soonSays("wait --for=accepted vs/reviews -n shop --timeout 4s", 1, "is not accepted after 4s", "spec.http[0].match[0].uri.regex")
	b.says(b.Weft("", "analyze", "-n", "shop"), 1, "VirtualService shop/reviews", "spec.http[0].match[0].uri.regex", "AuthorizationPolicy shop/nobody")
	b.do("install", "-y")
	b.Eventually("the webhook refuses again", func() error {
		if _, err := b.Kubectl(strings.ReplaceAll(mistaken, "/(a", "/(b"), "apply", "-f", "-"); err == nil {
			return errors.New("a mistake was stored")
		}
		return nil
	})
	// Who labels an object is not held up by a mistake that was stored before.
	b.Must("", "-n", "shop", "label", "virtualservice/reviews", "team=shop")
	b.Must("", "-n", "shop", "delete", "authorizationpolicy/nobody", "requestauthentication/tokens")
	b.Must(route("v2"), "apply", "-f", "-")
	b.do("wait", "vs/reviews", "-n", "shop")
	if err := b.all("v2"); err != nil {
		b.Error(err)
	}
	b.soonSays("check", 0, "ok    validation:")
}

// A client certificate that no proxy has: the pilot cannot know, Envoy refuses.
const lacking = `{apiVersion: networking.istio.io/v1, kind: DestinationRule, metadata: {name: reviews, namespace: shop},
 spec: {host: reviews, subsets: [{name: v1, labels: {version: v1}}, {name: v2, labels: {version: v2}}],
  trafficPolicy: {tls: {mode: MUTUAL, clientCertificate: /etc/none/cert.pem, privateKey: /etc/none/key.pem, caCertificates: /etc/none/ca.pem}}}}`

// refusedByProxies: what Envoy refuses is told, and the last good stays.
func (b *bench) refusedByProxies() {
	b.Must(lacking, "apply", "-f", "-")
	b.stands("destinationrule/reviews", "Accepted", "True", "Accepted")
	b.stands("destinationrule/reviews", "Programmed", "False", "Refused", "live on 0 of 3 proxies", "refused outbound|80|", "/etc/none/")
	if err := b.all("v2"); err != nil {
		b.Errorf("the last good cluster: %v", err)
	}
	b.says(b.Weft("", "check"), 1, "FAIL  DestinationRule shop/reviews: 3 proxies", "refuse outbound|80|", "/etc/none/", "kubectl get destinationrule -n shop reviews")
	b.soonSays("wait destinationrule/reviews -n shop --timeout 4s", 1, "is not programmed after 4s", "refused outbound|80|", "/etc/none/")
	if _, err := b.Kubectl("", "-n", "shop", "wait", "--for=condition=Programmed", "destinationrule/reviews", "--timeout=1s"); err == nil {
		b.Error("kubectl wait is content with what proxies refuse")
	}
	b.Must(subsets, "apply", "-f", "-")
	b.do("wait", "destinationrule/reviews", "-n", "shop", "--timeout", "60s")
	b.soonSays("check", 0, "ok    proxies: 5 connected, and in sync")
}

// leader is the pilot that writes statuses.
func (b *bench) leader() (string, error) {
	l, err := b.API.CoordinationV1().Leases("weft-system").Get(b.Context(), "weft-pilot-leader", metav1.GetOptions{})
	if err != nil || l.Spec.HolderIdentity == nil {
		return "", errors.Join(err, errors.New("nobody leads"))
	}
	return *l.Spec.HolderIdentity, nil
}

// leaderKilled: another pilot writes statuses, of all proxies.
func (b *bench) leaderKilled() {
	was, err := b.leader()
	if err != nil {
		b.Fatal(err)
	}
	b.Must("", "-n", "weft-system", "delete", "pod", was, "--force", "--grace-period=0")
	b.Must(route("v1"), "apply", "-f", "-")
	b.stands("virtualservice/reviews", "Programmed", "True", "Live", "live on 3 of 3 proxies")
	if now, err := b.leader(); err != nil || now == was {
		b.Errorf("%s leads, as before; %v", now, err)
	}
	if err := b.all("v1"); err != nil {
		b.Error(err)
	}
}
