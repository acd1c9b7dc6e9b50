package ca

import (
	"regexp"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/test/addons"
)

// asked is the name of a metric of the CA, or of what renews certificates, in a
// rule's expression.
var asked = regexp.MustCompile(`\b(?:weft_ca_|weft_workload_|weft_agent_external_|citadel_)\w+`)

// elsewhere are the metrics of rules that a CA with files and an agent without a pod
// do not have: of ca/internal/cluster, and of internal/agent.
var elsewhere = []string{"weft_ca_secret_rejected", "weft_agent_external_certificate_expiry_timestamp_seconds"}

// No rule asks for a metric of certificates that nobody has.
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
	rules, err := addons.Rules("../samples/addons/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range rules {
		for _, name := range asked.FindAllString(rule.Expr, -1) {
			if !regexp.MustCompile(`(?m)^` + name + `[ {]`).MatchString(page) {
				t.Errorf("%s asks for %s, which nobody tells", rule.Alert, name)
			}
		}
	}
}
