package dashboard

import (
	"context"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/weftmesh/weft/internal/dashboard"
	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/web"
)

// The page and the server that weft dashboard has are of one mind: the address
// that the browser is opened with is of use once, and the figures are those that
// were counted.
func TestWithItsServer(t *testing.T) {
	pod := figures.Pod{Namespace: "shop", Name: "cart-1", Workload: "cart", Proxy: true}
	flow := figures.Flow{
		Reporter: figures.FromDestination, Code: "200", Protocol: "http", Service: "cart", ServiceNamespace: "shop", Security: "mutual_tls",
		Source: figures.End{Workload: "till", Namespace: "shop"}, Destination: figures.End{Workload: "cart", Namespace: "shop"},
	}
	begin := time.Now()
	look := func(context.Context) (dashboard.Look, error) { // 25 requests in each second
		now := time.Now()
		return dashboard.Look{
			At: now, Pods: []figures.Pod{pod}, Inventory: []dashboard.Pod{{Namespace: "shop", Name: "cart-1", Workload: "cart", Proxy: "sidecar", Ready: true}},
			Samples: figures.Samples{"shop/cart-1": {Pod: pod, At: now, Flows: map[figures.Flow]figures.Counts{flow: {Requests: 25 * now.Sub(begin).Seconds()}}}},
		}, nil
	}
	d := dashboard.New(dashboard.Options{
		Mesh: dashboard.Mesh{Name: "real", Local: true}, Look: look, Assets: web.Assets(), Token: token, Once: "first-time",
		Config: func(context.Context) (dashboard.Config, error) { return dashboard.Config{}, nil },
		Object: func(context.Context, string, string, string) ([]byte, bool, error) { return nil, false, nil },
	})
	go d.Run(t.Context())
	s := httptest.NewServer(d.Handler())
	t.Cleanup(s.Close)
	tb := open(t, &server{Server: s}, desk, "/")
	tb.do(chromedp.Navigate("about:blank"), chromedp.Navigate(s.URL+"/#token="+token))
	tb.has("real", "till", "25/s", "Who calls whom")
	eval[bool](tb, "(sessionStorage.clear(), true)")
	tb.do(chromedp.Navigate("about:blank"), chromedp.Navigate(s.URL+"/#once=first-time"))
	tb.has("25/s")
	if address := eval[string](tb, "location.href"); address != s.URL+"/#/" {
		t.Errorf("the address keeps the code: %s", address)
	}
	tb.clean()
	tb.mu.Lock()
	tb.lost = true // 401 is on the console
	tb.mu.Unlock()
	eval[bool](tb, "(sessionStorage.clear(), true)")
	tb.do(chromedp.Navigate("about:blank"), chromedp.Navigate(s.URL+"/#once=first-time"))
	tb.has("This page needs its token")
}
