package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/install"
	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/pilot"
)

const (
	// settleTime is how long proxies may take to acknowledge what is on its way to
	// them just now.
	settleTime = 5 * time.Second
	// startTime is how long a proxy may run before it is connected.
	startTime = time.Minute
	// namedAtMost bounds the proxies and objects that a finding names.
	namedAtMost = 3
)

// checkProxies says whether every proxy of the cluster is connected and holds
// what it was sent. Where no pilot runs that is another check's to say.
func (k *kube) checkProxies(ctx context.Context) []install.Finding {
	found, err := k.proxies(ctx)
	if err != nil && !errors.Is(err, errNoPilot) {
		return []install.Finding{{
			Subject: "proxies", Outcome: install.Warning, Text: "whether they are in sync is not known: " + err.Error(),
			Cure: "weft needs the right to list pods and to port-forward to those of weft-pilot",
		}}
	}
	return found
}

func (k *kube) proxies(ctx context.Context) ([]install.Finding, error) {
	p, err := k.pods()
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(settleTime / 10)
	defer tick.Stop()
	late := time.After(settleTime)
	for {
		states, err := p.sync(ctx, k.namespace)
		if err != nil {
			return nil, err
		}
		s := standOf(states)
		if len(s.behind) > 0 {
			select {
			case <-ctx.Done():
				return nil, ctx.Err()
			case <-tick.C:
				continue
			case <-late:
			}
		}
		all, err := p.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
		if apierrors.IsForbidden(err) { // one may have rights in the mesh's namespace alone
			all, err = p.client.CoreV1().Pods(k.namespace).List(ctx, metav1.ListOptions{})
		}
		if err != nil {
			return nil, err
		}
		s.note(all.Items, k.namespace, time.Now())
		return s.findings(), nil
	}
}

// sync reads what each pilot knows of its proxies.
func (p *pods) sync(ctx context.Context, namespace string) (out []pilot.Sync, err error) {
	all, err := p.pilots(ctx, namespace)
	if err != nil {
		return nil, err
	}
	var failed error
	for _, one := range all {
		text, err := p.get(ctx, page{one.Namespace, one.Name, pilotPort, "/debug/sync", ""})
		var s pilot.Sync
		if err == nil {
			err = json.Unmarshal(text, &s)
		}
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("pilot %s: %w", one.Name, err))
			continue
		}
		out = append(out, s)
	}
	return out, failed
}

// stand is how the proxies of all pilots stand.
type stand struct {
	connected map[string]bool // by POD.NAMESPACE
	behind    map[string]bool // proxies that have yet to acknowledge something
	lost      []string        // pods with a proxy that is not connected
	refusals  map[refusal]*refused
	notLive   map[string]bool // objects that not all proxies have
}

// refusal is why proxies refuse an object.
type refusal struct{ object, message string }

// refused are who refuses, and which of the object's resources.
type refused struct{ proxies, resources []string }

// standOf joins what each pilot says. A proxy is what asks for clusters: an
// agent's own stream, for DNS, is none.
func standOf(states []pilot.Sync) *stand {
	s := &stand{connected: map[string]bool{}, behind: map[string]bool{}, refusals: map[refusal]*refused{}, notLive: map[string]bool{}}
	for _, state := range states {
		for _, st := range state.Streams {
			name := st.Proxy.Name + "." + st.Proxy.Namespace
			for _, t := range st.Types {
				s.connected[name] = s.connected[name] || strings.HasSuffix(t.Type, ".Cluster")
				for _, held := range t.Refused {
					s.refuses(name, held.Name, refusal{culprit(held.Objects), held.Message})
				}
				if !t.Synced && len(t.Refused) == 0 {
					s.behind[name] = true
				}
			}
		}
		for _, o := range state.Objects {
			if o.Live < o.Proxies && isIstio(o.Object) {
				s.notLive[spoken(o.Object)] = true
			}
		}
	}
	maps.DeleteFunc(s.connected, func(_ string, is bool) bool { return !is })
	return s
}

func (s *stand) refuses(proxy, resource string, why refusal) {
	r := s.refusals[why]
	if r == nil {
		r = &refused{}
		s.refusals[why] = r
	}
	r.proxies = append(r.proxies, proxy)
	if !slices.Contains(r.resources, resource) {
		r.resources = append(r.resources, resource)
	}
}

// culprit is the object that a user would look at first: of those that a
// resource is made of, one of Istio's before a Service.
func culprit(objects []string) string {
	for _, o := range objects {
		if isIstio(o) {
			return o
		}
	}
	if len(objects) > 0 {
		return objects[0]
	}
	return ""
}

func isIstio(object string) bool {
	kind, _, _ := strings.Cut(object, "/")
	return strings.HasSuffix(config.Kind(kind).Group(), ".istio.io")
}

// spoken turns Kind/namespace/name into Kind namespace/name.
func spoken(object string) string { return strings.Replace(object, "/", " ", 1) }

// note finds the proxies of this Weft that no pilot knows.
func (s *stand) note(all []corev1.Pod, namespace string, now time.Time) {
	for i := range all {
		p := &all[i]
		name := p.Name + "." + p.Namespace
		if s.connected[name] || p.DeletionTimestamp != nil || p.Status.Phase != corev1.PodRunning || !ledBy(p, namespace) {
			continue
		}
		if p.Status.StartTime != nil && now.Sub(p.Status.StartTime.Time) > startTime {
			s.lost = append(s.lost, name)
		}
	}
}

// ledBy reports whether a pod has a proxy that the pilots of a namespace lead.
func ledBy(p *corev1.Pod, namespace string) bool {
	for _, c := range slices.Concat(p.Spec.InitContainers, p.Spec.Containers) {
		if c.Name == "istio-proxy" {
			return slices.ContainsFunc(c.Args, func(arg string) bool {
				return strings.HasPrefix(arg, "--pilot=") && strings.HasSuffix(arg, "."+namespace+".svc:15012")
			})
		}
	}
	return false
}

// findings are one that all is well, or one for each thing that is not.
func (s *stand) findings() (out []install.Finding) {
	for r, of := range s.refusals {
		who := slices.Compact(slices.Sorted(slices.Values(of.proxies)))
		subject, cure := "proxies", "weft proxy-status and the log of weft-pilot say more"
		if kind, name, ok := strings.Cut(r.object, "/"); ok {
			namespace, short, _ := strings.Cut(name, "/")
			subject = spoken(r.object)
			cure = fmt.Sprintf("correct it: what a proxy had of it before stays until then, and a new one has nothing; its status says on how many it is live: kubectl get %s -n %s %s -o yaml",
				strings.ToLower(kind), namespace, short)
		}
		out = append(out, install.Finding{
			Subject: subject, Outcome: install.Failed, Cure: cure,
			Text: fmt.Sprintf("%s %s %s: %s", proxiesOf(who), verb(who, "refuses", "refuse"), list(slices.Sorted(slices.Values(of.resources))), r.message),
		})
	}
	slices.SortFunc(out, func(a, b install.Finding) int {
		return cmp.Or(strings.Compare(a.Subject, b.Subject), strings.Compare(a.Text, b.Text))
	})
	if len(s.lost) > 0 {
		out = append(out, install.Finding{
			Subject: "proxies", Outcome: install.Failed, Text: fmt.Sprintf("%s %s not connected to any pilot, and get no changes", proxiesOf(s.lost), verb(s.lost, "is", "are")),
			Cure: "kubectl logs POD -c istio-proxy says why; a NetworkPolicy must let pods reach weft-pilot and weft-ca at port 15012",
		})
	}
	if len(s.behind) > 0 {
		who := slices.Sorted(maps.Keys(s.behind))
		text := fmt.Sprintf("%s %s not acknowledged what was sent", proxiesOf(who), verb(who, "has", "have"))
		if late := slices.Sorted(maps.Keys(s.notLive)); len(late) > 0 {
			text += "; not live everywhere: " + list(late)
		}
		out = append(out, install.Finding{Subject: "proxies", Outcome: install.Warning, Text: text, Cure: "weft proxy-status shows them; kubectl logs POD -c istio-proxy says what they do"})
	}
	if len(out) == 0 {
		out = append(out, install.Finding{Subject: "proxies", Outcome: install.OK, Text: fmt.Sprintf("%d connected, and in sync", len(s.connected))})
	}
	return out
}

func verb(who []string, one, many string) string {
	if len(who) == 1 {
		return one
	}
	return many
}

// proxiesOf names proxies, but not all of many.
func proxiesOf(who []string) string {
	who = slices.Compact(slices.Sorted(slices.Values(who)))
	if len(who) == 1 {
		return "proxy " + who[0]
	}
	return fmt.Sprintf("%d proxies (%s)", len(who), list(who))
}

func list(all []string) string {
	if len(all) > namedAtMost {
		return fmt.Sprintf("%s and %d more", strings.Join(all[:namedAtMost], ", "), len(all)-namedAtMost)
	}
	return strings.Join(all, ", ")
}
