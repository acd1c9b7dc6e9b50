package figures

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/test/prometheus"
)

// What Prometheus itself makes of the questions: failures that began in the window
// count from the first, a pod that two jobs scrape counts once, and of one that was
// scraped only once in the window nothing is said.
func TestQueryOfAMinute(t *testing.T) {
	path := prometheus.Program(t, "promtool")
	const failures = `istio_requests_total{namespace="n",pod="a",reporter="destination",response_code="503"`
	series := [][2]string{ // each 15 s, until 5 m
		{`istio_build{component="proxy",namespace="n",pod="a",job="x",instance="1"}`, "1x20"},
		{`istio_build{component="proxy",namespace="n",pod="seldom",job="x",instance="2"}`, "_ 1 _ _ _ 1 _ _ _ 1 _ _ _ 1 _ _ _ 1 _ _ _"},
		{failures + `,job="x",instance="1"}`, "_x17 40 40 40"},
		{failures + `,job="y",instance="1:15020"}`, "_x17 40 40 40"},
		{`istio_requests_total{namespace="n",pod="a",reporter="destination",response_code="200",job="x",instance="1"}`, "1000+15x20"},
		{`istio_requests_total{namespace="n",pod="new",reporter="destination",response_code="200",job="x",instance="3"}`, "_x18 5000 5000"}, // nobody knows how long it had counted
	}
	var file strings.Builder
	file.WriteString("rule_files: []\nevaluation_interval: 15s\ntests:\n- interval: 15s\n  input_series:\n")
	for _, s := range series {
		fmt.Fprintf(&file, "  - {series: %q, values: %q}\n", s[0], s[1])
	}
	fmt.Fprintf(&file, "  promql_expr_test:\n  - expr: %q\n    eval_time: 5m\n    exp_samples:\n", recordedParts[0].over(time.Minute))
	for code, n := range map[string]int{"503": 40, "200": 60} {
		fmt.Fprintf(&file, "    - {labels: '{namespace=\"n\",pod=\"a\",reporter=\"destination\",response_code=%q}', value: %d}\n", code, n)
	}
	fmt.Fprintf(&file, "  - expr: %q\n    eval_time: 5m\n    exp_samples: [{labels: '{namespace=\"n\",pod=\"a\"}', value: 1}]\n", scrapedTwice.over(time.Minute))
	name := filepath.Join(t.TempDir(), "test.yaml")
	if err := os.WriteFile(name, []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.CommandContext(t.Context(), path, "test", "rules", name).CombinedOutput(); err != nil {
		t.Errorf("promtool: %v\n%s\n%s", err, out, file.String())
	}
}
