package cluster_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/test/cluster"
)

func TestAPIServer(t *testing.T) {
	api := cluster.APIServer(t)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	manifests := `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: things.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {kind: Thing, listKind: ThingList, plural: things, singular: thing}
  versions: [{name: v1, served: true, storage: true, schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}}]
---
apiVersion: example.com/v1
kind: Thing
metadata: {name: a}
spec: {x: 1}
---
apiVersion: v1
kind: Service
metadata: {name: svc}
spec: {ports: [{port: 80}]}
`
	if err := api.Apply(ctx, manifests); err != nil {
		t.Fatal(err)
	}
	client, err := api.Clientset()
	if err != nil {
		t.Fatal(err)
	}
	svc, err := client.CoreV1().Services("default").Get(ctx, "svc", metav1.GetOptions{})
	if err != nil || !strings.HasPrefix(svc.Spec.ClusterIP, "10.96.") {
		t.Errorf("Service: address %q, %v", svc.Spec.ClusterIP, err)
	}
	if err := api.KillAPIServer(); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Services("default").List(ctx, metav1.ListOptions{}); err == nil {
		t.Error("the API server answers though it was killed")
	}
	if err := api.StartAPIServer(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := client.CoreV1().Services("default").Get(ctx, "svc", metav1.GetOptions{}); err != nil {
		t.Errorf("after its return: %v", err)
	}
	if err := api.Delete(ctx, manifests); err != nil {
		t.Error(err)
	}
}

// ownerVariable makes this test binary the owner of a cluster of that name that
// is killed.
const ownerVariable = "WEFT_TEST_CLUSTER_OWNER"

// TestOwnerKilled kills a test with SIGKILL: its cluster must go, too.
func TestOwnerKilled(t *testing.T) {
	if name := os.Getenv(ownerVariable); name != "" {
		c, err := cluster.Start(t.Context(), cluster.Options{Name: name})
		fmt.Println("\nup:", c != nil, err)
		<-t.Context().Done() // never: somebody kills this process
		return
	}
	cluster.Require(t)
	name := fmt.Sprintf("owner-%d", os.Getpid())
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestOwnerKilled$", "-test.v")
	cmd.Env = append(os.Environ(), ownerVariable+"="+name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if text, ok := strings.CutPrefix(lines.Text(), "up:"); ok {
			if text != " true <nil>" {
				t.Error(text)
			}
			break
		}
	}
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait() // it was killed
	dir, err := cluster.Dir(name)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	until(ctx, t, "the cluster's folder is gone", func() bool {
		_, err := os.Stat(dir)
		return os.IsNotExist(err)
	})
	until(ctx, t, "the keeper has ended", func() bool { return len(processes(t, dir)) == 0 })
	gone(t, name)
}

// TestKeeperKilled kills the keeper: the machines die with it, and `down`
// removes what is left.
func TestKeeperKilled(t *testing.T) {
	c := cluster.New(t, cluster.Options{})
	dir, err := cluster.Dir(c.Name())
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if out, err := exec.CommandContext(ctx, "pkill", "-KILL", "-f", "clusterd keep "+dir).CombinedOutput(); err != nil {
		t.Fatalf("%v %s", err, out)
	}
	until(ctx, t, "all processes are gone", func() bool { return len(processes(t, dir)) == 0 })
	down(t, c)
}
