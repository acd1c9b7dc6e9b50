package controller

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"syscall"
	"testing"
)

// A failed probe's reason says what happened, without pod and address again.
func TestCause(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	other := errors.New("malformed HTTP response")
	for _, c := range []struct {
		err  error
		want string
	}{
		{&url.Error{Op: "Get", URL: "http://10.244.0.8/", Err: fmt.Errorf("pod default/a: %w", refused)}, "connection refused"},
		{&url.Error{Op: "Get", URL: "http://10.244.0.8/", Err: context.DeadlineExceeded}, "no answer in time"},
		{other, other.Error()},
	} {
		if got := cause(c.err); got.Error() != c.want {
			t.Errorf("%v: %v, want %s", c.err, got, c.want)
		}
	}
}

// What cannot run is a trouble until it runs or is not wanted any more.
func TestProblemsEndWithTheirWorkload(t *testing.T) {
	c := &Controller{problem: map[string]string{}, hopeless: map[string]string{}}
	w := &workload{namespace: "default", name: "web", replicas: 1, hash: "a"}
	c.setProblem(w, "container web: it has no command")
	c.forgetProblems(map[string]*workload{w.key(): w})
	if got := c.troubles(pilotState{}).Problems; len(got) != 1 {
		t.Fatalf("problems %v, want one", got)
	}
	c.hopeless[w.key()] = w.hash
	c.reconcileWorkload(t.Context(), w) // it cannot be started: nothing is there to do it
	if got := c.troubles(pilotState{}).Problems; len(got) != 1 {
		t.Errorf("problems %v, though nothing has changed", got)
	}
	rewritten := &workload{namespace: "default", name: "web", replicas: 1, hash: "b"}
	c.forgetProblems(map[string]*workload{w.key(): rewritten})
	if len(c.hopeless) != 0 {
		t.Error("it is not tried again though it was rewritten")
	}
	c.setProblem(rewritten, "")
	if got := c.troubles(pilotState{}).Problems; len(got) != 0 {
		t.Errorf("problems %v of what runs", got)
	}
	c.setProblem(w, "container web: it has no command")
	c.forgetProblems(map[string]*workload{})
	if got := c.troubles(pilotState{}).Problems; len(got) != 0 {
		t.Errorf("problems %v of what is not wanted", got)
	}
}
