package pilot_test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/simulate"
)

// logFolder is where each case's providers write, a file each.
const logFolder = "FOLDER"

// TestAccessLogs: which calls a real Envoy logs where, and in which form, by
// MeshConfig's formats, providers and defaults, and by Telemetries of the mesh
// and the namespace. Calls are "/good", answered 200, and then "/bad", 503.
//
// Sources: istio.io/api telemetry/v1alpha1, AccessLogging; mesh/v1alpha1,
// MeshConfig.accessLogFormat, EnvoyFileAccessLogProvider, DefaultProviders.
func TestAccessLogs(t *testing.T) {
	const two = `
extensionProviders:
- {name: a, envoyFileAccessLog: {path: FOLDER/a, logFormat: {text: "%RESPONSE_CODE% %REQ(:PATH)% %REQ(x-none)%"}}}
- {name: b, envoyFileAccessLog: {path: FOLDER/b, logFormat: {text: "%REQ(:PATH)%[%REQ(x-none)%]\n"}, omitEmptyValues: true}}
- {name: envoy, envoyFileAccessLog: {path: FOLDER/envoy}}
`
	for name, c := range map[string]struct {
		mesh, telemetry string
		want            map[string]string // content of files; a JSON object: one line of it; "": there is no such log
	}{
		"text":    {"accessLogFile: FOLDER/a\naccessLogFormat: '%REQ_WITHOUT_QUERY(:PATH)%'", "", map[string]string{"a": "/good\n/bad\n"}},
		"nothing": {two, "", map[string]string{"a": "", "b": ""}},
		"default": {two + "defaultProviders: {accessLogging: [a, b]}", "", map[string]string{"a": "200 /good?q=1 -\n503 /bad?q=1 -\n", "b": "/good?q=1[]\n/bad?q=1[]\n"}},
		"named":   {two + "accessLogFile: FOLDER/c", "accessLogging: [{providers: [{name: a}]}]", map[string]string{"a": "200 /good?q=1 -\n503 /bad?q=1 -\n", "c": ""}},
		"envoy":   {two + "accessLogFormat: 'E %RESPONSE_CODE%'", "accessLogging: [{providers: [{name: envoy}]}]", map[string]string{"envoy": "E 200\nE 503\n"}},
		"filter": {two, `accessLogging: [{providers: [{name: a}], filter: {expression: "response.code >= 400"}}, {providers: [{name: b}], filter: {expression: "request.path.startsWith('/good')"}}]`,
			map[string]string{"a": "503 /bad?q=1 -\n", "b": "/good?q=1[]\n"}},
		"filter of the file":        {"accessLogFile: FOLDER/a\naccessLogFormat: '%RESPONSE_CODE%'", `accessLogging: [{filter: {expression: "response.code == 503"}}]`, map[string]string{"a": "503\n"}},
		"disabled":                  {"accessLogFile: FOLDER/a", "accessLogging: [{disabled: true}]", map[string]string{"a": ""}},
		"disabled for servers":      {"accessLogFile: FOLDER/a\naccessLogFormat: '%RESPONSE_CODE%'", "accessLogging: [{match: {mode: SERVER}, disabled: true}]", map[string]string{"a": "200\n503\n"}},
		"disabled for one provider": {two + "defaultProviders: {accessLogging: [a, b]}", "accessLogging: [{providers: [{name: a}], disabled: true}, {providers: [{name: b}]}]", map[string]string{"a": "", "b": "/good?q=1[]\n/bad?q=1[]\n"}},
		"JSON":                      {"accessLogFile: FOLDER/a\naccessLogEncoding: JSON\naccessLogFormat: '{\"code\": \"%RESPONSE_CODE%\", \"of\": {\"path\": [\"%REQ(:PATH)%\", 1]}, \"none\": \"%REQ(x-none)%\"}'", "", map[string]string{"a": `{"code":503,"none":null,"of":{"path":["/bad?q=1",1]}}`}},
		"labels":                    {"extensionProviders: [{name: a, envoyFileAccessLog: {path: FOLDER/a, logFormat: {labels: {none: \"%REQ(x-none)%\", flags: \"%RESPONSE_FLAGS%\"}}, omitEmptyValues: true}}]\ndefaultProviders: {accessLogging: [a]}", "", map[string]string{"a": `{"flags":"-"}`}},
		"Istio's JSON":              {"accessLogFile: FOLDER/a\naccessLogEncoding: JSON", "", map[string]string{"a": `{"method":"GET","path":"/bad?q=1","protocol":"HTTP/1.1","response_code":503,"authority":"reviews:9080"}`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			w := startWorld(t, telemetryOf(t, strings.ReplaceAll(c.mesh, logFolder, dir), c.telemetry))
			w.call(t, "/good?q=1", simulate.Upstream{})
			w.call(t, "/bad?q=1", simulate.Upstream{Status: 503})
			w.call(t, "/end?q=1", simulate.Upstream{Status: 503})
			for file, want := range c.want {
				holds(t, filepath.Join(dir, file), want)
			}
		})
	}
}

// telemetryOf are a MeshConfig and, unless it is empty, a Telemetry for the
// namespace, of which this is the spec.
func telemetryOf(t *testing.T, mesh, telemetry string) string {
	t.Helper()
	text, err := json.Marshal(mesh)
	if err != nil {
		t.Fatal(err)
	}
	objects := fmt.Sprintf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: istio, namespace: weft-system}\ndata: {mesh: %s}\n", text)
	if telemetry != "" {
		objects += "---\napiVersion: telemetry.istio.io/v1\nkind: Telemetry\nmetadata: {name: mesh, namespace: default}\nspec:\n  " + telemetry + "\n"
	}
	return objects
}

// holds waits until the file, without the lines of "/end", is as wanted. Envoy
// writes files when its buffer is full, or once a second.
func holds(t *testing.T, file, want string) {
	t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		text, err := os.ReadFile(file)
		if want == "" {
			// Envoy opens the files of all logs that it has.
			if !os.IsNotExist(err) {
				t.Errorf("%s is there: %q, %v", filepath.Base(file), text, err)
			}
			return
		}
		if err == nil && logged(string(text), want) {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			t.Errorf("%s: want %q, it has %q, %v", filepath.Base(file), want, text, err)
			return
		}
	}
}

// logged compares lines; those of the last call may not be there yet, or not
// tell themselves apart from those of "/bad".
func logged(text, want string) bool {
	if !strings.HasPrefix(want, "{") {
		return strings.HasPrefix(text, want)
	}
	var wanted map[string]any
	if json.Unmarshal([]byte(want), &wanted) != nil {
		return false
	}
	for line := range strings.Lines(text) {
		var got map[string]any
		if json.Unmarshal([]byte(line), &got) != nil {
			return false
		}
		same := true
		for k, v := range wanted {
			has, ok := got[k]
			same = same && ok && fmt.Sprint(has) == fmt.Sprint(v)
		}
		if same {
			return true
		}
	}
	return false
}
