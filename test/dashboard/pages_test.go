package dashboard

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/figures"
)

// TestPages opens each page with traffic: what it must say, and that the browser
// has nothing to say about it.
func TestPages(t *testing.T) {
	s := serve(t, bookshop(), "")
	tb := open(t, s, desk, "/")
	if url := eval[string](tb, "location.href"); strings.Contains(url, token) {
		t.Errorf("the token stays in the address: %s", url)
	}
	for name, words := range map[string][]string{
		"graph":     {"local mesh bookshop", "1 ejected", "1 limit met", "1 unanswered", "10:30:00", "48.2/s", "99.7%", "22.1 kB/s", "19% of reviews", "no proxy", "unknown callers", "payments.example.com", "cluster.local/ns/default/sa/frontend"},
		"workloads": {"reviews-v2", "97.2%", "58 ms", "sidecar", "legacy", "35%"},
		"services":  {"details", "50.8", "postgres"},
		"pods":      {"ratings-b", "proxyless", "15 h", "control plane", "no proxy"},
		"workload":  {"frontend in default", "49.1", "19 ms / 58 ms / 104 ms", "Who calls it", "Whom it calls", "frontend-b", "Limits met", "The last hour", "unknown callers"},
		"service":   {"as Prometheus has it", "Where its calls go", "Who calls it by its name", "Who calls its workloads, by any name", "81%", "reviews-v2"},
		"pod":       {"10.244.7.11", "ratings-b", "Prometheus is not to be had.", "does not answer within 2s"},
		"canaries":  {"80%", "as wanted", "differs from what is wanted", "78% – 83%", "Wilson", "212 ms"},
		"objects":   {"IST0101", "spec.http[0].route[1].destination.subset", "name one that it has: v1, v2", "pending", "live on 0 of 1", "no proxy needs it", "mesh/ratings.yaml:3"},
		"object":    {"kind: VirtualService", "weight: 20", "Nothing is wrong with it"},
		"ejected":   {"ratings-b", "10:28:25 (1 min 35 s)", "for gateway errors in a row", "52 of 1\u202f840 requests failed", "Limits that were met", "pending requests of 16", "2\u202f310", "10:26:40 (3 min 20 s)", "connectionPool.http.http1MaxPendingRequests", "subset v1", "not now"},
	} {
		t.Run(name, func(t *testing.T) {
			tb.t = t
			tb.goTo(pages[name])
			tb.has(words...)
		})
	}
	tb.t = t
	tb.clean()
}

// TestGraphsEdges: an edge of the drawing itself has rate, success and latency, and a
// padlock of how many of its calls are by mutual TLS; the table beside it has the same.
func TestGraphsEdges(t *testing.T) {
	tb := open(t, serve(t, bookshop(), ""), desk, "/")
	for lock, words := range map[string]string{
		".lock.good": `["48.2/s", "99.7%", "58 ms"]`,
		".lock.poor": `["1.7/s", "100%", " ms", "35%"]`,
	} {
		tb.wait(fmt.Sprintf(`[...document.querySelectorAll(".graph svg .label")].some((l) => {
			const text = [...l.querySelectorAll("text")].map((x) => x.textContent).join(" ");
			return %s.every((w) => text.includes(w)) && l.querySelector(%q) })`, words, lock))
	}
	tb.wait(`[...document.querySelectorAll(".graph svg .label .rate")].some((l) => l.textContent.includes("93"))`)
	tb.clean()
}

// TestFirstPoint: the first point of a chart is seen, at its right end.
func TestFirstPoint(t *testing.T) {
	tb := open(t, serve(t, bookshop(), ""), desk, "/service/default/fresh")
	tb.wait(`document.querySelectorAll(".chart canvas").length === 4`)
	tb.wait(`(() => {
		const c = document.querySelector(".chart canvas"), ink = [15, 95, 107];
		const d = c.getContext("2d").getImageData(c.width * 0.9, 0, c.width * 0.1, c.height).data;
		for (let i = 0; i < d.length; i += 4) if (ink.every((v, n) => Math.abs(v - d[i + n]) < 8) && d[i + 3] > 200) return true;
		return false })()`)
	tb.clean()
}

func TestEmptyMesh(t *testing.T) {
	s := serve(t, made(nil, nil), "")
	tb := open(t, s, desk, "/")
	tb.has("No workload runs in this mesh yet", "weft up samples/bookshop")
	for _, route := range pages {
		tb.goTo(route)
	}
	m := made(nil, nil)
	m.now.Mesh.Local, m.now.At, m.now.Seconds = false, time.Time{}, 0
	s.mesh.Store(&m)
	tb.goTo("/workloads")
	tb.has("istio-injection=enabled", "nothing was counted yet", "first look…")
	idle := made(pods("default/a", "v1", "sidecar", 1), nil)
	s.mesh.Store(&idle)
	tb.goTo("/")
	tb.has("Nobody called anybody in this time.")
	tb.clean()
}

// TestToken: without it the page says what to do, and asks for nothing more.
func TestToken(t *testing.T) {
	s := serve(t, bookshop(), "")
	tb := open(t, s, desk, "/")
	tb.mu.Lock()
	tb.lost = true // 401 is on the console
	tb.mu.Unlock()
	eval[bool](tb, "(sessionStorage.setItem('weft-token', 'wrong'), true)")
	tb.has("This page needs its token", "weft dashboard")
	eval[bool](tb, "(sessionStorage.clear(), true)")
	tb.do(chromedp.Navigate(s.URL + "/"))
	tb.has("This page needs its token")
	// The same tab, so that the browser loads nothing by itself.
	eval[bool](tb, "(location.hash = "+quote("#token="+token)+", true)")
	tb.has("Who calls whom")
	for _, want := range []string{"Who calls whom", "This page needs its token"} { // the second has nothing of it
		eval[bool](tb, "(sessionStorage.clear(), true)")
		tb.do(chromedp.Navigate("about:blank"), chromedp.Navigate(s.URL+"/#once="+once))
		tb.has(want)
		if url := eval[string](tb, "location.href"); strings.Contains(url, once) {
			t.Errorf("it stays in the address: %s", url)
		}
	}
	tb.clean()
}

func TestLostConnection(t *testing.T) {
	s := serve(t, bookshop(), "")
	tb := open(t, s, desk, "/")
	tb.mu.Lock()
	tb.lost = true
	tb.mu.Unlock()
	address := s.Listener.Addr().String()
	s.stop()
	tb.has("Connection lost.", "The figures are of 10:30:00.", "48.2/s")
	again := serve(t, bookshop(), address)
	tb.wait(`!document.querySelector(".banner")`)
	m := bookshop()
	m.now.Failed, m.config.Failed = "the API server does not answer", ""
	again.mesh.Store(&m)
	tb.has("The newest look failed.", "the API server does not answer")
	tb.clean()
}

// TestPolls: the page asks again by itself, and for another time at once.
func TestPolls(t *testing.T) {
	s := serve(t, bookshop(), "")
	tb := open(t, s, desk, "/")
	wait := func(more int64) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for from, end := s.asked.Load(), time.Now().Add(patience); s.asked.Load() < from+more; <-tick.C {
			if time.Now().After(end) {
				t.Fatalf("asked %d times more, want %d", s.asked.Load()-from, more)
			}
		}
	}
	wait(2)
	m := bookshop()
	m.now.Mesh.Name = "renamed"
	s.mesh.Store(&m)
	tb.has("local mesh renamed")
	for _, choice := range []string{"3600", "10", "60"} {
		eval[bool](tb, fmt.Sprintf(`(() => { const s = [...document.querySelectorAll("select")].at(-1); s.value = %s; return s.dispatchEvent(new Event("change", { bubbles: true })) })()`, quote(choice)))
		wait(1)
		tb.wait("true")
		for end := time.Now().Add(patience); s.window.Load() != choice; wait(1) {
			if time.Now().After(end) {
				t.Fatalf("it asks for %v, want %s", s.window.Load(), choice)
			}
		}
	}
	tb.clean()
}

// TestLargeMesh: 200 services are drawn in good time, and can be moved about.
func TestLargeMesh(t *testing.T) {
	m := large(200)
	s := serve(t, m, "")
	start := time.Now()
	tb := open(t, s, desk, "/")
	tb.wait(fmt.Sprintf(`document.querySelectorAll(".node").length === 200 && document.querySelectorAll(".edge").length === %d`, len(m.now.Edges)))
	t.Logf("with a browser of its own it took %v", time.Since(start))
	// As the page measures it, and the best of some: the machine may stall.
	best := eval[float64](tb, `(async () => {
		let best = Infinity
		for (let i = 0; i < 5; i++) {
			for (const page of ["#/pods", "#/"]) {
				const start = performance.now()
				location.hash = page
				while (document.querySelectorAll(page === "#/" ? ".node" : "tbody tr").length < 200) await new Promise(requestAnimationFrame)
				if (page === "#/") best = Math.min(best, performance.now() - start)
			}
		}
		return best
	})()`)
	if t.Logf("the graph is drawn in %.0f ms", best); best > 3000 {
		t.Errorf("the graph is drawn in %.0f ms", best)
	}
	view := `document.querySelector(".frame svg > g").getAttribute("transform")`
	before := eval[string](tb, view)
	tb.do(chromedp.Focus(chromedp.CSS(".frame")), chromedp.KeyEvent(kb.ArrowRight), chromedp.KeyEvent("+"))
	tb.wait(view + " !== " + quote(before))
	moved := eval[string](tb, view)
	asked := s.asked.Load()
	tb.do(chromedp.KeyEvent("0"))
	tb.wait(view + " !== " + quote(moved))
	overview := eval[string](tb, view)
	tb.eventually("it asks again", func() bool { return s.asked.Load() >= asked+2 })
	if after := eval[string](tb, view); after != overview {
		t.Errorf("new figures moved the graph from %s to %s", overview, after)
	}
	eval[bool](tb, "(scrollTo(0, document.body.scrollHeight), true)")
	tb.wait("scrollY > 500")
	tb.goTo("/?find=service-150")
	tb.wait(`document.querySelectorAll(".node:not(.dim)").length === 1`)
	tb.wait(`(() => { const n = document.querySelector(".node:not(.dim)").getBoundingClientRect(), f = document.querySelector(".frame").getBoundingClientRect(); return n.left >= f.left && n.right <= f.right && n.top >= f.top && n.bottom <= f.bottom })()`)
	for _, kind := range []string{"workloads", "pods", "services"} {
		tb.goTo("/" + kind + "?find=")
		tb.wait(`document.querySelectorAll("tbody tr").length >= 190`)
	}
	tb.clean()
}

// evil are names that somebody may have made to deceive, or to break the page.
var evil = []string{
	`<img src=x onerror="document.title='owned'">`, `"'><script>document.title='owned'</script>`, "a\u202egnp.exe", "tab\tnew\nline\x00nul", "{{7*7}}${7*7}", "__proto__", "constructor",
	strings.Repeat("long", 2500), "../../etc/passwd?x=1#y%zz", "javascript:document.title='owned'", "日本語-ünï-😀",
}

func hostile() mesh {
	m := bookshop()
	rate, share := 3.0, 0.5
	f := figures.Figures{Requests: 180, RequestRate: &rate, SuccessRate: &share, Received: math.MaxFloat64}
	for i, name := range evil {
		next := evil[(i+1)%len(evil)]
		m.now.Edges = append(m.now.Edges, figures.Edge{
			From: figures.Node{Namespace: name, Workload: name, Identity: name}, To: figures.Node{Namespace: next, Workload: next, Identity: next}, By: name, Figures: f,
		})
		row := figures.Row{Namespace: name, Name: name, To: name, Version: name, Share: &share, By: name, Figures: f}
		m.now.Workloads, m.now.Pods = append(m.now.Workloads, row), append(m.now.Pods, row)
		m.now.Services, m.now.Routes = append(m.now.Services, row), append(m.now.Routes, row)
		p := m.now.Inventory[0]
		p.Namespace, p.Name, p.Workload, p.App, p.Version, p.Phase, p.Proxy, p.Synced, p.Address = name, name, name, name, name, name, name, name, name
		m.now.Inventory = append(m.now.Inventory, p)
		m.now.Missing = append(m.now.Missing, name)
		e := m.now.Ejected[0]
		e.Pod, e.Service, e.Address, e.Subset, e.Port = name, name, name, name, name
		m.now.Ejected = append(m.now.Ejected, e)
		o := m.config.Objects[0]
		o.Kind, o.Namespace, o.Name, o.Programmed = name, name, name, name
		o.Findings = []diag.Diagnostic{{Code: name, Path: name, Message: name, Cure: name, Object: diag.Object{Kind: name, Name: name, File: name}}}
		m.config.Objects = append(m.config.Objects, o)
		split := m.config.Splits[0]
		split.Namespace, split.Name, split.Hosts, split.Gateways, split.Route, split.Protocol = name, name, []string{name}, []string{name}, name, name
		split.Destinations = append(split.Destinations[:0:0], split.Destinations...)
		split.Destinations[0].Service, split.Destinations[0].Subset, split.Destinations[0].Workloads = name, name, []string{name}
		m.config.Splits = append(m.config.Splits, split)
	}
	m.now.Mesh.Name, m.now.Failed, m.config.Failed = evil[0], evil[1], evil[2]
	return m
}

func TestHostileNames(t *testing.T) {
	m := hostile()
	for _, name := range evil {
		m.objects[name+"/"+name+"/"+name] = name
	}
	tb := open(t, serve(t, m, ""), desk, "/")
	routes := []string{"/nowhere", "/workload", "/object/x", "/%zz"}
	for _, route := range pages {
		routes = append(routes, route)
	}
	for _, name := range evil[:len(evil)-1] {
		part := eval[string](tb, "encodeURIComponent("+quote(name)+")")
		for _, kind := range []string{"workload", "service", "pod"} {
			routes = append(routes, fmt.Sprintf("/%s/%s/%s", kind, part, part))
		}
		routes = append(routes, fmt.Sprintf("/object/%s/%s/%s", part, part, part))
	}
	for _, route := range routes {
		tb.goTo(route)
		if eval[bool](tb, `!!document.querySelector("main img, main script, iframe") || document.title.startsWith("owned") || /[\u202a-\u202e]/.test(document.body.innerText)`) {
			t.Errorf("%.100q: a name became markup, or turns text around", route)
		}
		if wide := eval[float64](tb, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
			t.Errorf("%.100q: wider than the window by %v", route, wide)
		}
		if bad := eval[string](tb, `[...document.querySelectorAll("a[href]")].map((a) => a.protocol).find((p) => !p.startsWith("http")) ?? ""`); bad != "" {
			t.Errorf("%.100q: a link of %s", route, bad)
		}
	}
	tb.goTo("/workloads")
	tb.has(evil[0], `a\u202egnp.exe`, evil[len(evil)-1])
	// A link of a name leads to the page of that name.
	tb.wait(`[...document.querySelectorAll("main tbody a")].filter((a) => a.textContent.includes("etc/passwd")).length > 0`)
	eval[bool](tb, `([...document.querySelectorAll("main tbody a")].find((a) => a.textContent.includes("etc/passwd")).click(), true)`)
	tb.wait(`document.querySelector("main h1")?.textContent.includes("../../etc/passwd?x=1#y%zz")`)
	tb.clean()
}

// TestKeyboard walks from the skip link to a workload, sorts, and opens and
// closes the help, with no pointer.
func TestKeyboard(t *testing.T) {
	tb := open(t, serve(t, bookshop(), ""), desk, "/workloads")
	focused := func(want string) {
		t.Helper()
		tb.wait("document.activeElement?.textContent?.startsWith(" + quote(want) + ")")
	}
	press := func(keys ...string) {
		t.Helper()
		for _, k := range keys {
			tb.press(k)
		}
	}
	tb.do(chromedp.Reload()) // and the token is kept
	tb.wait(`document.querySelectorAll("tbody tr").length > 5`)
	press(kb.Tab)
	focused("Skip to the page")
	outline := eval[string](tb, "getComputedStyle(document.activeElement).outlineStyle")
	if outline == "none" {
		t.Error("the focus cannot be seen")
	}
	press(kb.Enter)
	tb.wait(`document.activeElement === document.querySelector("main")`)
	press("?")
	tb.wait(`document.getElementById("help").open`)
	press(kb.Escape)
	tb.wait(`!document.getElementById("help").open`)
	press("/")
	tb.wait(`document.activeElement.id === "find"`)
	press("r", "e", "v")
	tb.wait(`document.querySelectorAll("tbody tr").length === 2`)
	tab := func(condition string) {
		t.Helper()
		for range 60 {
			press(kb.Tab)
			if eval[bool](tb, condition) {
				return
			}
		}
		t.Fatalf("Tab never came to where %s", condition)
	}
	tab(`document.activeElement.textContent.startsWith("Req/s")`)
	press(kb.Enter)
	tb.wait(`document.activeElement.closest("th").ariaSort === "descending" && document.querySelector("tbody tr th").textContent === "reviews-v1"`)
	press(kb.Enter)
	tb.wait(`document.activeElement.closest("th").ariaSort === "ascending" && document.querySelector("tbody tr th").textContent === "reviews-v2"`)
	tab(`document.activeElement.textContent === "reviews-v1"`)
	press(kb.Enter)
	tb.wait(`document.activeElement === document.querySelector("h1") && document.activeElement.textContent.startsWith("reviews-v1")`)
	if title := eval[string](tb, "document.title"); !strings.HasPrefix(title, "reviews-v1") {
		t.Errorf("the title is %q", title)
	}
	tb.clean()
}

// TestAccessibility has axe-core look at each page, in light, dark and on a
// phone: no violation of serious impact, and no page wider than its window.
func TestAccessibility(t *testing.T) {
	axe, err := os.ReadFile("../../web/node_modules/axe-core/axe.min.js")
	switch {
	case err == nil:
	case os.Getenv("CI") != "":
		t.Fatal("make web-test installs axe-core: ", err)
	default:
		t.Skip("make web-test installs axe-core: ", err)
	}
	s := serve(t, bookshop(), "")
	empty := serve(t, made(nil, nil), "")
	for name, l := range map[string]look{"light": desk, "dark": deskDark, "phone": phone, "phone-dark": phoneDark} {
		t.Run(name, func(t *testing.T) {
			for _, s := range []*server{s, empty} {
				tb := open(t, s, l, "/")
				eval[bool](tb, string(axe)+"; true")
				for page, route := range pages {
					tb.goTo(route)
					tb.violations(page)
					if wide := eval[float64](tb, "document.documentElement.scrollWidth - innerWidth"); wide > 0 {
						t.Errorf("%s: wider than the window by %v", page, wide)
					}
				}
				tb.clean()
			}
		})
	}
}

func (tb *tab) violations(page string) {
	tb.t.Helper()
	var found []struct {
		ID, Impact, Help string
		Nodes            []struct{ HTML, FailureSummary string }
	}
	result := eval[string](tb, `axe.run(document, { resultTypes: ["violations"] }).then((r) => JSON.stringify(r.violations))`)
	if err := json.Unmarshal([]byte(result), &found); err != nil {
		tb.t.Fatal(err)
	}
	for _, v := range found {
		for _, n := range v.Nodes[:min(3, len(v.Nodes))] {
			said := fmt.Sprintf("%s: %s (%s): %s\n%.300s\n%s", page, v.ID, v.Impact, v.Help, n.HTML, n.FailureSummary)
			if v.Impact == "serious" || v.Impact == "critical" {
				tb.t.Error(said)
			} else {
				tb.t.Log(said)
			}
		}
	}
}

// TestDark: the ground is as the system wants it, also after it changed its mind.
func TestDark(t *testing.T) {
	s := serve(t, bookshop(), "")
	light := `getComputedStyle(document.documentElement).backgroundColor.match(/\d+/g).map(Number).reduce((a, b) => a + b) / 3`
	tb := open(t, s, deskDark, "/workload/default/frontend")
	tb.wait(`document.querySelectorAll(".chart canvas").length === 4`)
	tb.wait(light + " < 80")
	eval[bool](tb, `!!(document.querySelector(".chart canvas").dataset.old = "yes")`)
	tb.scheme("light")
	tb.wait(light + " > 200")
	tb.wait(`document.querySelectorAll(".chart canvas").length === 4 && !document.querySelector(".chart canvas").dataset.old`) // drawn anew
	tb.clean()
}
