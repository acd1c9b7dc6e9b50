// Package dashboard tests the page of `weft dashboard` in a real Chromium,
// against a server that tells of meshes that are made up: each page with
// traffic, an empty mesh, a lost connection, 200 services, hostile names, by
// keyboard alone, dark and on a phone, with axe-core's checks. With -update it
// makes the pictures of docs/images.
//
// In: web.Assets, the types of internal/dashboard. Imports: those, chromedp.
package dashboard

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
)

var update = flag.Bool("update", false, "make the pictures of docs/images anew")

// patience is how long a condition may take: generous, for a loaded machine.
const patience = time.Minute

// browser is one Chromium for all tests; each has a tab with storage of its own.
var browser context.Context

func TestMain(m *testing.M) {
	flag.Parse()
	end := func() {}
	if path := chromium(); path != "" {
		options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
			chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("force-color-profile", "srgb"), chromedp.Flag("font-render-hinting", "none"))
		allocator, stop := chromedp.NewExecAllocator(context.Background(), options...)
		var cancel func()
		browser, cancel = chromedp.NewContext(allocator)
		end = func() { cancel(); stop() }
		if err := chromedp.Do(browser, chromedp.Navigate("about:blank")); err != nil {
			fmt.Fprintln(os.Stderr, "start of", path, "failed:", err)
			browser = nil
		}
	}
	code := m.Run()
	end()
	os.Exit(code)
}

func chromium() string {
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// require skips where there is no Chromium; in CI it fails.
func require(t *testing.T) {
	t.Helper()
	switch {
	case browser != nil:
	case os.Getenv("CI") != "":
		t.Fatal("no Chromium that starts: apt-get install chromium")
	default:
		t.Skip("no Chromium that starts: apt-get install chromium")
	}
}

// look is how a tab looks.
type look struct {
	width, height int64
	dark, phone   bool
}

var (
	desk      = look{width: 1360, height: 860}
	deskDark  = look{width: 1360, height: 860, dark: true}
	phone     = look{width: 360, height: 740, phone: true}
	phoneDark = look{width: 360, height: 740, phone: true, dark: true}
)

// tab is a page that is open.
type tab struct {
	t      *testing.T
	ctx    context.Context
	server *server

	mu       sync.Mutex
	wrong    []string // on the console
	requests []string // other than to the server
	lost     bool     // failed requests are meant
}

// open opens a page of the dashboard: route is what follows #.
func open(t *testing.T, s *server, l look, route string) *tab {
	t.Helper()
	require(t)
	tb := &tab{t: t, server: s}
	ctx, cancel := chromedp.NewContext(browser, chromedp.WithNewBrowserContext(), chromedp.WithListener(tb.hear))
	t.Cleanup(cancel)
	tb.ctx = ctx
	if err := chromedp.Do(ctx, chromedp.Navigate("about:blank")); err != nil { // the first may have no time-out
		t.Fatal(err)
	}
	tell(tb, log.Enable, cdp.Empty{})
	tell(tb, network.Enable, network.EnableParams{})
	tell(tb, emulation.SetDeviceMetricsOverride, emulation.SetDeviceMetricsOverrideParams{Width: l.width, Height: l.height, DeviceScaleFactor: 1, Mobile: l.phone})
	tell(tb, emulation.SetTouchEmulationEnabled, emulation.SetTouchEmulationEnabledParams{Enabled: l.phone})
	tell(tb, emulation.SetTimezoneOverride, emulation.SetTimezoneOverrideParams{TimezoneID: "UTC"})
	tell(tb, emulation.SetFocusEmulationEnabled, emulation.SetFocusEmulationEnabledParams{Enabled: true})
	tb.scheme(map[bool]string{true: "dark", false: "light"}[l.dark])
	tb.do(chromedp.Navigate(s.URL + "/#token=" + cmp.Or(s.token, token)))
	tb.wait(`document.querySelector("main h1, main .none")`)
	tb.goTo(route)
	return tb
}

// scheme is what the system prefers: light or dark.
func (tb *tab) scheme(s string) {
	tb.t.Helper()
	tell(tb, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: s}}})
}

// tell sends a command of the protocol to the tab.
func tell[P, R any](tb *tab, command cdp.Command[P, R], parameters P) R {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	answer, err := chromedp.Call(ctx, command, parameters)
	if err != nil {
		tb.t.Fatal(err)
	}
	return answer
}

// eval is what a JavaScript expression gives.
func eval[T any](tb *tab, expression string) T {
	tb.t.Helper()
	value, err := try[T](tb, expression)
	if err != nil {
		tb.t.Fatalf("%.300s: %v", expression, err)
	}
	return value
}

func try[T any](tb *tab, expression string) (T, error) {
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	return chromedp.Run(ctx, chromedp.Evaluate[T](expression, chromedp.EvalAwaitPromise))
}

func (tb *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	tb.t.Helper()
	ctx, cancel := context.WithTimeout(tb.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, actions...); err != nil {
		tb.t.Fatal(err)
	}
}

// goTo opens another page of it.
func (tb *tab) goTo(route string) {
	tb.t.Helper()
	eval[bool](tb, fmt.Sprintf("(location.hash = %s, true)", quote("#"+route)))
	tb.wait(`document.querySelector("main")?.dataset.place === location.hash.replace(/\?.*/, "")`) // it is drawn
	tb.wait(`document.querySelector("main h1") && !/^Asking|^Reading/.test(document.querySelector("main .none")?.textContent ?? "")`)
}

// wait waits until a JavaScript expression holds. It asks from here: the page's
// policy lets nobody make code of text inside of it.
func (tb *tab) wait(condition string) {
	tb.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); ; <-tick.C {
		held, err := try[bool](tb, "!!("+condition+")") // it fails while a page loads
		if held && err == nil {
			return
		}
		if time.Now().After(end) {
			tb.t.Fatalf("it never held that %s (%v); the page says:\n%.2000s", condition, err, tb.text("body"))
		}
	}
}

// text is what a person reads in it.
func (tb *tab) text(selector string) string {
	tb.t.Helper()
	return eval[string](tb, fmt.Sprintf("document.querySelector(%s)?.innerText ?? ''", quote(selector)))
}

// has fails where a text does not come on the page.
func (tb *tab) has(words ...string) {
	tb.t.Helper()
	for _, w := range words {
		tb.wait(fmt.Sprintf("document.body.innerText.includes(%s)", quote(w)))
	}
}

// press presses a key as a person does: what a letter writes is the key's own
// doing, which the page may prevent.
func (tb *tab) press(key string) {
	tb.t.Helper()
	if len(key) > 1 || key < " " || key > "~" {
		tb.do(chromedp.KeyEvent(key))
		return
	}
	tell(tb, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyDown, Key: key, Text: key})
	tell(tb, input.DispatchKeyEvent, input.DispatchKeyEventParams{Type: input.DispatchKeyEventTypeKeyUp, Key: key})
}

// drawn says that each chart has a line and not only its frame.
const drawn = `[...document.querySelectorAll(".plot")].every((plot) => {
	const c = plot.querySelector("canvas");
	return c && c.width > 0 && c.getContext("2d").getImageData(0, 0, c.width, c.height).data.some((v) => v > 0);
})`

func (tb *tab) picture() []byte {
	tb.t.Helper()
	tb.wait(drawn)
	return tell(tb, page.CaptureScreenshot, page.CaptureScreenshotParams{}).Data
}

// quote writes a text as JavaScript does.
func quote(s string) string {
	out, err := json.Marshal(s)
	if err != nil {
		panic(err) // of no string
	}
	return string(out)
}

// hear collects what should not be: errors, and requests to anybody else.
func (tb *tab) hear(event any) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	switch e := event.(type) {
	case *runtime.EventExceptionThrown:
		tb.wrong = append(tb.wrong, fmt.Sprint(e.ExceptionDetails.Text, " ", e.ExceptionDetails.Exception))
	case *runtime.EventConsoleAPICalled:
		if e.Type == runtime.ConsoleAPICalledTypeError || e.Type == runtime.ConsoleAPICalledTypeWarning {
			tb.wrong = append(tb.wrong, fmt.Sprint(e.Type))
			for _, a := range e.Args {
				tb.wrong = append(tb.wrong, fmt.Sprintf("%s %s", a.Value, a.Description))
			}
		}
	case *log.EventEntryAdded:
		if !tb.lost || e.Entry.Source != log.EntrySourceNetwork {
			tb.wrong = append(tb.wrong, fmt.Sprintf("%s: %s %s", e.Entry.Level, e.Entry.Text, e.Entry.URL))
		}
	case *network.EventRequestWillBeSent:
		if url := e.Request.URL; !strings.HasPrefix(url, tb.server.URL+"/") && !strings.HasPrefix(url, "data:") {
			tb.requests = append(tb.requests, url)
		}
	}
}

// clean fails where the console has an error, or another origin was asked.
func (tb *tab) clean() {
	tb.t.Helper()
	tb.mu.Lock()
	defer tb.mu.Unlock()
	for _, w := range tb.wrong {
		tb.t.Errorf("on the console: %s", w)
	}
	for _, r := range tb.requests {
		tb.t.Errorf("a request to another origin: %s", r)
	}
}
