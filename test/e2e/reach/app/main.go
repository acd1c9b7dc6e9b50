// Command app is what the tests of this folder run in pods and on the LAN: a
// server that says whom it sees (HTTP on port 8080, and on port 9000 a protocol
// in which the server speaks first), and its clients. Input: a subcommand and
// its arguments; output: JSON or lines on the standard output. It imports the
// standard library alone.
package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
)

// Seen is what the server tells its client.
type Seen struct {
	Pod     string
	Remote  string // address of the connection's other end, without port
	Headers http.Header
}

// Spread is what the client saw of many requests.
type Spread struct {
	Failed  int
	Error   string         // of the last one that failed
	Remotes map[string]int // answers by Seen.Remote
	Clients map[string]int // answers by X-Forwarded-For
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 1 && args[0] == "serve":
		return serve()
	case len(args) >= 2 && args[0] == "get":
		return get(args[1], args[2:])
	case len(args) == 2 && args[0] == "greet":
		return greet(args[1])
	case len(args) >= 3 && args[0] == "spread":
		return spread(args[1], args[2:])
	}
	return errors.New("want serve, get URL [NAME=VALUE...], greet HOST:PORT, or spread REQUESTS URL")
}

func serve() error {
	name, err := os.Hostname()
	if err != nil {
		return err
	}
	l, err := net.Listen("tcp", ":9000")
	if err != nil {
		return err
	}
	go func() { _ = speakFirst(l, name) }()
	server := &http.Server{Addr: ":8080", ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		_ = json.NewEncoder(w).Encode(Seen{Pod: name, Remote: host, Headers: r.Header})
	})}
	return server.ListenAndServe()
}

// speakFirst greets each client before it says anything, as SMTP and MySQL do,
// and then repeats its lines.
func speakFirst(l net.Listener, name string) error {
	for {
		conn, err := l.Accept()
		if err != nil {
			return err
		}
		go func() {
			defer func() { _ = conn.Close() }()
			_, _ = fmt.Fprintf(conn, "220 %s\n", name)
			lines := bufio.NewScanner(conn)
			for lines.Scan() {
				_, _ = fmt.Fprintf(conn, "250 %s\n", lines.Text())
			}
		}()
	}
}

// client makes a connection for each request.
func client() *http.Client {
	return &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
}

func ask(url string, headers []string) (seen Seen, err error) {
	req, err := http.NewRequest(http.MethodGet, url, nil)
	if err != nil {
		return seen, err
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, "=")
		if req.Header.Set(name, value); name == "Host" {
			req.Host = value
		}
	}
	resp, err := client().Do(req)
	if err != nil {
		return seen, err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return seen, err
	}
	if resp.StatusCode != http.StatusOK {
		return seen, fmt.Errorf("%s: %s %s", url, resp.Status, body)
	}
	return seen, json.Unmarshal(body, &seen)
}

func get(url string, headers []string) error {
	seen, err := ask(url, headers)
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(seen)
}

// spread sends requests one after another, to each URL in turn.
func spread(requests string, urls []string) error {
	n, err := strconv.Atoi(requests)
	if err != nil {
		return err
	}
	out := Spread{Remotes: map[string]int{}, Clients: map[string]int{}}
	for i := range n {
		seen, err := ask(urls[i%len(urls)], nil)
		if err != nil {
			out.Failed, out.Error = out.Failed+1, err.Error()
			continue
		}
		out.Remotes[seen.Remote]++
		out.Clients[seen.Headers.Get("X-Forwarded-For")]++
	}
	return json.NewEncoder(os.Stdout).Encode(out)
}

// greet waits for the server's word, says one of its own, and prints both
// answers.
func greet(address string) error {
	conn, err := net.DialTimeout("tcp", address, 3*time.Second)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	start := time.Now()
	if err := conn.SetDeadline(start.Add(3 * time.Second)); err != nil {
		return err
	}
	in := bufio.NewReader(conn)
	greeting, err := in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("no greeting from %s: %w", address, err)
	}
	waited := time.Since(start)
	if _, err := fmt.Fprintln(conn, "HELO"); err != nil {
		return err
	}
	answer, err := in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("no answer from %s: %w", address, err)
	}
	fmt.Printf("%s%s%d ms\n", greeting, answer, waited.Milliseconds())
	return nil
}
