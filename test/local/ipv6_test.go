package local

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/weftmesh/weft/samples/bookshop/shop"
)

// askVariable makes this binary ask a DNS question, "NAME TYPE", and print what
// came: a pod of the mesh runs it.
const askVariable = "WEFT_TEST_ASK"

func TestMain(m *testing.M) {
	if question := os.Getenv(askVariable); question != "" {
		if err := ask(question); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(streamsVariable) != "" {
		fmt.Fprintln(os.Stderr, serveStreams())
		os.Exit(1)
	}
	if line := os.Getenv(streamVariable); line != "" {
		if err := openStream(line); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	if os.Getenv(serveVariable) != "" {
		fmt.Fprintln(os.Stderr, serveProtocols())
		os.Exit(1)
	}
	if line := os.Getenv(callVariable); line != "" {
		answer, err := call(line)
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(answer)
		return
	}
	os.Exit(m.Run())
}

// ask prints "RCODE ADDRESS..." on one line.
func ask(question string) error {
	name, kind, _ := strings.Cut(question, " ")
	conf, err := dns.ClientConfigFromFile("/etc/resolv.conf")
	if err != nil {
		return err
	}
	q := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.StringToType[kind])
	for _, server := range conf.Servers {
		if strings.Contains(server, ":") {
			server = "[" + server + "]"
		}
		// The agent has what it answers at hand.
		client := dns.Client{Timeout: time.Second}
		m, _, err := client.Exchange(q, server+":"+conf.Port)
		if err != nil {
			return fmt.Errorf("ask %s: %w", server, err)
		}
		line := dns.RcodeToString[m.Rcode]
		for _, rr := range m.Answer {
			switch rr := rr.(type) {
			case *dns.A:
				line += " " + rr.A.String()
			case *dns.AAAA:
				line += " " + rr.AAAA.String()
			}
		}
		fmt.Println(line)
	}
	return nil
}

// Names answer at once for both families, at the servers of both, and calls go
// by both with mTLS.
func TestIPv6(t *testing.T) {
	families := 2
	if _, err := os.Stat("/proc/net/if_inet6"); err != nil {
		families = 1 // pods have IPv4 alone, and what is of IPv6 has no address
	}
	dir := folder(t)
	text, err := os.ReadFile("testdata/ipv6.yaml")
	if err != nil {
		t.Fatal(err)
	}
	save(t, filepath.Join(dir, "ipv6.yaml"), string(text))
	m := up(t, dir)
	for _, c := range []struct {
		name, kind string
		want       string // beginning of each address; empty: none, but the name is there
		count      int
	}{
		{"details", "A", "10.96.", 1}, {"details", "AAAA", "", 0},
		{"six", "A", "", 0}, {"six", "AAAA", "fd00:10:96:", 1},
		{"both", "A", "10.96.", 1}, {"both", "AAAA", "fd00:10:96:", 1},
		{"heads", "A", "10.244.", 2}, {"heads", "AAAA", "fd00:10:244:", 2},
	} {
		if families == 1 && c.kind == "AAAA" {
			c.count = 0
		}
		out, err := m.inPod(t, "front", "/usr/bin/env", askVariable+"="+c.name+".default.svc.cluster.local "+c.kind, self(t))
		servers := strings.Split(strings.TrimSpace(out), "\n")
		if err != nil || len(servers) != families { // one of each
			t.Errorf("%s %s: %v: %s", c.name, c.kind, err, out)
		}
		for _, line := range servers {
			words := strings.Fields(line)
			if len(words) != c.count+1 || words[0] != "NOERROR" {
				t.Errorf("%s %s: answer %q, want NOERROR and %d addresses", c.name, c.kind, line, c.count)
				continue
			}
			for _, word := range words[1:] {
				if !strings.HasPrefix(word, c.want) {
					t.Errorf("%s %s: address %s, want %s…", c.name, c.kind, word, c.want)
				}
			}
		}
	}
	for _, call := range [][]string{{"-6", "http://six/"}, {"-4", "http://both/"}, {"-6", "http://both/"}, {"-6", "http://both:90/"}, {"-6", "http://heads:8080/"}} {
		if families == 1 && call[0] == "-6" {
			continue
		}
		out, err := m.inPod(t, "front", append([]string{"curl", "-sS", "--max-time", "5"}, call...)...)
		var answer shop.Answer
		if json.Unmarshal([]byte(out), &answer) != nil || answer.Service != "details" || !strings.Contains(answer.Peer, "URI=spiffe://cluster.local/ns/default/sa/front") {
			t.Errorf("%v: %v: %s", call, err, out)
		}
	}
}

// self is this binary.
func self(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// inPod runs a command in a pod and gives all that it printed.
func (m *running) inPod(t *testing.T, pod string, command ...string) (string, error) {
	t.Helper()
	return weft(t.Context(), m, append([]string{"exec", "--name", m.Name, pod, "--"}, command...)...)
}
