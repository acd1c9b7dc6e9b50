package local_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/pod"
)

// deadline is generous: it ends a test that hangs, and is never waited for.
const deadline = 60 * time.Second

// scenarios run in meshd, which is this test binary started again. What they
// return is the test's failure.
var scenarios = map[string]func(context.Context, *local.Mesh, json.RawMessage) error{
	"one pod": onePod,
}

// call names a scenario and its input.
type call struct {
	Scenario string
	Input    json.RawMessage
}

func TestMain(m *testing.M) {
	local.Reexec(func(ctx context.Context, mesh *local.Mesh) error {
		var c call
		if err := json.Unmarshal(mesh.Config(), &c); err != nil {
			return err
		}
		return scenarios[c.Scenario](ctx, mesh, c.Input)
	})
	if len(os.Args) > 1 && os.Args[1] == "serve" {
		serve(os.Args[2:])
		return
	}
	os.Exit(m.Run())
}

// serve is the app of these tests: a web server on each address given, that
// says who calls and answers commands about itself.
func serve(addresses []string) {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, "from %s", r.RemoteAddr) })
	failed := make(chan error)
	for _, a := range addresses {
		l, err := net.Listen("tcp", a)
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println("listening on", a)
		go func() { failed <- http.Serve(l, nil) }()
	}
	fmt.Println(<-failed)
}

func runScenario(t *testing.T, name string, input any) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	raw, err := json.Marshal(input)
	if err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(call{Scenario: name, Input: raw})
	if err != nil {
		t.Fatal(err)
	}
	err = local.Run(ctx, local.Options{Name: strings.ToLower(strings.NewReplacer("/", "-", "_", "-").Replace(t.Name())), Config: config})
	if err != nil {
		t.Fatal(err)
	}
}

func self() string {
	exe, err := os.Executable()
	if err != nil {
		panic(err)
	}
	return exe
}

// web is a pod with a web server on port 80, and a process that sleeps.
func web(m *local.Mesh, name string) (pod.Spec, error) {
	addrs, err := m.NewAddresses()
	return pod.Spec{
		Name: name, Namespace: "default", Addresses: addrs,
		Processes: []pod.Process{
			{Name: "web", Argv: []string{self(), "serve", ":80"}},
			{Name: "sleep", Argv: []string{"/bin/sleep", "infinity"}},
		},
	}, err
}

func TestOnePod(t *testing.T) { runScenario(t, "one pod", nil) }

func onePod(ctx context.Context, m *local.Mesh, _ json.RawMessage) error {
	spec, err := web(m, "web-1")
	if err != nil {
		return err
	}
	if err != nil {
		return err
	}
	p, err := m.StartPod(ctx, spec, nil)
	if err != nil {
		return err
	}
	if err := until(ctx, p.Log("web"), "listening on"); err != nil {
		return err
	}
	for _, a := range spec.Addresses {
		body, err := get(ctx, http.DefaultClient, "http://"+net.JoinHostPort(a.String(), "80")+"/")
		if err != nil {
			return err
		}
		fmt.Println(a, body)
	}
	body, err := get(ctx, p.HTTPClient(), "http://127.0.0.1:80/")
	if err != nil || !strings.HasPrefix(body, "from 127.0.0.1") {
		return fmt.Errorf("loopback: %q, %v", body, err)
	}
	exit, out, err := run(ctx, p, "cat /etc/hosts /etc/resolv.conf; hostname; ls -la /proc/1/exe /dev/shm; ps ax; id; cat /proc/self/status | grep Cap; exit 7")
	if err != nil || exit.Code != 7 {
		return fmt.Errorf("exec: %+v %q %v", exit, out, err)
	}
	fmt.Println(out)
	return p.Stop(ctx, time.Second)
}

// run executes a shell command in a pod and gives its output.
func run(ctx context.Context, p *pod.Pod, script string) (pod.Exit, string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return pod.Exit{}, "", err
	}
	defer r.Close()
	var out bytes.Buffer
	read := make(chan error, 1)
	go func() { _, err := io.Copy(&out, r); read <- err }()
	fd := int(w.Fd())
	exit, err := p.Exec(ctx, pod.ExecRequest{Argv: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH")}}, [3]int{0, fd, fd}, nil)
	w.Close()
	return exit, out.String(), errors.Join(err, <-read)
}

// until waits for a word in a log.
func until(ctx context.Context, log *pod.Log, word string) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	var seen []byte
	buf := make([]byte, 4096)
	from := log.Follow(ctx, -1)
	for !bytes.Contains(seen, []byte(word)) {
		n, err := from.Read(buf)
		if seen = append(seen, buf[:n]...); err != nil {
			return fmt.Errorf("log has no %q: %q", word, seen)
		}
	}
	return nil
}

func get(ctx context.Context, c *http.Client, url string) (string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", err
	}
	response, err := c.Do(request)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}
