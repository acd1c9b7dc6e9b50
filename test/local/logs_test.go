package local

import (
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"
)

// logsTell: weft logs reads what a real Envoy wrote of the same requests in both of
// Istio's formats, and gives the same of each.
func (m *running) logsTell(t *testing.T) {
	t.Helper()
	host := "outbound|80||slow.default.svc.cluster.local"
	eventually(t, patience, "the access log has them", func() error {
		lines, err := m.accessLog(t, "--flags", "UO", "--status", "5xx", "--path", "/", "--since", "1h")
		if err != nil {
			return err
		}
		if len(lines) != 2*overflowed {
			return fmt.Errorf("%d lines that overflowed, want %d", len(lines), 2*overflowed)
		}
		byID := map[string]int{}
		for _, l := range lines {
			if l["upstream_cluster"] != host || l["response_code"] != 503. || l["response_flags"] != "UO" || l["method"] != "GET" || l["authority"] != "slow" || l["bytes_received"] != 0. {
				return fmt.Errorf("it says %v", l)
			}
			delete(l, "start_time")
			text, _ := json.Marshal(l)
			byID[string(text)]++
		}
		for line, n := range byID {
			if n != 2 {
				return fmt.Errorf("text and JSON differ: %s is there %d times", line, n)
			}
		}
		return nil
	})
	if lines, err := m.accessLog(t, "--route", "def", "--path", "/denied"); err != nil || len(lines) != 2*denied {
		t.Errorf("%d lines of the route that is named default: %v", len(lines), err)
	}
	for _, none := range [][]string{{"--flags", "UO", "--method", "POST"}, {"--path", "/nosuch"}, {"--route", "nosuch"}, {"--flags", "UO", "--status", "2xx"}} {
		if lines, err := m.accessLog(t, none...); err != nil || len(lines) != 0 {
			t.Errorf("%v: %v, %v", none, lines, err)
		}
	}
	if out, err := weft(t.Context(), m, "logs", "front", "--name", m.Name, "--flags", "UO", "--tail", "100000"); err != nil || strings.Count(out, " 503 UO ")+strings.Count(out, `"response_flags":"UO"`) != 2*overflowed {
		t.Errorf("%v: %s", err, out)
	}
}

// accessLog is what the front's proxy logged.
func (m *running) accessLog(t *testing.T, filter ...string) (out []map[string]any, err error) {
	args := append([]string{"logs", "front", "--name", m.Name, "-o", "json"}, filter...)
	text, err := exec.CommandContext(t.Context(), m.Binary, args...).Output()
	for line := range strings.Lines(string(text)) {
		var l map[string]any
		if err := json.Unmarshal([]byte(line), &l); err != nil {
			return nil, fmt.Errorf("%q: %w", line, err)
		}
		out = append(out, l)
	}
	return out, err
}
