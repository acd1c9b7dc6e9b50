package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// pollEvery is how often a state in the cluster is asked for.
const pollEvery = 250 * time.Millisecond

// poll asks until done, or until ctx ends: then the error says what was not so.
func poll(ctx context.Context, ask func() (done bool, missing string, err error)) error {
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	missing := ""
	for {
		done, now, err := ask()
		if done && err == nil {
			return nil
		}
		if err == nil {
			missing = now
		} else if ctx.Err() == nil && !passing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return errors.New(missing)
			}
			return ctx.Err()
		case <-tick.C:
		}
	}
}

// establishWithin is how long the API server has to serve a new CRD.
const establishWithin = 60 * time.Second

// established waits until the API server serves the CRDs.
func (r *installing) established(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, establishWithin)
	defer cancel()
	return poll(ctx, func() (bool, string, error) {
		found, err := r.list(ctx, definitions, "", "")
		if err != nil {
			return false, "", err
		}
		for _, o := range r.manifest.CRDs {
			i := slices.IndexFunc(found, func(f unstructured.Unstructured) bool { return f.GetName() == o.GetName() })
			if i < 0 || condition(&found[i], "Established") != "True" {
				return false, fmt.Sprintf("%s is not served after %v", title(o), establishWithin), nil
			}
		}
		return true, "", nil
	})
}

// condition is the status of one of an object's conditions; "" if it has none
// such.
func condition(o *unstructured.Unstructured, name string) string {
	all, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, c := range all {
		if c, ok := c.(map[string]any); ok && c["type"] == name {
			status, _ := c["status"].(string)
			return status
		}
	}
	return ""
}

// WaitReady waits until every Deployment of the manifest has rolled out and the
// webhook can be called, at most o.Wait. It does not wait for the address of a
// LoadBalancer: where nothing gives one there never is any, and the mesh works.
// An error says which component is not ready, and why as far as its pods tell.
func (c *Cluster) WaitReady(ctx context.Context, m *Manifest, o Options) error {
	limited, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	began := time.Now()
	said := map[string]bool{}
	return poll(limited, func() (bool, string, error) {
		states, err := c.states(limited, m)
		if err != nil {
			return false, "", err
		}
		var missing []string
		for _, s := range states {
			switch {
			case !s.Ready:
				missing = append(missing, s.Name+": "+s.Why)
			case !said[s.Name]:
				said[s.Name] = true
				o.Say("%s is ready (%s) after %.1fs", s.Name, s.Why, time.Since(began).Seconds())
			}
		}
		return len(missing) == 0, "not ready after " + o.Wait.String() + ":\n  " + strings.Join(missing, "\n  ") + "\nweft check says more", nil
	})
}

// State of one component. Why is a count when it is ready, else the reason why
// it is not.
type State struct {
	Name  string
	Ready bool
	Why   string
	// Idle is a Deployment of which no replica is wanted: nothing to wait for,
	// and nobody there.
	Idle bool
	// Gateway carries traffic; it is no part of the control plane.
	Gateway bool
}

// states are those of the manifest's Deployments and of its webhook.
func (c *Cluster) states(ctx context.Context, m *Manifest) ([]State, error) {
	found, err := c.list(ctx, deployments, m.Namespace, partOf+"="+partOfWeft)
	if err != nil {
		return nil, err
	}
	all, err := c.list(ctx, pods, m.Namespace, partOf+"="+partOfWeft)
	if err != nil {
		return nil, err
	}
	var out []State
	for _, o := range m.Objects {
		switch o.GetKind() {
		case "Deployment":
			i := slices.IndexFunc(found, func(f unstructured.Unstructured) bool { return f.GetName() == o.GetName() })
			if i < 0 {
				out = append(out, State{Name: o.GetName(), Why: "the Deployment is gone"})
				continue
			}
			out = append(out, rollout(&found[i], all))
		case "MutatingWebhookConfiguration":
			s, err := c.webhookState(ctx, o)
			if err != nil {
				return nil, err
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// rollout is the state of a Deployment: every replica is of the newest
// template, and available.
func rollout(d *unstructured.Unstructured, all []unstructured.Unstructured) State {
	number := func(path ...string) int64 {
		n, _, _ := unstructured.NestedInt64(d.Object, path...)
		return n
	}
	want := number("spec", "replicas")
	updated, available, total := number("status", "updatedReplicas"), number("status", "availableReplicas"), number("status", "replicas")
	s := State{Name: d.GetName(), Why: fmt.Sprintf("%d/%d", min(updated, available), want), Idle: want == 0}
	s.Gateway = strings.HasSuffix(d.GetLabels()["app.kubernetes.io/component"], "-gateway")
	seen := number("status", "observedGeneration") >= d.GetGeneration()
	s.Ready = seen && updated >= want && available >= want && total <= updated
	if s.Ready {
		return s
	}
	s.Why += " pods ready"
	if why := podTrouble(d, all); why != "" {
		s.Why += "; " + why
	}
	return s
}

// podTrouble is what the first pod of a Deployment that is in trouble says.
func podTrouble(d *unstructured.Unstructured, all []unstructured.Unstructured) string {
	selector, _, _ := unstructured.NestedStringMap(d.Object, "spec", "selector", "matchLabels")
	for i := range all {
		if !matches(selector, all[i].GetLabels()) {
			continue
		}
		if why := trouble(&all[i]); why != "" {
			return "pod " + all[i].GetName() + ": " + why
		}
	}
	return ""
}

func matches(selector, labels map[string]string) bool {
	for k, v := range selector {
		if labels[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

// trouble is why a pod does not run: what its containers wait for or ended
// with, or why no node takes it; "" if it is well or only starting.
func trouble(p *unstructured.Unstructured) string {
	containers, _, _ := unstructured.NestedSlice(p.Object, "status", "containerStatuses")
	for _, c := range containers {
		c, _ := c.(map[string]any)
		for _, state := range []string{"waiting", "terminated"} {
			reason, _, _ := unstructured.NestedString(c, "state", state, "reason")
			message, _, _ := unstructured.NestedString(c, "state", state, "message")
			last, _, _ := unstructured.NestedString(c, "lastState", "terminated", "message")
			if reason != "" && reason != "ContainerCreating" && reason != "PodInitializing" {
				return strings.TrimSuffix(strings.Join([]string{reason, firstOf(last, message)}, ": "), ": ")
			}
		}
	}
	if conditions, _, _ := unstructured.NestedSlice(p.Object, "status", "conditions"); condition(p, "PodScheduled") == "False" {
		for _, c := range conditions {
			if c, _ := c.(map[string]any); c["type"] == "PodScheduled" {
				return fmt.Sprintf("no node takes it: %v", c["message"])
			}
		}
	}
	return ""
}

func firstOf(texts ...string) string {
	for _, t := range texts {
		if t != "" {
			return strings.TrimSpace(t)
		}
	}
	return ""
}

// webhookState says whether the API server can call the injector: without the
// roots, pods that ask for a sidecar are refused.
func (c *Cluster) webhookState(ctx context.Context, o *unstructured.Unstructured) (State, error) {
	s := State{Name: o.GetName()}
	found, err := c.get(ctx, o)
	if err != nil || found == nil {
		s.Why = "the webhook is gone"
		return s, err
	}
	hooks, _, _ := unstructured.NestedSlice(found.Object, "webhooks")
	for _, h := range hooks {
		h, _ := h.(map[string]any)
		if bundle, _, _ := unstructured.NestedString(h, "clientConfig", "caBundle"); bundle == "" {
			s.Why = "the injector has not put its CA's roots into it yet"
			return s, nil
		}
	}
	s.Ready, s.Why = true, fmt.Sprintf("%d rules", len(hooks))
	return s, nil
}
