package ca

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/yaml"

	"github.com/weftmesh/weft/internal/enroll"
)

// alert is a rule of samples/addons/alerts.yaml.
type alert struct {
	Alert, Expr, For string
	Labels           map[string]string
}

func readYAML(t *testing.T, name string, into any) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "samples", "addons", name))
	if err == nil {
		err = yaml.UnmarshalStrict(text, into)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func alerts(t *testing.T) map[string]alert {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				alert       `json:",inline"`
				Annotations map[string]string
			}
		}
	}
	readYAML(t, "alerts.yaml", &file)
	out := map[string]alert{}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.Annotations["summary"] == "" || r.Annotations["description"] == "" || r.Labels["severity"] == "" {
				t.Errorf("%s says too little", r.Alert)
			}
			out[r.Alert] = r.alert
		}
	}
	return out
}

// comparison is the one form that our rules are made of, joined by "and":
// SERIES [- time()] OPERATOR NUMBER.
var comparison = regexp.MustCompile(`^(\w+(?:\{[^}]*\})?)( - time\(\))? ([<>]) (\d+)$`)

// holds reports whether the rule's expression holds of one series at a time, in
// seconds. Of promtool's language it knows what the rules use.
func (a alert) holds(t *testing.T, series string, value, now float64) bool {
	t.Helper()
	for part := range strings.SplitSeq(a.Expr, " and ") {
		m := comparison.FindStringSubmatch(part)
		if m == nil {
			t.Fatalf("%s: %q is not SERIES [- time()] OPERATOR NUMBER", a.Alert, part)
		}
		bound, err := strconv.ParseFloat(m[4], 64)
		if err != nil {
			t.Fatal(err)
		}
		left := value
		if m[2] != "" {
			left -= now
		}
		if m[1] != series || m[3] == "<" && left >= bound || m[3] == ">" && left <= bound {
			return false
		}
	}
	return true
}

// Every case of alerts.test.yaml, which promtool can run too: a series that stays
// the same, and whether the alert is there at the end. Each alert has one of both.
func TestAlerts(t *testing.T) {
	var file struct {
		RuleFiles          []string `json:"rule_files"`
		EvaluationInterval string   `json:"evaluation_interval"`
		Tests              []struct {
			Interval      string
			InputSeries   []struct{ Series, Values string } `json:"input_series"`
			AlertRuleTest []struct {
				EvalTime  string `json:"eval_time"`
				Alertname string
				ExpAlerts []struct {
					ExpLabels      map[string]string `json:"exp_labels"`
					ExpAnnotations map[string]string `json:"exp_annotations"`
				} `json:"exp_alerts"`
			} `json:"alert_rule_test"`
		}
	}
	readYAML(t, "alerts.test.yaml", &file)
	rules, seen := alerts(t), map[string]map[bool]bool{}
	for _, c := range file.Tests {
		want, in := c.AlertRuleTest[0], c.InputSeries[0]
		rule, ok := rules[want.Alertname]
		text, _, constant := strings.Cut(in.Values, "+0x")
		value, err := strconv.ParseFloat(text, 64)
		wait, atErr := time.ParseDuration(want.EvalTime)
		hold, forErr := time.ParseDuration(rule.For)
		if !ok || !constant || err != nil || atErr != nil || forErr != nil {
			t.Fatalf("case of %q: %+v", want.Alertname, c)
		}
		fires := wait >= hold && rule.holds(t, in.Series, value, (wait-hold).Seconds()) && rule.holds(t, in.Series, value, wait.Seconds())
		if fires != (len(want.ExpAlerts) > 0) {
			t.Errorf("%s with %s %s: fires %v", want.Alertname, in.Series, in.Values, fires)
		}
		if seen[want.Alertname] == nil {
			seen[want.Alertname] = map[bool]bool{}
		}
		seen[want.Alertname][fires] = true
	}
	for name := range rules {
		if len(seen[name]) != 2 {
			t.Errorf("%s has no case in which it is due, or none in which it is not", name)
		}
	}
}

// elsewhere are the metrics of rules that a CA with files and an agent without a pod
// do not have: of ca/internal/cluster, and of internal/agent.
var elsewhere = []string{"weft_ca_secret_rejected", "weft_agent_external_certificate_expiry_timestamp_seconds"}

// No rule asks for a metric that nobody has.
func TestAlertsAskForMetricsThatExist(t *testing.T) {
	m := newMesh(t)
	r := m.start(m.options())
	m.revoke(time.Now().Add(time.Hour))
	reg := prometheus.NewRegistry()
	enroll.NewMetrics(reg)
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	_, page := m.get(r, "/metrics")
	for _, f := range families {
		page += f.GetName() + " 0\n"
	}
	for _, name := range elsewhere {
		page += name + " 0\n"
	}
	for _, rule := range alerts(t) {
		for part := range strings.SplitSeq(rule.Expr, " and ") {
			series := comparison.FindStringSubmatch(part)[1]
			name, _, _ := strings.Cut(series, "{")
			if !regexp.MustCompile(`(?m)^` + name + `[ {]`).MatchString(page) {
				t.Errorf("%s asks for %s, which nobody tells", rule.Alert, name)
			}
		}
	}
}
