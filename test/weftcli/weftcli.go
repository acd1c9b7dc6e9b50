// Package weftcli drives a local mesh as a user does: by the weft command.
//
// Input: the path of the command and a folder of YAML. Output: what the command
// printed, decoded. It may import the standard library alone: what it cannot
// see by the command, no user can.
package weftcli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"
)

// Mesh is a local mesh. Binary, Dir and Name must be set.
type Mesh struct {
	// Binary is the path of the weft command.
	Binary string
	// Dir is the folder of YAML.
	Dir string
	// Name tells this mesh from others on the machine.
	Name string
	// Progress gets what the command says while the mesh starts and stops; nil
	// drops it.
	Progress io.Writer
}

// Pod is a pod as `weft ps -o json` shows it.
type Pod struct {
	Name      string `json:"name"`
	Namespace string `json:"namespace"`
	// Workload is the Deployment it belongs to.
	Workload string `json:"workload"`
	// IP is the pod's address in the mesh.
	IP    string `json:"ip"`
	Ready bool   `json:"ready"`
	// Synced says whether the proxy has all that the pilot wants it to have; it is
	// empty for a pod without a proxy.
	Synced string `json:"synced"`
	// Ejected are the hosts that this pod's proxy has ejected.
	Ejected []Host `json:"ejected"`
}

// Host is an endpoint of a cluster.
type Host struct {
	Cluster string `json:"cluster"`
	// Address is HOST:PORT.
	Address string `json:"address"`
	// Pod is the name of the pod at the address; empty if there is none.
	Pod string `json:"pod"`
}

// Sees tells whether the pod's proxy has ejected the other pod.
func (p Pod) Sees(other Pod) bool {
	return slices.ContainsFunc(p.Ejected, func(host Host) bool { return host.Pod == other.Name })
}

// Up starts the mesh and returns when every pod is ready. Each of publish is
// GATEWAYPORT=HOST:PORT.
func (m *Mesh) Up(ctx context.Context, publish ...string) error {
	args := make([]string, 0, 5+len(publish))
	args = append(args, "up", m.Dir, "--detach", "--name", m.Name)
	for _, p := range publish {
		args = append(args, "--publish="+p)
	}
	return m.progress(ctx, args)
}

// Down stops the mesh, and returns when nothing of it is left.
func (m *Mesh) Down(ctx context.Context) error {
	return m.progress(ctx, []string{"down", "--name", m.Name})
}

// Pods returns the pods as `weft ps` shows them.
func (m *Mesh) Pods(ctx context.Context) ([]Pod, error) {
	out, err := m.run(ctx, "ps", "--name", m.Name, "-o", "json")
	if err != nil {
		return nil, err
	}
	var status struct {
		Pods []Pod `json:"pods"`
	}
	if err := json.Unmarshal(out, &status); err != nil {
		return nil, fmt.Errorf("read what weft ps -o json printed: %w: %.200s", err, out)
	}
	return status.Pods, nil
}

// PodsOf returns the pods of a Deployment; none is an error.
func (m *Mesh) PodsOf(ctx context.Context, deployment string) ([]Pod, error) {
	pods, err := m.Pods(ctx)
	if err != nil {
		return nil, err
	}
	pods = slices.DeleteFunc(pods, func(p Pod) bool { return p.Workload != deployment })
	if len(pods) == 0 {
		return nil, fmt.Errorf("weft ps shows no pod of %s", deployment)
	}
	return pods, nil
}

// Exec runs a command in a pod and returns its standard output.
func (m *Mesh) Exec(ctx context.Context, pod string, command ...string) ([]byte, error) {
	return m.run(ctx, append([]string{"exec", "--name", m.Name, pod, "--"}, command...)...)
}

// ExecJSON runs a command in a pod and decodes its standard output into out.
func (m *Mesh) ExecJSON(ctx context.Context, out any, pod string, command ...string) error {
	printed, err := m.Exec(ctx, pod, command...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(printed, out); err != nil {
		return fmt.Errorf("read what %v in %s printed: %w: %.200s", command, pod, err, printed)
	}
	return nil
}

// Await asks for the pods until want is content with them, or ctx ends; then
// its error says what was last seen.
func (m *Mesh) Await(ctx context.Context, what string, want func([]Pod) bool) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		pods, err := m.Pods(ctx)
		if err == nil && want(pods) {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("waited in vain until %s; weft ps says %+v", what, pods), err)
		}
	}
}

// progress runs weft with its output going to Progress.
func (m *Mesh) progress(ctx context.Context, args []string) error {
	cmd := exec.CommandContext(ctx, m.Binary, args...)
	stopKindly(cmd)
	var last tail
	out := io.Writer(&last)
	if m.Progress != nil {
		out = io.MultiWriter(m.Progress, &last)
	}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("weft %s: %w: %s", args[0], err, last.text())
	}
	return nil
}

// run runs weft and returns its standard output.
func (m *Mesh) run(ctx context.Context, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, m.Binary, args...)
	stopKindly(cmd)
	var stdout bytes.Buffer
	var stderr tail
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		return stdout.Bytes(), fmt.Errorf("weft %s: %w: %s", strings.Join(args, " "), err, stderr.text())
	}
	return stdout.Bytes(), nil
}

// stopKindly lets a command whose context has ended clean up after itself.
func stopKindly(cmd *exec.Cmd) {
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
}

// tail keeps the end of what is written to it, for errors.
type tail struct{ kept []byte }

// tailSize is in bytes.
const tailSize = 2000

// Write implements io.Writer; it never fails.
func (t *tail) Write(p []byte) (int, error) {
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - tailSize; over > 0 {
		t.kept = slices.Delete(t.kept, 0, over)
	}
	return len(p), nil
}

func (t *tail) text() string { return strings.TrimSpace(string(t.kept)) }
