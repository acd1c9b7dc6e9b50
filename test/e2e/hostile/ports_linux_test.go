package hostile

import (
	"maps"
	"net/netip"
	"os"
	"regexp"
	"strconv"
	"strings"
)

// documented are the ports that docs/ports.md has for the pods of a cluster, by
// who listens: true for those that others reach.
func (b *bench) documented() map[string]map[string]bool {
	b.Helper()
	text, err := os.ReadFile("../../../docs/ports.md")
	if err != nil {
		b.Fatal(err)
	}
	port := regexp.MustCompile(`\b(\d{4,5})\b`)
	out := map[string]map[string]bool{}
	for line := range strings.Lines(string(text)) {
		cell := strings.Split(line, "|")
		if len(cell) < 5 {
			continue
		}
		who, where := strings.TrimSpace(cell[1]), cell[2]
		if _, inCluster, ok := strings.Cut(where, "in a cluster "); ok {
			where = inCluster
		}
		if out[who] == nil {
			out[who] = map[string]bool{}
		}
		for _, found := range port.FindAllStringSubmatch(where, -1) {
			out[who][found[1]] = out[who][found[1]] || !strings.Contains(where, "127.0.0.1")
		}
	}
	return out
}

// rows are those of docs/ports.md that hold for a kind of pod.
var rows = map[string][]string{"pilot": {"pilot"}, "ca": {"ca"}, "injector": {"injector"}, "gateway": {"gateway", "proxy"}, "sidecar": {"sidecar", "proxy"}}

// portsDocumented: what is open in the pods is what the document says, no more
// and no less.
func (b *bench) portsDocumented() {
	docs, pods := b.documented(), b.look()
	for _, v := range b.victims() {
		want, open := map[string]bool{}, map[string]bool{}
		for _, who := range rows[v.kind] {
			maps.Copy(want, docs[who])
		}
		for _, at := range pods[string(v.pod.UID)].ports() {
			_, address, _ := strings.Cut(at, " ")
			where, err := netip.ParseAddrPort(address)
			if err != nil {
				b.Fatal(err)
			}
			port := strconv.Itoa(int(where.Port()))
			open[port] = true
			if reached, ok := want[port]; !ok || !reached && !where.Addr().IsLoopback() {
				b.Errorf("%s listens on %s, which docs/ports.md does not say", v.pod.Name, at)
			}
		}
		for port := range want {
			if !open[port] {
				b.Errorf("%s does not listen on %s, which docs/ports.md says", v.pod.Name, port)
			}
		}
	}
}
