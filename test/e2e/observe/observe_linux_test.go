package observe

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/test/addons"
	"github.com/weftmesh/weft/test/cluster"
	"github.com/weftmesh/weft/test/guide"
	"github.com/weftmesh/weft/test/weftcli"
)

// TestObserve: the guide's steps, and what is seen after them.
func TestObserve(t *testing.T) {
	b := newBench(t)
	b.calls()
	for _, part := range []struct {
		name string
		do   func(*bench)
	}{
		{"guide", (*bench).guide}, {"targets", (*bench).targets}, {"rights", (*bench).rights},
		{"figures", (*bench).figures}, {"dashboards", (*bench).dashboards}, {"alerts", (*bench).alerts}, {"kiali", (*bench).kiali},
	} {
		if !b.Run(part.name, func(t *testing.T) { part.do(b.on(t)) }) && part.name == "guide" {
			return // there is no Prometheus
		}
	}
}

// figures: weft's own tables are of this Prometheus, at once, with what it lacks of
// the proxies' own word: nothing.
func (b *bench) figures() {
	b.Eventually("weft stat and weft edges of Prometheus", func() error {
		var stat struct {
			From string
			Rows []figures.Row
		}
		var edges struct {
			From  string
			Edges []figures.Edge
		}
		for into, command := range map[any]string{&stat: "stat workloads frontend -n shop -o json", &edges: "edges frontend -n shop --window 2m -o json"} {
			if err := json.Unmarshal([]byte(b.MustWeft("", strings.Fields(command)...)), into); err != nil {
				return fmt.Errorf("weft %s: %w", command, err)
			}
		}
		if !strings.HasPrefix(stat.From, "Prometheus ("+system+"/prometheus-") || edges.From != stat.From {
			return fmt.Errorf("they are of %q and %q", stat.From, edges.From)
		}
		if len(stat.Rows) != 1 || stat.Rows[0].By != figures.ByServer || stat.Rows[0].RequestRate == nil || *stat.Rows[0].RequestRate < 5 ||
			stat.Rows[0].SuccessRate == nil || stat.Rows[0].Latency == nil || stat.Rows[0].Received == 0 {
			return fmt.Errorf("rows: %+v", stat.Rows)
		}
		if !slices.ContainsFunc(edges.Edges, func(e figures.Edge) bool {
			return e.From.Workload == "istio-ingressgateway" && e.To.Workload == "frontend" && e.MutualTLS != nil && *e.MutualTLS == 1 && e.By == figures.ByServer
		}) {
			return fmt.Errorf("edges: %+v", edges.Edges)
		}
		return nil
	})
	if out := b.MustWeft("", "stat", "-n", "shop", "--window", "2s", "-o", "json"); strings.Contains(out, `"from"`) {
		b.Errorf("two seconds are the proxies' to tell: %s", out)
	}
}

// guide follows docs/guides/observe.md.
func (b *bench) guide() {
	port, err := weftcli.FreePort(b.Context(), 10000+rand.IntN(20000)) // no connection out takes it meanwhile
	if err != nil {
		b.Fatal(err)
	}
	g, err := guide.Read("../../../docs/guides/observe.md", "sh")
	if err != nil {
		b.Fatal(err)
	}
	tools := b.TempDir()
	if err := os.Symlink(cluster.Kubectl(b.T), filepath.Join(tools, "kubectl")); err != nil {
		b.Fatal(err)
	}
	run := func(lines string) (string, error) {
		cmd := exec.CommandContext(b.Context(), "bash", "-ec", lines)
		cmd.Dir = b.dir
		cmd.Env = append(os.Environ(), "KUBECONFIG="+b.Kubeconfig(), "PATH="+tools+":"+filepath.Join(b.dir, "bin")+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return string(out), nil
	}
	forward := "" // the commands that open the port
	for _, block := range g.Blocks {
		lines := strings.ReplaceAll(block.Text, "9090:9090", fmt.Sprint(port)+":9090")
		lines = strings.ReplaceAll(lines, "127.0.0.1:9090", fmt.Sprint("127.0.0.1:", port))
		b.Eventually(lines, func() error {
			out, err := run(lines)
			if err == nil && block.Prints != "" {
				err = guide.Compare(block.Prints, out)
			}
			if err != nil && forward != "" && !b.listens(port) { // a port-forward ends with its connection
				_, again := run(forward)
				err = errors.Join(err, again)
			}
			return err
		})
		if strings.Contains(lines, "port-forward") {
			forward = lines
		}
	}
}

// listens says whether a port of this machine is open.
func (b *bench) listens(port int) bool {
	conn, err := (&net.Dialer{}).DialContext(b.Context(), "tcp", fmt.Sprint("127.0.0.1:", port))
	if err != nil {
		return false
	}
	_ = conn.Close()
	return true
}

// targets: every pod of the mesh is scraped once, and no other, by the sample's job;
// those with a proxy by the PodMonitor's too.
func (b *bench) targets() {
	want := map[string][]string{}
	for _, p := range b.pods("") {
		if p.Annotations["prometheus.io/scrape"] != "true" {
			continue
		}
		as := p.Namespace + "/" + p.Name + " on " + p.Spec.NodeName + " of " + p.Labels["app"]
		want["kubernetes-pods"] = append(want["kubernetes-pods"], as)
		if p.Annotations["sidecar.istio.io/status"] != "" {
			want["weft-proxies"] = append(want["weft-proxies"], as)
		}
	}
	for job, all := range want {
		slices.Sort(all)
		b.Eventually("all are scraped by "+job, func() error {
			up, err := b.query(`up{job="` + job + `"} == 1`)
			if err != nil {
				return err
			}
			var got []string
			for _, s := range up {
				got = append(got, s.labels["namespace"]+"/"+s.labels["pod"]+" on "+s.labels["node"]+" of "+s.labels["app"])
			}
			slices.Sort(got)
			if !slices.Equal(got, all) {
				return fmt.Errorf("up are %v, want %v", got, all)
			}
			return nil
		})
	}
	if len(want) != 2 {
		b.Errorf("pods by job: %v", want)
	}
}

// rights: Prometheus may learn where pods are, and nothing else.
func (b *bench) rights() {
	as := "--as=system:serviceaccount:" + system + ":prometheus"
	for _, c := range []struct {
		what string
		want bool
	}{{"list pods", true}, {"watch pods", true}, {"list secrets", false}, {"list configmaps", false}, {"get nodes", false}, {"create pods", false}, {"delete pods", false}} {
		out, _ := b.Kubectl("", append([]string{"auth", "can-i", as, "-A"}, strings.Fields(c.what)...)...) // "no" is exit code 1
		if got := strings.HasSuffix(strings.TrimSpace(out), "yes"); got != c.want {
			b.Errorf("%s: %v, want %v: %s", c.what, got, c.want, out)
		}
	}
}

// question is one that Prometheus must have an answer to, for one of the choices
// of a dashboard's variables.
type question struct {
	where, expr string
	choices     []map[string]string
}

// silent cannot have data here.
var silent = map[string]string{
	"WeftRevocationListExpires":         "there is no list of revoked certificates",
	"WeftExternalCertificateNotRenewed": "certificates come from the mesh's own CA",
}

// dashboards: every query of every panel has data.
func (b *bench) dashboards() {
	all, err := addons.Dashboards("../../../samples/addons/dashboards")
	if err != nil {
		b.Fatal(err)
	}
	var open []question
	for _, d := range all {
		var choices []map[string]string
		b.Eventually("the variables of "+d.File+" have values", func() (err error) { choices, err = b.choices(d); return err })
		for _, p := range d.Panels {
			for _, t := range p.Targets {
				open = append(open, question{fmt.Sprintf("%s, panel %q, query %s", d.File, p.Title, t.RefID), t.Expr, choices})
			}
		}
	}
	b.changes()
	b.answered(open)
}

// changes give the control plane something to do: pods are injected, get their
// certificates, and are pushed to the proxies. They come after what looks at pods, and
// nobody calls them: Prometheus does not find the new ones.
func (b *bench) changes() {
	b.again("new pods", 15*time.Second, "rollout", "restart", "-n", "spare", "deployment/store-v2")
}

// alerts: every expression has data, but for its bounds.
func (b *bench) alerts() {
	rules, err := addons.Rules("../../../samples/addons/alerts.yaml")
	if err != nil {
		b.Fatal(err)
	}
	var open []question
	for _, r := range rules {
		if silent[r.Alert] == "" {
			open = append(open, question{r.Alert, r.Asks(), []map[string]string{{}}})
		}
	}
	b.changes()
	b.answered(open)
	if len(open)+len(silent) != len(rules) {
		b.Errorf("%v names rules that there are not", silent)
	}
}

// choices are all values of a dashboard's variables, each with those of the ones
// before it.
func (b *bench) choices(d addons.Dashboard) ([]map[string]string, error) {
	out := []map[string]string{{"__rate_interval": "1m"}}
	for _, v := range d.Templating.List {
		if v.Type != "query" {
			continue
		}
		series, label, err := v.Asks()
		if err != nil {
			return nil, err
		}
		var next []map[string]string
		for _, before := range out {
			var values []string
			if err := b.get("/api/v1/label/"+label+"/values", map[string]string{"match[]": put(series, before)}, &values); err != nil {
				return nil, err
			}
			if v.Multi && len(values) > 0 {
				values = []string{"(" + strings.Join(values, "|") + ")"}
			}
			for _, value := range values {
				one := map[string]string{v.Name: value}
				for k, v := range before {
					one[k] = v
				}
				next = append(next, one)
			}
		}
		if len(next) == 0 {
			return nil, fmt.Errorf("%s: variable %s has no value: %s", d.File, v.Name, v.Query)
		}
		out = next
	}
	return out, nil
}

// put replaces variables by their values.
func put(expr string, values map[string]string) string {
	for name, value := range values {
		expr = strings.NewReplacer("${"+name+"}", value, "$"+name, value).Replace(expr)
	}
	return expr
}

// answered waits until each question has had an answer.
func (b *bench) answered(open []question) {
	b.Helper()
	if len(open) == 0 {
		b.Fatal("no question")
	}
	b.Logf("%d queries", len(open))
	b.Eventually("every query gives data", func() error {
		var left []question
		var why []string
		for _, q := range open {
			if err := b.answer(q); err != nil {
				left = append(left, q)
				why = append(why, fmt.Sprintf("%s: %s: %v", q.where, q.expr, err))
			}
		}
		if open = left; len(open) > 0 {
			return fmt.Errorf("%d give none:\n%s", len(open), strings.Join(why, "\n"))
		}
		return nil
	})
}

// answer is nil where some choice gives a number.
func (b *bench) answer(q question) error {
	for _, values := range q.choices {
		got, err := b.query(put(q.expr, values))
		if err != nil {
			return err
		}
		if slices.ContainsFunc(got, func(s sample) bool { return s.value != "NaN" }) {
			return nil
		}
	}
	return fmt.Errorf("no data for any of %d choices", len(q.choices))
}
