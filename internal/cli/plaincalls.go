package cli

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"math"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/pilot"
)

// countedAtOnce bounds the proxies that are asked at a time what they have counted.
const countedAtOnce = 8

// counted asks all proxies that are looked at, and says which did answer,
// "namespace/pod": of others nothing is known.
func (from asker) counted(ctx context.Context, w *mtlsStatus, problems io.Writer) (out []pilot.PlainCalls, answered []string, err error) {
	var lock sync.Mutex
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(countedAtOnce)
	for _, p := range from.pods {
		if p.Synced == "" || p.Proxyless || w.from != "" && p.Namespace != w.from {
			continue
		}
		group.Go(func() error {
			text, err := from.page(asking, p, "stats?format=prometheus&filter="+url.QueryEscape(`^weft\.plaintext_`))
			lock.Lock()
			defer lock.Unlock()
			if err != nil {
				fmt.Fprintf(problems, "pod %s/%s: who called it is not known: %v\n", p.Namespace, p.Name, figures.Printable(err.Error(), 500))
				return ctx.Err()
			}
			answered = append(answered, p.Namespace+"/"+p.Name)
			out = append(out, callsOf(p.Namespace, p.Name, text)...)
			return nil
		})
	}
	err = group.Wait()
	return out, answered, err
}

// plainSeries is one series of a proxy's page; a name that is refused by
// Envoy's own rules for labels cannot be in it.
var (
	plainSeries = regexp.MustCompile(`^envoy_weft_plaintext_(calls_total|last_call_timestamp_seconds)\{(.*)\} ([0-9]+)$`)
	plainLabel  = regexp.MustCompile(`([a-z_]+)="([^"]*)"`)
)

// callsOf reads a proxy's page.
func callsOf(namespace, pod string, page []byte) (out []pilot.PlainCalls) {
	at := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(page)); lines.Scan(); {
		m := plainSeries.FindStringSubmatch(strings.TrimSpace(lines.Text()))
		if m == nil {
			continue
		}
		if _, ok := at[m[2]]; !ok {
			by, whole := callsBy(namespace, pod, m[2])
			if !whole {
				continue
			}
			at[m[2]] = len(out)
			out = append(out, by)
		}
		c := &out[at[m[2]]]
		n, err := strconv.ParseUint(m[3], 10, 64)
		switch {
		case err != nil:
		case m[1] == "calls_total":
			c.Calls = n
		case n > 0 && n < math.MaxInt32*4:
			c.Last = time.Unix(int64(n), 0)
		}
	}
	return out
}

// callsBy reads a series' labels, which are whole where they name an address. A
// pod may serve the page itself: nothing is taken but what a proxy would write.
func callsBy(namespace, pod, labels string) (c pilot.PlainCalls, whole bool) {
	c = pilot.PlainCalls{Namespace: namespace, Pod: pod}
	for _, l := range plainLabel.FindAllStringSubmatch(labels, -1) {
		switch l[1] {
		case "source_address":
			if address, err := netip.ParseAddr(l[2]); err == nil && address.Zone() == "" {
				c.Address = address.String()
			}
		case "destination_port":
			if port, err := strconv.ParseUint(l[2], 10, 16); err == nil {
				c.Port = uint32(port)
			}
		case "wire":
			if l[2] == "plaintext" || l[2] == "tls" {
				c.Wire = l[2]
			}
		}
	}
	return c, c.Address != ""
}
