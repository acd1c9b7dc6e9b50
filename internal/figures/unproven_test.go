package figures

import (
	"strings"
	"testing"
	"time"
)

// unprovenLine is front's count of calls to a back that proved nothing.
func unprovenLine(rest string, value any) string {
	text := line(FromSource, "front>back", rest, value)
	return strings.Replace(text, `destination_principal="spiffe://td/ns/shop/sa/back"`, `destination_principal="unknown"`, 1)
}

// A caller with a sidecar that calls in plaintext is counted at both ends, and
// its server does not know it: it counts once, beside callers without a sidecar.
func TestPlaintextCountsOnce(t *testing.T) {
	at, plain := time.Unix(1000, 0), strings.ReplaceAll(ok, "mutual_tls", "none")
	client := strings.ReplaceAll(ok, "mutual_tls", Unknown)
	refused := strings.NewReplacer("200", "503", `response_flags="-"`, `response_flags="UF,URX"`).Replace(client)
	tcp := strings.ReplaceAll(client, "http", "")
	opened := func(text string) string { return strings.Replace(text, requestsTotal, tcpOpened, 1) }
	front := read(t, "front", at,
		unprovenLine(client, 6), unprovenLine(refused, 5),
		line(FromSource, "front>back", client, 4), opened(unprovenLine(tcp, 2)))
	for name, c := range map[string]struct{ stranger, requests float64 }{
		"only callers with a sidecar": {6, 15}, "three calls of others": {9, 18}, "the server lags": {5, 15}, "it has no sidecar": {0, 15},
	} {
		server := []string{line(FromDestination, "front>back", ok, 4)}
		if c.stranger > 0 {
			server = append(server, line(FromDestination, "unknown>back", plain, c.stranger),
				opened(line(FromDestination, "unknown>back", strings.ReplaceAll(plain, "http", ""), 2)))
		}
		all := []Delta{All(front), All(read(t, "back", at, server...))}
		if r := find(t, Rows(Services, nil, all), "back"); r.Requests != c.requests || r.Failed != 5 || r.Connections != 2 || *r.MutualTLS != 4/(c.requests-5+2) {
			t.Errorf("%s: %+v, mutual TLS %v", name, r, *r.MutualTLS)
		}
		if rows := Rows(Routes, nil, all); len(rows) != 1 || *rows[0].Share != 1 || rows[0].Requests != c.requests {
			t.Errorf("%s: routes %+v", name, rows)
		}
	}
}

// The server's word is of what it was asked; of the rest it is the caller's.
func TestEdgesOfCallsThatDidNotArrive(t *testing.T) {
	at, client := time.Unix(1000, 0), strings.ReplaceAll(ok, "mutual_tls", Unknown)
	back := read(t, "back", at, line(FromDestination, "front>back", ok, 8))
	for _, flag := range []string{"UF", "UF,URX", "UH", "UO", "NR", "NC"} {
		refused := strings.NewReplacer("200", "503", `response_flags="-"`, `response_flags="`+flag+`"`).Replace(client)
		front := read(t, "front", at, line(FromSource, "front>back", client, 8), unprovenLine(refused, 3))
		edges := Edges([]Delta{All(front), All(back)})
		if len(edges) != 2 || edges[0].By != ByServer && edges[1].By != ByServer {
			t.Fatalf("%s: %+v", flag, edges)
		}
		for _, e := range edges {
			if want := map[string][2]float64{ByServer: {8, 0}, ByClients: {3, 3}}[e.By]; e.Requests != want[0] || e.Failed != want[1] || (e.MutualTLS == nil) != (e.By == ByClients) {
				t.Errorf("%s: %+v", flag, e)
			}
		}
	}
	gone := strings.Replace(client, `response_flags="-"`, `response_flags="DC"`, 1)
	if edges := Edges([]Delta{All(read(t, "front", at, line(FromSource, "front>back", gone, 3))), All(back)}); len(edges) != 1 || edges[0].By != ByServer {
		t.Errorf("who went away had arrived: %+v", edges)
	}
}
