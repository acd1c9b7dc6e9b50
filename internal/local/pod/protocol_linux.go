package pod

import (
	"net/netip"
	"syscall"
	"time"
)

// The messages between meshd (commands) and pod-init (reports), in JSON over
// package wire.

// op is what meshd asks of pod-init.
type op string

const (
	opStart   op = "start"   // Config; files: one for each process's output
	opRelease op = "release" // Process
	opRestart op = "restart" // Process, Grace
	opSignal  op = "signal"  // Process, or Target: an exec's ID; Signal
	opExec    op = "exec"    // Exec; files: stdin, stdout, stderr
	opStop    op = "stop"    // Grace; answered when all processes have ended
)

type command struct {
	ID      int // of this command, for its answer
	Op      op
	Config  *config        `json:",omitempty"`
	Process string         `json:",omitempty"`
	Target  int            `json:",omitempty"`
	Signal  syscall.Signal `json:",omitempty"`
	Grace   time.Duration  `json:",omitempty"`
	Exec    *ExecRequest   `json:",omitempty"`
}

// report is an event, or the answer to command Re.
type report struct {
	Re    int    `json:",omitempty"`
	Error string `json:",omitempty"`
	// Code is a shell's for a program, of Error, that could not be started.
	Code  int    `json:",omitempty"`
	Exit  *Exit  `json:",omitempty"`
	Event *Event `json:",omitempty"`
}

// config is what pod-init builds the pod from.
type config struct {
	Spec     Spec
	Identity Identity
	// MeshDir is the mesh's memory file system, RunDir the pod's part of it.
	MeshDir string
	RunDir  string
}

// Identity tells under which users the mesh runs processes.
type Identity struct {
	// Rootless: the mesh is in a user namespace that maps one user, the one
	// who started it, to 0.
	Rootless bool
	// Default is who an app without User runs as; rootless, the only one.
	Default User
}

// hostsOf are the addresses and names the pod's own line of /etc/hosts has.
func (s Spec) hostsOf() (entries []HostEntry) {
	for _, a := range s.Addresses {
		entries = append(entries, HostEntry{IP: a, Names: []string{s.hostname()}})
	}
	local := []HostEntry{
		{IP: netip.MustParseAddr("127.0.0.1"), Names: []string{"localhost"}},
		{IP: netip.IPv6Loopback(), Names: []string{"localhost", "ip6-localhost", "ip6-loopback"}},
	}
	return append(append(local, entries...), s.Hosts...)
}

func (s Spec) hostname() string {
	if s.Hostname != "" {
		return s.Hostname
	}
	return s.Name
}
