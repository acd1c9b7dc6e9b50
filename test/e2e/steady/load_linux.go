package steady

import (
	"encoding/json"
	"fmt"
	"net/url"
	"os/exec"
	"slices"
	"time"
)

// firstPort is where the first load tells what came of it, in its own network.
const firstPort = 7171

// Load is clients that ask without pause.
type Load struct {
	name, at string
	ask      func(b *Bench, url string) (string, error)
}

// FromLAN starts clients outside of the cluster; they end with the test.
func (b *Bench) FromLAN(targets ...Target) *Load {
	b.Helper()
	at := b.loadAddress()
	cmd := exec.CommandContext(b.Context(), b.App, "load", at, config(b, targets))
	if err := b.Cluster.Inside("lan", cmd); err != nil {
		b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait() // it was killed
	})
	return &Load{name: "LAN", at: at, ask: func(b *Bench, url string) (string, error) {
		return b.Cluster.Client(b.Context(), b.App, "ask", url)
	}}
}

// InPod starts clients in a pod with a sidecar, of that name in namespace shop,
// on node1.
func (b *Bench) InPod(name string, targets ...Target) *Load {
	b.Helper()
	at := b.loadAddress()
	pod := fmt.Sprintf(`{apiVersion: v1, kind: Pod, metadata: {name: %s, namespace: shop}, spec: {nodeName: node1, containers: [
 {name: app, image: "localhost/weft-test/app:1", args: [load, %q, %q]}]}}`, name, at, config(b, targets))
	b.Must(pod, "apply", "-f", "-")
	b.Must("", "-n", "shop", "wait", "--for=condition=Ready", "pod/"+name, "--timeout=90s")
	return &Load{name: name, at: at, ask: func(b *Bench, url string) (string, error) {
		return b.Kubectl("", "-n", "shop", "exec", name, "-c", "app", "--", "/app", "ask", url)
	}}
}

func (b *Bench) loadAddress() string {
	return fmt.Sprintf("127.0.0.1:%d", firstPort+b.loads.Add(1))
}

func config(b *Bench, targets []Target) string {
	text, err := json.Marshal(targets)
	if err != nil {
		b.Fatal(err)
	}
	return string(text)
}

// Since gives what came of the requests that began after from, by target.
func (b *Bench) Since(l *Load, from time.Time) map[string]Report {
	b.Helper()
	out, err := b.since(l, from)
	if err != nil {
		b.Fatalf("load of %s: %v", l.name, err)
	}
	return out
}

func (b *Bench) since(l *Load, from time.Time) (out map[string]Report, err error) {
	text, err := l.ask(b, "http://"+l.at+"/?from="+url.QueryEscape(from.UTC().Format(time.RFC3339Nano)))
	if err != nil {
		return nil, err
	}
	return out, json.Unmarshal([]byte(text), &out)
}

// Flows waits until the targets of a load, all or those of names, are answered
// well all the time.
func (b *Bench) Flows(l *Load, names ...string) {
	b.Helper()
	b.Eventually("the load of "+l.name+" is answered", func() error {
		from := time.Now().Add(-4 * time.Second) // the slowest client asks every three
		all, err := b.since(l, from)
		if err != nil {
			return err
		}
		for name, r := range all {
			if len(names) > 0 && !slices.Contains(names, name) {
				continue
			}
			if r.Failed > 0 || r.Total == 0 {
				return fmt.Errorf("%s: %d of %d requests failed: %v", name, r.Failed, r.Total, r.Errors)
			}
		}
		return nil
	})
}

// Clean holds a load to not a single failure since from, and says what it was.
func (b *Bench) Clean(l *Load, from time.Time, during string) {
	b.Helper()
	until := time.Now()
	b.Eventually("the requests of "+l.name+" end", func() error {
		all, err := b.since(l, from)
		for name, r := range all {
			if !r.Waiting.IsZero() && r.Waiting.Before(until) {
				return fmt.Errorf("%s: one waits since %v", name, r.Waiting)
			}
		}
		return err
	})
	for name, r := range b.Since(l, from) {
		b.Logf("%s: %s %s: %d requests, %d failed, slowest %v", during, l.name, name, r.Total, r.Failed, r.Slowest.Round(time.Millisecond))
		if r.Failed > 0 || r.Total == 0 {
			b.Errorf("%s: %s %s: %d of %d requests failed:\n%v", during, l.name, name, r.Failed, r.Total, r.Errors)
		}
	}
}
