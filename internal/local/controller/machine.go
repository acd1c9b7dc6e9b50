package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/config/machine"
	"github.com/weftmesh/weft/internal/local/pod"
)

// A machine is a place for a process that weft up does not start: network, agent
// and Envoy of a pod, a token of its own, and no app. To the pilot it is a
// WorkloadEntry, made of a WorkloadGroup of the folder (decision 022).

// MachineCall is the body of POST /v1/machines.
type MachineCall struct {
	Namespace string `json:"namespace"`
	Group     string `json:"group"`
	Entry     string `json:"entry,omitempty"` // the WorkloadEntry's name; "": GROUP-ADDRESS
}

// Machine is the answer, once its proxy serves. The machine is taken down when
// the connection of the call is closed.
type Machine struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	IP        string `json:"ip"`
}

// joinTimeout is how long a machine's proxy may take to serve.
const joinTimeout = 30 * time.Second

// refused is an error of the caller's, with its HTTP status.
type refused struct {
	status int
	error
}

func (c *Controller) serveMachine(w http.ResponseWriter, req *http.Request) {
	var call MachineCall
	if err := json.NewDecoder(io.LimitReader(req.Body, 64<<10)).Decode(&call); err != nil {
		http.Error(w, "machine: "+err.Error(), http.StatusBadRequest)
		return
	}
	r, err := c.join(req.Context(), call)
	if err == nil {
		defer c.stop(context.Background(), r)
		err = r.proxyServes(req.Context())
	}
	if err != nil {
		status := http.StatusInternalServerError
		var bad refused
		if errors.As(err, &bad) {
			status = bad.status
		}
		http.Error(w, err.Error(), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(Machine{Namespace: r.spec.Namespace, Name: r.spec.Name, IP: r.spec.Status.PodIP}) // a client that is gone ends the machine
	_ = http.NewResponseController(w).Flush()
	select {
	case <-req.Context().Done():
	case <-r.running().Done():
	}
}

// join starts a machine. The loop does it, to which the folder's objects belong.
func (c *Controller) join(ctx context.Context, call MachineCall) (r *runner, err error) {
	done := make(chan struct{})
	select {
	case c.calls <- func(ctx context.Context) {
		defer close(done)
		r, err = c.startMachine(ctx, call)
	}:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	<-done
	c.wake()
	return r, err
}

func (c *Controller) startMachine(ctx context.Context, call MachineCall) (*runner, error) {
	o, ok := c.set.Of(config.WorkloadGroup).Get(call.Namespace + "/" + call.Group)
	if !ok {
		return nil, refused{http.StatusNotFound, fmt.Errorf("there is no WorkloadGroup %s in namespace %s of %s", call.Group, call.Namespace, c.options.Dir)}
	}
	group, probe, err := groupOf(o)
	if err != nil {
		return nil, err
	}
	addrs, err := c.mesh.NewAddresses()
	if err != nil {
		return nil, err
	}
	r, err := c.machineRunner(group, call, addrs)
	var spec pod.Spec
	if err == nil {
		spec, err = c.machineSpec(r, probe)
	}
	if err != nil {
		c.mesh.FreeAddresses(addrs)
		return nil, err
	}
	return r, c.run(ctx, r, spec)
}

// machineRunner makes the entry of a machine, and what a pod of it would be.
func (c *Controller) machineRunner(group *unstructured.Unstructured, call MachineCall, addrs []netip.Addr) (*runner, error) {
	name := call.Entry
	if name == "" {
		name = machine.EntryName(call.Group, addrs[0])
	}
	key := call.Namespace + "/" + name
	if _, taken := c.set.Of(config.WorkloadEntry).Get(key); taken || c.runner(key) != nil {
		return nil, refused{http.StatusConflict, fmt.Errorf("WorkloadEntry or pod %s is there already: choose another name with --entry", key)}
	}
	entry, err := machine.Entry(group, name, addrs[0])
	if err != nil {
		return nil, refused{http.StatusBadRequest, err}
	}
	w := &workload{namespace: call.Namespace, name: call.Group, role: roleMachine, hash: "machine"}
	w.template.Labels, w.template.Annotations = entry.GetLabels(), machineAnnotations(entry)
	w.template.Spec.ServiceAccountName = machine.Account(entry)
	p := w.pod(addrs)
	p.Name = name
	entry.SetUID(p.UID)
	r := w.newRunner(c, p)
	r.entry = entry
	return r, nil
}

// machineAnnotations are those of a WorkloadGroup that the agent beside its process
// is told of.
func machineAnnotations(entry *unstructured.Unstructured) map[string]string {
	if text := entry.GetAnnotations()[config.ProxyAnnotation]; text != "" {
		return map[string]string{config.ProxyAnnotation: text}
	}
	return nil
}

// machineSpec is the machine's proxy; probe, if there is one, will say whether the
// process beside it is well.
func (c *Controller) machineSpec(r *runner, probe *corev1.Probe) (pod.Spec, error) {
	token, err := c.signer.token(r.spec)
	if err != nil {
		return pod.Spec{}, err
	}
	if probe != nil {
		r.spec.Spec.Containers = []corev1.Container{{Name: joinedProcess, ReadinessProbe: probe}}
	}
	return podSpec(r.spec, roleMachine, token, c.surroundings())
}

// joinedProcess names the process of a machine, which its owner starts.
const joinedProcess = "process"

// groupOf gives a WorkloadGroup as an API server would, and its probe, whose form
// is Kubernetes'; nil: it has none.
func groupOf(o *config.Object) (*unstructured.Unstructured, *corev1.Probe, error) {
	message, ok := o.Spec.(proto.Message)
	if !ok {
		return nil, nil, fmt.Errorf("WorkloadGroup %s: its spec is a %T", o.Key(), o.Spec)
	}
	text, err := protojson.Marshal(message)
	if err != nil {
		return nil, nil, fmt.Errorf("WorkloadGroup %s: %w", o.Key(), err)
	}
	spec, probed := map[string]any{}, struct {
		Probe *corev1.Probe `json:"probe"`
	}{}
	if err := json.Unmarshal(text, &spec); err != nil {
		return nil, nil, fmt.Errorf("WorkloadGroup %s: %w", o.Key(), err)
	}
	if err := json.Unmarshal(text, &probed); err != nil {
		return nil, nil, refused{http.StatusBadRequest, fmt.Errorf("WorkloadGroup %s: spec.probe: %w", o.Key(), err)}
	}
	out := &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
	out.SetNamespace(o.Namespace)
	out.SetName(o.Name)
	return out, probed.Probe, nil
}

// grouped reports whether the folder still has the group of a machine.
func (c *Controller) grouped(r *runner) bool {
	_, ok := c.set.Of(config.WorkloadGroup).Get(r.workload())
	return ok
}

// proxyServes waits until the proxy does, or never will.
func (r *runner) proxyServes(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		r.mu.Lock()
		serves, reason, gone := r.ready[proxyProcess], r.reason, r.gone
		r.mu.Unlock()
		switch {
		case gone:
			return fmt.Errorf("machine %s ended: %s", r.spec.Name, reason)
		case serves:
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the proxy of machine %s does not serve: %s", r.spec.Name, reason)
		}
	}
}

// observed is a machine's WorkloadEntry, with what its probe says. Source:
// Istio's condition Healthy of WorkloadEntries.
func (f podFacts) observed() *unstructured.Unstructured {
	out := f.entry.DeepCopy()
	health := "False"
	if f.ready && !f.terminating {
		health = "True"
	}
	out.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "Healthy", "status": health}}}
	return out
}
