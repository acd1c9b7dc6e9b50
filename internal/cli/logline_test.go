package cli

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/weftmesh/weft/internal/tap"
)

// Lines as Istio's documentation and a real Envoy have them.
const (
	textOK     = `[2026-11-23T09:00:00.123Z] "GET /status/418?x=[1] HTTP/1.1" 418 - via_upstream - "-" 0 135 4 3 "-" "curl/7.73.0 (a b)" "84961386-6d84-929d-98bd-c5aee93b5c88" "httpbin:8000" "127.0.0.1:80" inbound|8000|| 127.0.0.1:41854 10.44.1.27:80 10.44.1.23:37652 outbound_.8000_._.httpbin.foo.svc.cluster.local my route`
	textFailed = `[2026-11-23T09:00:01.000Z] "POST /x HTTP/2" 503 UF,URX upstream_reset_before_response_started{connection_failure} - "TLS_error:|268435581:SSL "routines"" 7 0 12 - "1.2.3.4,5.6.7.8" "-" "-" "reviews" "10.0.0.9:80" outbound|80|v1|reviews.shop.svc.cluster.local - 10.1.0.1:80 10.0.0.1:999 - default`
	textTCP    = `[2026-11-23T09:00:02Z] "- - -" 0 - - - "-" 100 200 30000 - "-" "-" "-" "-" "10.0.0.9:9000" outbound|9000||echo.shop.svc.cluster.local 10.0.0.1:5 10.1.0.2:9000 10.0.0.1:6 - -`
	jsonOK     = `{"start_time":"2026-11-23T09:00:00.123Z","route_name":"canary","method":"GET","path":"/a","protocol":"HTTP/1.1","response_code":200,"response_flags":"-","bytes_sent":12345678901234567890,"upstream_host":null,"x_forwarded_for":"-","mine":{"a":[1]}}`
)

func TestParseAccess(t *testing.T) {
	for line, want := range map[string]string{
		textOK: `{"authority":"httpbin:8000","bytes_received":0,"bytes_sent":135,"downstream_local_address":"10.44.1.27:80","downstream_remote_address":"10.44.1.23:37652","duration":4,` +
			`"method":"GET","path":"/status/418?x=[1]","protocol":"HTTP/1.1","request_id":"84961386-6d84-929d-98bd-c5aee93b5c88","requested_server_name":"outbound_.8000_._.httpbin.foo.svc.cluster.local",` +
			`"response_code":418,"response_code_details":"via_upstream","route_name":"my route","start_time":"2026-11-23T09:00:00.123Z","upstream_cluster":"inbound|8000||","upstream_host":"127.0.0.1:80",` +
			`"upstream_local_address":"127.0.0.1:41854","upstream_service_time":3,"user_agent":"curl/7.73.0 (a b)"}`,
		textFailed: `{"authority":"reviews","bytes_received":7,"bytes_sent":0,"downstream_local_address":"10.1.0.1:80","downstream_remote_address":"10.0.0.1:999","duration":12,"method":"POST","path":"/x",` +
			`"protocol":"HTTP/2","response_code":503,"response_code_details":"upstream_reset_before_response_started{connection_failure}","response_flags":"UF,URX","route_name":"default",` +
			`"start_time":"2026-11-23T09:00:01.000Z","upstream_cluster":"outbound|80|v1|reviews.shop.svc.cluster.local","upstream_host":"10.0.0.9:80",` +
			`"upstream_transport_failure_reason":"TLS_error:|268435581:SSL \"routines\"","x_forwarded_for":"1.2.3.4,5.6.7.8"}`,
		textTCP: `{"bytes_received":100,"bytes_sent":200,"downstream_local_address":"10.1.0.2:9000","downstream_remote_address":"10.0.0.1:6","duration":30000,"response_code":0,` +
			`"start_time":"2026-11-23T09:00:02Z","upstream_cluster":"outbound|9000||echo.shop.svc.cluster.local","upstream_host":"10.0.0.9:9000","upstream_local_address":"10.0.0.1:5"}`,
		jsonOK: `{"bytes_sent":12345678901234567890,"method":"GET","mine":{"a":[1]},"path":"/a","protocol":"HTTP/1.1","response_code":200,"route_name":"canary","start_time":"2026-11-23T09:00:00.123Z"}`,
		// Who may write quotes into a header may not say what another field is.
		strings.Replace(textOK, "curl/7.73.0 (a b)", `x" "id" "bank" "6.6.6.6:66" outbound|1||evil 1 2 3 4 evil`, 1): `client_headers":"-\" \"x\" \"id\" \"bank\" \"6.6.6.6:66\" outbound|1||evil 1 2 3 4 evil\" \"84961386`,
		`{"response_code":"503"}`: `{"response_code":503}`,
	} {
		got, is := parseAccess([]byte(line + "\r\n"))
		text, err := json.Marshal(got)
		unescaped := bytes.ReplaceAll(text, []byte(`\u0026`), []byte("&"))
		if !is || err != nil || !strings.Contains(string(unescaped), want) {
			t.Errorf("%s\n got %s %v\nwant %s", line, text, err, want)
		}
		if got["authority"] == "bank" || got["upstream_host"] == "6.6.6.6:66" {
			t.Errorf("a header says what another field is: %s", text)
		}
	}
	for _, line := range []string{
		"", "{", "null", "[]", `{"level":"info","msg":"started"}`, `{"response_code":1} {"response_code":2}`, "2026-11-23 listening on :80",
		"GET / 200 3ms", strings.TrimSuffix(textTCP, " -"), strings.Replace(textOK, `" 418`, ` 418`, 1), strings.Replace(textOK, "/status", "/a b", 1),
	} {
		if got, is := parseAccess([]byte(line)); is {
			t.Errorf("%q is taken for an access log: %v", line, got)
		}
	}
}

func TestLogFilter(t *testing.T) {
	for _, c := range []struct {
		f    logFilter
		want string // of the four lines, those that match
	}{
		{logFilter{}, "1111"},
		{logFilter{Filter: tap.Filter{Status: []string{"5xx", "200"}}}, "0101"},
		{logFilter{Filter: tap.Filter{Status: []string{"0"}}}, "0010"},
		{logFilter{Filter: tap.Filter{Path: "/x"}}, "0100"},
		{logFilter{Filter: tap.Filter{Method: "get"}}, "1001"},
		{logFilter{route: "can"}, "0001"},
		{logFilter{flags: []string{"uf", "UO"}}, "0100"},
		{logFilter{flags: []string{"U"}}, "0000"},
		{logFilter{route: "my", Filter: tap.Filter{Path: "/status", Status: []string{"4xx"}}}, "1000"},
	} {
		got := ""
		for _, line := range []string{textOK, textFailed, textTCP, jsonOK} {
			parsed, _ := parseAccess([]byte(line))
			got += map[bool]string{true: "1", false: "0"}[c.f.match(parsed)]
		}
		if got != c.want {
			t.Errorf("%+v: %s, want %s", c.f, got, c.want)
		}
	}
}

// FuzzParseAccess: whatever stands in a log, what is shown of it prints, is one line,
// and as JSON is an object that says what a filter was told.
func FuzzParseAccess(f *testing.F) {
	for _, line := range []string{textOK, textFailed, textTCP, jsonOK, "{", "\x1b[2J\u202e", strings.ReplaceAll(textOK, "curl", "\x9b\x1b]0;x\a\u2028"), `{"response_code":{},"path":[1,null]}`} {
		f.Add([]byte(line))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		var plain, object, problems bytes.Buffer
		if err := (&app{out: &plain, err: &problems}).showLogs(bytes.NewReader(text), logFilter{Filter: tap.Filter{Status: []string{"2xx", "4xx", "5xx", "0"}}}); err != nil {
			t.Fatal(err)
		}
		if err := (&app{out: &object, err: &problems, output: "json"}).showLogs(bytes.NewReader(text), logFilter{}); err != nil {
			t.Fatal(err)
		}
		for _, out := range []string{plain.String(), object.String(), terminalLine(string(text)), problems.String()} {
			if bad := strings.IndexFunc(out, func(r rune) bool { return r != '\n' && r != '\t' && !unicode.IsPrint(r) }); bad >= 0 || !utf8.ValidString(out) {
				t.Fatalf("%q of %q", out, text)
			}
		}
		for line := range strings.Lines(object.String()) {
			var fields map[string]any
			if err := json.Unmarshal([]byte(line), &fields); err != nil || fields == nil {
				t.Fatalf("%q of %q: %v", line, text, err)
			}
		}
		if n := strings.Count(plain.String(), "\n"); n > strings.Count(object.String(), "\n") || n > strings.Count(string(text), "\n")+1 {
			t.Fatalf("%d lines of %q", n, text)
		}
	})
}

func TestShowLogs(t *testing.T) {
	long := strings.Repeat("x", 2*maxLogLine)
	log := "started\x1b[2J\n" + textOK + "\n" + long + "\n" + strings.Replace(textFailed, "reviews\"", "rev\x1b[31miews\"", 1) + "\n" + jsonOK + "\nlast"
	for _, c := range []struct {
		output   string
		filter   logFilter
		out, err string
	}{
		{"", logFilter{}, log, ""},
		{"", logFilter{flags: []string{"URX"}}, strings.Replace(textFailed, "reviews\"", `rev\u001b[31miews"`, 1) + "\n", "3 lines left out"},
		{"json", logFilter{Filter: tap.Filter{Method: "POST"}}, `"authority":"rev\u001b[31miews"`, "3 lines left out"},
		{"json", logFilter{route: "nosuch"}, "", "3 lines left out"},
	} {
		var out, problems bytes.Buffer
		err := (&app{out: &out, err: &problems, output: c.output}).showLogs(strings.NewReader(log), c.filter)
		if err != nil || !strings.Contains(out.String(), c.out) || c.output == "" && out.String() != c.out || !strings.Contains(problems.String(), c.err) {
			t.Errorf("%s %+v: %v\n%.300q\n%s", c.output, c.filter, err, out.String(), problems.String())
		}
	}
}
