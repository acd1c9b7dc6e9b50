package cli

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// TestStanding: only what is said of the newest generation counts.
func TestStanding(t *testing.T) {
	status := func(generation int64, value, message string) map[string]any {
		return map[string]any{"conditions": []any{map[string]any{
			"type": "Programmed", "status": value, "message": message, "observedGeneration": generation,
		}}}
	}
	for name, c := range map[string]struct {
		status map[string]any
		want   string // of the error; "": none
	}{
		"live":       {status(3, "True", "live on 2 of 2 proxies"), ""},
		"of before":  {status(2, "True", "live on 2 of 2 proxies"), "generation 2"},
		"refused":    {status(3, "False", "live on 1 of 2 proxies; b refused"), "b refused"},
		"none":       {map[string]any{}, "no status yet"},
		"strange":    {map[string]any{"conditions": []any{"x", map[string]any{"type": int64(1)}}}, "no status yet"},
		"no message": {map[string]any{"conditions": []any{map[string]any{"type": "Programmed", "status": "Unknown", "observedGeneration": int64(3)}}}, "Unknown"},
	} {
		o := &unstructured.Unstructured{Object: map[string]any{"status": c.status}}
		o.SetGeneration(3)
		message, err := standing(o, "Programmed")
		switch {
		case c.want == "" && (err != nil || message != "live on 2 of 2 proxies"):
			t.Errorf("%s: %q, %v", name, message, err)
		case c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)):
			t.Errorf("%s: %v; want %s", name, err, c.want)
		}
	}
}
