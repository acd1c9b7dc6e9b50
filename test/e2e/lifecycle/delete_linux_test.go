package lifecycle

import (
	"bufio"
	"encoding/json"
	"os/exec"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// leaver has time to make all its calls on a machine that stands still for a while.
const leaver = `{apiVersion: v1, kind: Pod, metadata: {name: leaver, namespace: shop}, spec: {terminationGracePeriodSeconds: 90, containers: [
 {name: app, image: "localhost/weft-test/app:1", args: [leave, "http://ledger"]}]}}`

const ledger = `
apiVersion: v1
kind: Service
metadata: {name: ledger, namespace: shop}
spec: {selector: {app: ledger}, ports: [{name: http, port: 80, targetPort: 8080}]}
---
apiVersion: v1
kind: Pod
metadata: {name: ledger, namespace: shop, labels: {app: ledger}}
spec: {containers: [{name: app, image: "localhost/weft-test/app:1", args: [serve]}]}
`

// deletedPod: callers leave a pod before it takes no more connections, and its
// app can call others until it has ended.
func (b *bench) deletedPod() {
	b.Must(leaver, "apply", "-f", "-")
	b.Must(ledger, "apply", "-f", "-")
	b.Must("", "-n", "shop", "wait", "--for=condition=Ready", "pod/leaver", "pod/ledger", "--timeout=90s")
	pods, err := b.API.CoreV1().Pods("shop").List(b.Context(), metav1.ListOptions{LabelSelector: "app=echo"})
	if err != nil || len(pods.Items) == 0 {
		b.Fatalf("no pod of echo: %v", err)
	}
	pod := pods.Items[0]
	address := pod.Status.PodIP + ":8080"

	inPod := exec.CommandContext(b.Context(), b.KubectlPath, "--kubeconfig", b.Kubeconfig(), "-n", "shop", "exec", "caller", "-c", "app", "--", "/app", "withdrawn", address)
	withdrawn := b.moment("the endpoint is withdrawn", inPod)
	onLAN := exec.CommandContext(b.Context(), b.App, "refused", "http://"+address+"/")
	if err := b.Inside("lan", onLAN); err != nil {
		b.Fatal(err)
	}
	refused := b.moment("the pod takes no connection", onLAN)

	began := time.Now()
	b.Must("", "-n", "shop", "delete", "pod", pod.Name, "leaver")
	gone, out, in := time.Since(began), withdrawn(), refused()
	b.Logf("after its deletion a pod's endpoint was withdrawn in %v, its listeners closed in %v, both pods were gone in %v", out.Sub(began), in.Sub(began), gone)
	if !out.Before(in) {
		b.Errorf("the listeners closed %v before the endpoint was withdrawn", out.Sub(in))
	}
	b.egressLasted()
}

// moment starts a watcher that says "seen" and then when something happened,
// and returns when it has said the first. The function that it gives waits for
// the other.
func (b *bench) moment(what string, cmd *exec.Cmd) func() time.Time {
	b.Helper()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = cmd.Process.Kill() })
	lines := bufio.NewScanner(out)
	if !lines.Scan() || lines.Text() != "seen" {
		b.Fatalf("%s: %q: %v", what, lines.Text(), cmd.Wait())
	}
	return func() time.Time {
		b.Helper()
		if !lines.Scan() {
			b.Fatalf("%s: nothing was seen: %v", what, cmd.Wait())
		}
		stamp, _, _ := strings.Cut(lines.Text(), " ")
		at, err := time.Parse(time.RFC3339Nano, stamp)
		if err != nil {
			b.Fatalf("%s: %q: %v", what, lines.Text(), err)
		}
		return at
	}
}

// egressLasted: the app that left called all the time, and each call was heard.
func (b *bench) egressLasted() {
	b.Helper()
	text, err := b.Printed("-n", "shop", "ledger", "-c", "app", "--", "/app", "ask", "http://127.0.0.1:8080/said")
	var said map[string]int
	if err == nil {
		err = json.Unmarshal([]byte(text), &said)
	}
	if err != nil {
		b.Fatal(err)
	}
	if said["left-0"] != 1 || said["leaving"] < 30 {
		b.Errorf("the app that left was heard %v; want 30 calls, and a last word that says none failed", said)
	}
	b.Logf("after SIGTERM an app was heard %v", said)
}
