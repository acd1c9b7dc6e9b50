package scrape

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

func newAppPage(out *formatter) *appPage {
	return &appPage{out: out, room: (&admission{max: DefaultSamples}).room(), began: map[string]bool{}, kinds: map[string]string{}, drop: func(string) {}}
}

// shown is what becomes of an app's page.
func shown(from, to format, page string) (text string, dropped int) {
	var out bytes.Buffer
	a := newAppPage(&formatter{w: &out, from: from, to: to})
	a.drop = func(string) { dropped++ }
	_ = copyLines(strings.NewReader(page), a.line)
	_ = a.out.end()
	return out.String(), dropped
}

func TestAppPage(t *testing.T) {
	for name, c := range map[string]struct {
		from, to format
		in, want string
		dropped  int
	}{
		"plain":  {in: "# HELP a b \\\\ c\\n\n# TYPE a counter\na{b=\"c\\\"\\\\\\n\",} 1 2\n\n", want: "# HELP a b \\\\ c\\n\n# TYPE a counter\na{b=\"c\\\"\\\\\\n\",} 1 2\n"},
		"blanks": {in: "  a { b = \"c\" , d=\"e\" }  NaN \t 5 \r\n", want: "a{b=\"c\",d=\"e\"} NaN 5\n"},
		"what readers refuse": {in: strings.Join([]string{
			"good 1", "no value", "a{ 1", `a{b=c} 1`, `a{b="c"} x`, `a{b="c} 1`, `a{b="\d"} 1`, `a{b="c",b="d"} 1`, "a 1 2 3", "a 0x1p4", "1a 1", "a 1 1.5",
			`a{__name__="istio_requests_total"} 1`, "a{b=\"\xff\"} 1", "<html>", "# TYPE a rate", "# TYPE 1a counter", `# HELP a \d`, "# TYPE good counter", "last 2",
		}, "\n"), want: "good 1\nlast 2\n", dropped: 18},
		"comments twice": {in: "# TYPE a counter\n# TYPE a gauge\n# HELP a x\n# HELP a y\na 1\n", want: "# HELP a x\n# TYPE a counter\na 1\n", dropped: 2},
		"from OpenMetrics": {from: openMetrics, in: "# TYPE a counter\n# UNIT a s\n# HELP a say \\\"b\\\"\na_total 1 1.5 # {trace_id=\"x\"} 1 2\na_created 5\n# TYPE b info\nb_info{v=\"1\"} 1\n# TYPE c unknown\nc 2\n# EOF\n",
			want: "# HELP a_total say \"b\"\n# TYPE a_total counter\na_total 1 1500\na_created 5\n# TYPE b_info gauge\nb_info{v=\"1\"} 1\n# TYPE c untyped\nc 2\n"},
		"to OpenMetrics": {to: openMetrics, in: "# HELP a_total say \"b\"\n# TYPE a_total counter\n# mine\na_total 1 1500\n# TYPE c counter\nc 2\n# TYPE d untyped\nd 3\n",
			want: "# HELP a say \\\"b\\\"\n# TYPE a counter\na_total 1 1.5\n# TYPE c unknown\nc 2\n# TYPE d unknown\nd 3\n# EOF\n"},
		"OpenMetrics throughout": {from: openMetrics, to: openMetrics, in: "# TYPE a counter\na_total 1 # {x=\"y\"} 0.5\n# EOF\n", want: "# TYPE a counter\na_total 1 # {x=\"y\"} 0.5\n# EOF\n"},
	} {
		if got, dropped := shown(c.from, c.to, c.in); got != c.want || dropped != c.dropped {
			t.Errorf("%s: %d lines dropped, want %d\n%s\nwant\n%s", name, dropped, c.dropped, got, c.want)
		}
	}
}

// FuzzAppPage: whatever an app writes, a strict reader takes what is passed on of it,
// and nothing is lost of a page that it would have taken.
func FuzzAppPage(f *testing.F) {
	f.Add([]byte("# HELP a x\n# TYPE a histogram\na_bucket{le=\"1\"} 1\na_sum 1\na_count 1\n\xff\n{\"u.v\",a=\"b\"} 1\n"), false)
	f.Add([]byte("# TYPE a counter\na_total 1 1.5 # {b=\"c\"} 1\n# EOF\n"), true)
	f.Add([]byte("a{b=\"c\",} 1\na 1 2\n # x\n"), false)
	f.Fuzz(func(t *testing.T, page []byte, open bool) {
		out, dropped := shown(format(open), plain, string(page))
		parser := expfmt.NewTextParser(model.UTF8Validation)
		after, err := parser.TextToMetricFamilies(strings.NewReader(out))
		if err != nil {
			t.Fatalf("cannot be read: %v\n%q\nof %q", err, out, page)
		}
		if before, err := parser.TextToMetricFamilies(bytes.NewReader(page)); err == nil && !open && dropped == 0 && len(page) < maxLine && len(before) != len(after) {
			t.Fatalf("%d metrics became %d\n%q\nof %q", len(before), len(after), out, page)
		}
	})
}

// An app's page over its budget is cut, at whole histograms, to series that are the
// same at each scrape; those that go make room.
func TestAppBudget(t *testing.T) {
	limit := &admission{max: 50}
	scrape := func(lines ...string) string {
		var out bytes.Buffer
		a := newAppPage(&formatter{w: &out})
		a.room = limit.room()
		if err := copyLines(strings.NewReader(strings.Join(lines, "")), a.line); err != nil {
			t.Fatal(err)
		}
		a.room.end(true)
		return out.String()
	}
	var lines []string
	for i := range 20 {
		lines = append(lines, fmt.Sprintf("h_bucket{i=\"%[1]d\",le=\"1\"} 1\nh_bucket{i=\"%[1]d\",le=\"+Inf\"} 2\nh_sum{i=\"%[1]d\"} 3\nh_count{i=\"%[1]d\"} 2\n", i))
	}
	first := scrape(lines...)
	if n := strings.Count(first, "\n"); n < 50 || n > 53 || n != 4*strings.Count(first, "h_sum") {
		t.Errorf("%d lines of 80", n)
	}
	other := append([]string{"new 1\n"}, lines...)
	if again := scrape(other...); again != first {
		t.Errorf("the series are others:\n%s", again)
	}
	scrape(lines[3:]...) // three are gone
	if got := scrape(append(lines[3:], "new 1\nnewer 2\n")...); strings.Count(got, "\n") > 53 || strings.Count(got, "h_sum") < 11 {
		t.Errorf("room was not used:\n%s", got)
	}
	scrape(lines[:5]...) // whether all fits is known at a page's end
	if got := scrape(lines[:5]...); got != strings.Join(lines[:5], "") {
		t.Errorf("within the budget:\n%s", got)
	}
}

// A redirect to the app's own port is followed, for some libraries have one to
// /metrics/, and no other is.
func TestRedirects(t *testing.T) {
	asked := false
	elsewhere := part(t, func(w http.ResponseWriter, _ *http.Request) { asked = true; _, _ = io.WriteString(w, "stolen 1\n") })
	var own string
	own = part(t, func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/metrics":
			http.Redirect(w, r, "/metrics/", http.StatusTemporaryRedirect)
		case "/metrics/":
			_, _ = io.WriteString(w, "mine 1\n")
		case "/away":
			http.Redirect(w, r, elsewhere, http.StatusFound)
		case "/scheme":
			http.Redirect(w, r, strings.Replace(own, "http:", "https:", 1), http.StatusFound)
		default:
			http.Redirect(w, r, "/loop"+r.URL.Path, http.StatusFound)
		}
	})
	for path, want := range map[string]string{"/metrics": "mine 1\n", "/away": "", "/scheme": "", "/loop": ""} {
		_, body := scrape(t, Options{App: own + path})
		if failed := strings.Contains(body, `istio_agent_scrape_failures_total{type="application"} 1`); failed != (want == "") || !strings.Contains(body, want) || strings.Contains(body, "stolen") {
			t.Errorf("%s: %s", path, body)
		}
	}
	if asked {
		t.Error("another address was asked")
	}
}

// An app that does not answer, or never ends, costs neither the rest of the page nor
// more than the scraper's time.
func TestAppsThatHang(t *testing.T) {
	for name, start := range map[string]string{"at once": "", "half way": "whole 1\nhal"} {
		t.Run(name, func(t *testing.T) {
			envoy := part(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "good 1\n") })
			app := part(t, func(w http.ResponseWriter, r *http.Request) {
				if start != "" {
					_, _ = io.WriteString(w, start)
					_ = http.NewResponseController(w).Flush()
				}
				<-r.Context().Done()
			})
			r := newReader(t, http.NotFoundHandler(), 0)
			r.page.envoy, r.page.app = envoy, app
			w, request := httptest.NewRecorder(), httptest.NewRequestWithContext(context.Background(), http.MethodGet, "/", nil)
			request.Header.Set("X-Prometheus-Scrape-Timeout-Seconds", "0.5")
			r.page.ServeHTTP(w, request)
			body := w.Body.String()
			if w.Code != http.StatusOK || !strings.Contains(body, "good 1\n") || strings.Contains(body, "hal\n") || start != "" && !strings.HasSuffix(body, "whole 1\n") {
				t.Errorf("%d\n%s", w.Code, body)
			}
		})
	}
}

// TestHostileLabels: whatever text is in a label, in Envoy's part as in the app's,
// comes out as it was; and a line that is too long costs itself alone.
func TestHostileLabels(t *testing.T) {
	values := map[string]string{
		"quote": `a"b\c`, "newline": "a\nb", "unicode": "häß 日本 \u202e\x00", "long": strings.Repeat("ä", 5_000), "braces": `},le="1"} 9 # {`, "empty": "=\"\"", "cr": "a\rb",
	}
	escape := strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
	var lines strings.Builder
	for key, v := range values {
		fmt.Fprintf(&lines, "NAME{key=%q,value=\"%s\"} 1\n", key, escape.Replace(v))
	}
	long := "NAME{key=\"" + strings.Repeat("x", maxLine) + "\"} 1\n"
	serve := func(name string) string {
		return part(t, func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.ReplaceAll(long+lines.String()+"NAME{key=\"last\",value=\"\xff\"} 1\n", "NAME", name))
		})
	}
	r := newReader(t, http.NotFoundHandler(), 0)
	r.page.envoy, r.page.app = serve("envoy_istio_x"), serve("mine")
	r.page.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil)) // so that counters have counted
	w := httptest.NewRecorder()
	r.page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/", nil))
	body := w.Body.String()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for name, n := range map[string]int{"istio_x": len(values) + 1, "mine": len(values)} { // an app's line that is no UTF-8 is left out
		if len(families[name].GetMetric()) != n {
			t.Errorf("%s has %d series", name, len(families[name].GetMetric()))
		}
		for _, m := range families[name].GetMetric() {
			l := map[string]string{}
			for _, pair := range m.GetLabel() {
				l[pair.GetName()] = pair.GetValue()
			}
			if want, there := values[l["key"]]; there && l["value"] != want {
				t.Errorf("%s: %s is %q", name, l["key"], l["value"])
			}
		}
	}
	for _, of := range []string{"envoy", "application"} {
		if !strings.Contains(body, `istio_agent_scrape_failures_total{type="`+of+`"} 1`) {
			t.Errorf("the long line of %s is not told", of)
		}
	}
}

// FuzzFormats: a page turned into OpenMetrics and back has the same samples, and has
// in between nothing that OpenMetrics has not.
func FuzzFormats(f *testing.F) {
	f.Add([]byte("# HELP a \"x\" \\\\\n# TYPE a counter\na 1 1500\n# TYPE b_total counter\nb_total{c=\"d\"} 2\n# x\n"))
	f.Add([]byte("# TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_count 1\nh_sum 1\n# TYPE u untyped\nu 1 -1\n"))
	f.Fuzz(func(t *testing.T, page []byte) {
		straight, _ := shown(plain, plain, string(page))
		open, _ := shown(plain, openMetrics, string(page))
		back, _ := shown(openMetrics, plain, open)
		if samplesOf(straight) != samplesOf(back) {
			t.Fatalf("%q\nbecame %q\nand %q", straight, open, back)
		}
		body, ended := strings.CutSuffix(open, "# EOF\n")
		for line := range strings.Lines(body) {
			if strings.HasPrefix(line, "#") && !strings.HasPrefix(line, "# HELP ") && !strings.HasPrefix(line, "# TYPE ") || strings.TrimSpace(line) == "" {
				t.Fatalf("%q is no line of OpenMetrics, of %q", line, page)
			}
			if name, found := strings.CutSuffix(line, " counter\n"); found && strings.HasPrefix(line, "# TYPE ") && strings.HasSuffix(name, "_total") && !strings.HasSuffix(name, "_total_total") && strings.Contains(straight, name+" counter") {
				t.Fatalf("a counter of OpenMetrics is named without its end: %q", line)
			}
		}
		if !ended {
			t.Fatalf("no end: %q", open)
		}
	})
}

func samplesOf(page string) (out string) {
	for line := range strings.Lines(page) {
		if s, ok := parseSample([]byte(line)); ok {
			at, _ := strconv.ParseFloat(string(s.time), 64)
			out += fmt.Sprintf("%s%s %s %t %d\n", s.name, s.labels, s.value, s.time == nil, int64(at))
		}
	}
	return out
}

// What is held of a page is bounded by its budget, whatever names it has.
func TestAppBudgetOfNames(t *testing.T) {
	var page strings.Builder
	for i := range 10_000 {
		fmt.Fprintf(&page, "# TYPE c%[1]d gauge\n# HELP d%[1]d x\na%[1]d 1\n", i)
	}
	a, over := newAppPage(&formatter{w: io.Discard}), 0
	a.room = (&admission{max: 50}).room()
	a.drop = func(reason string) {
		if reason == overBudget {
			over++
		}
	}
	if err := copyLines(strings.NewReader(page.String()), a.line); err != nil {
		t.Fatal(err)
	}
	if n := max(len(a.began), len(a.kinds)); n > (commented+2)*50 || over < 29_000 {
		t.Errorf("%d names are held, %d lines left out", n, over)
	}
}
