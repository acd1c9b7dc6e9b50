package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/local/controller"
)

// The tables of weft proxy-config, from what an Envoy of the bookshop answered
// (its parts that no table shows are cut away). They fit into 100 columns.
func TestProxyConfigTables(t *testing.T) {
	for _, kind := range configKinds {
		t.Run(kind, func(t *testing.T) {
			text, err := os.ReadFile(filepath.Join("testdata", kind+".json"))
			if err != nil {
				t.Fatal(err)
			}
			view, err := configView(kind)
			if err != nil {
				t.Fatal(err)
			}
			rows, err := view.rows(text)
			if err != nil {
				t.Fatal(err)
			}
			var out bytes.Buffer
			if err := (&app{out: &out}).table(rows); err != nil {
				t.Fatal(err)
			}
			for line := range strings.Lines(out.String()) {
				if len(strings.TrimRight(line, "\n")) > 100 {
					t.Errorf("over 100 columns: %s", line)
				}
			}
			golden(t, kind+".txt", out.String())
			if _, err := view.rows([]byte("no JSON")); err == nil {
				t.Error("no error for what is no JSON")
			}
			if rows, err := view.rows([]byte("{}")); err != nil || len(rows) != 1 {
				t.Errorf("an empty answer: %v %v", rows, err)
			}
		})
	}
}

func TestSyncVerdict(t *testing.T) {
	for _, c := range []struct {
		sent, acked any
		want        string
	}{{nil, nil, "NOT SENT"}, {"", "", "NOT SENT"}, {"a", "a", "SYNCED"}, {"b", "a", "STALE"}, {"b", nil, "STALE"}} {
		if got := verdict(c.sent, c.acked); got != c.want {
			t.Errorf("sent %v, acknowledged %v: %s, want %s", c.sent, c.acked, got, c.want)
		}
	}
}

func TestPods(t *testing.T) {
	st := controller.Status{
		Pods: []controller.PodStatus{
			{Namespace: "default", Name: "slow-aaaaa", Workload: "slow", IP: "10.244.0.8", Containers: 2, ReadyContainers: 1, Phase: "Starting", Synced: "yes", Reason: "web: GET http://10.244.0.8:80/: connection refused"},
			{Namespace: "default", Name: "slow-bbbbb", Workload: "slow", IP: "10.244.0.9", Containers: 2, ReadyContainers: 1, Phase: "Starting", Synced: "yes", Reason: "web: GET http://10.244.0.9:80/: connection refused"},
			{
				Namespace: "default", Name: "web-ccccc", Workload: "web", IP: "10.244.0.7", Containers: 2, ReadyContainers: 2, Phase: "Running", Synced: "no", Ready: true, Age: 90 * time.Second,
				Ejected: []controller.Ejected{{Cluster: "a", Address: "10.244.0.8:80", Pod: "slow-aaaaa"}, {Cluster: "b", Address: "10.244.0.8:80", Pod: "slow-aaaaa"}, {Cluster: "c", Address: "1.2.3.4:5"}},
			},
		},
		Troubles: controller.Troubles{
			Problems:    map[string]string{"default/b": "no command", "default/a": "no command"},
			Unpublished: map[uint32]string{80: "gateway port 80: taken"},
			Findings: []diag.Diagnostic{
				{Code: "X2", Severity: diag.Warning, Object: diag.Object{Kind: "Gateway", Name: "g", File: "/f/a.yaml", Line: 3}, Message: "odd"},
				{Code: "X3", Severity: diag.Info, Object: diag.Object{Kind: "Service", Name: "s"}, Message: "worth knowing"},
				{Code: "X1", Object: diag.Object{Kind: "VirtualService", Namespace: "default", Name: "v", File: "/f/a.yaml", Line: 1}, Path: "spec.http", Message: "wrong"},
			},
		},
	}
	var out bytes.Buffer
	a := &app{out: &out}
	if err := a.printPods(st); err != nil {
		t.Fatal(err)
	}
	golden(t, "pods.txt", out.String())
	out.Reset()
	a.output = "wide"
	if err := a.printPods(st); err != nil || !strings.Contains(out.String(), "10.244.0.7") {
		t.Errorf("-o wide shows no address: %v\n%s", err, out.String())
	}
}

func TestTroublesAreSaidOnce(t *testing.T) {
	var out bytes.Buffer
	a := &app{err: &out}
	for _, c := range []struct {
		said, now []string
		want      string
	}{
		{nil, nil, ""},
		{nil, []string{"a", "b"}, "a\nb\n"},
		{[]string{"a"}, []string{"a", "b"}, "b\n"},
		{[]string{"a", "b"}, []string{"b"}, ""},
		{[]string{"a"}, nil, "all in order again\n"},
	} {
		out.Reset()
		if a.sayChange(c.said, c.now); out.String() != c.want {
			t.Errorf("%v, then %v: %q, want %q", c.said, c.now, out.String(), c.want)
		}
	}
	fresh, gone := change([]string{"a", "b"}, []string{"b", "c"})
	if !reflect.DeepEqual([][]string{fresh, gone}, [][]string{{"c"}, {"a"}}) {
		t.Errorf("fresh %v, gone %v", fresh, gone)
	}
}

func TestNotReadyNamesWhatAndWhy(t *testing.T) {
	err := notReady(controller.Status{
		Pods: []controller.PodStatus{
			{Namespace: "default", Name: "a", Reason: "web: exited with code 3"},
			{Namespace: "default", Name: "b", Ready: true, Synced: "no"},
			{Namespace: "default", Name: "c", Ready: true, Synced: "yes"},
		},
		Troubles: controller.Troubles{Problems: map[string]string{"default/d": "no command"}},
	}, "the mesh is not ready in time")
	for _, want := range []string{"Deployment default/d: no command", "pod default/a is not ready: web: exited", "pod default/b is not in sync", "weft logs POD"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "default/c") {
		t.Errorf("it names a pod that is ready:\n%v", err)
	}
}

func TestProxyStatus(t *testing.T) {
	var out bytes.Buffer
	a := &app{out: &out}
	proxies, err := syncOf([]byte(`[{"proxy":"web-b.default","cluster_sent":"1","cluster_acked":"1","listener_sent":"2","listener_acked":"1"},{"proxy":"web-a.default"},{"proxy":"web-a.shop"}]`), "default")
	if err == nil {
		err = a.printSync(proxies)
	}
	want := "PROXY          CDS       LDS       EDS       RDS\nweb-a.default  NOT SENT  NOT SENT  NOT SENT  NOT SENT\nweb-b.default  SYNCED    STALE     NOT SENT  NOT SENT\n"
	if err != nil || out.String() != want {
		t.Errorf("got\n%s%v, want\n%s", out.String(), err, want)
	}
	out.Reset()
	if err := a.printSync([]map[string]any{{"proxy": "web-a.shop", "pilot": "weft-pilot-next-1"}}); err != nil || !strings.Contains(out.String(), "RDS       PILOT\n") || !strings.HasSuffix(out.String(), "weft-pilot-next-1\n") {
		t.Errorf("with several pilots: %v\n%s", err, out.String())
	}
	if _, err := syncOf([]byte("oops"), ""); err == nil || !strings.Contains(err.Error(), "the pilot's answer") {
		t.Errorf("what is no JSON: %v", err)
	}
}
