package pod

import (
	"net/netip"
	"syscall"
	"time"

	"github.com/weftmesh/weft/internal/capture"
)

// Spec is what a pod is started from. The zero value is not a pod: Name,
// Namespace and Addresses are needed.
type Spec struct {
	Name      string
	Namespace string
	UID       string
	// Hostname is what uname tells; empty means Name.
	Hostname string
	// Addresses of eth0, IPv4 first, as local.Mesh.NewAddresses gives them.
	Addresses []netip.Addr
	// Processes are started in this order.
	Processes []Process
	// Hosts are lines of /etc/hosts beside localhost and the pod's own name.
	Hosts []HostEntry
	// DNS becomes /etc/resolv.conf.
	DNS DNS
	// Capture redirects the pod's connections to its proxy. Nil: no proxy, no
	// capture. Its field Proxy is filled in by the mesh.
	Capture *capture.Options
	// Files are written before the first process starts, into the run directory
	// (local.Mesh.RunDir), which exists in the memory of this pod only.
	Files []File
	// Programs are bound, read-only, to bin/NAME of the run directory, so that a
	// process may run them whatever the folders above them allow its user.
	Programs []Program
	// Private is a directory of the run directory that belongs to the user of the
	// apps alone. Empty: none.
	Private string
	// Shared names directories made by local.Mesh.SharedDir that the pod also
	// sees, at the same path; the others are hidden from it.
	Shared []string
}

// HostEntry is one line of /etc/hosts.
type HostEntry struct {
	IP    netip.Addr
	Names []string
}

// DNS is the content of /etc/resolv.conf. Zero: no nameserver.
type DNS struct {
	Nameservers []netip.Addr
	Search      []string
	Options     []string // such as "ndots:5"
}

// File is one file of the run directory.
type File struct {
	Path string // relative to the run directory
	Data []byte
	// ProxyOnly makes it readable (0400) by the proxy's user alone. When the
	// mesh runs without root the app has that same user.
	ProxyOnly bool
	// AppOnly makes it readable (0400) by the user of the apps alone.
	AppOnly bool
}

// Program is an executable file of the machine.
type Program struct {
	Name string // plain, without slash
	Path string // absolute
}

// Process is one program of a pod, as a container is in a cluster.
type Process struct {
	Name string
	// Argv: an Argv[0] without slash is looked up in the PATH of Env.
	Argv []string
	// Env is the whole environment, KEY=VALUE; nothing is inherited.
	Env []string
	// Dir is the working directory. Empty: "/".
	Dir string
	// Proxy lets the process's connections pass capture. With root it runs as
	// user 1337 without capabilities; without root as user 0 of the pod's user
	// namespace, and must mark its sockets (local.Mesh.ProxyMark).
	// Its orphans live on: Envoy survives its agent and is adopted again.
	Proxy bool
	// Listen are ADDR:PORT that the pod opens, UDP and TCP in turns, for as long as
	// it lives: each start of the process gets them from descriptor 3 on. What comes
	// while the process is dead waits for the next.
	Listen []string
	// User the app runs as; nil means the user who started the mesh. Without
	// root only that one is possible. A user 0 has the rights of user 0 in a
	// container, and none over the network and mounts of the pod.
	User *User
	// Hold keeps the process from starting with the pod: Pod.Release starts it.
	Hold    bool
	Restart Restart
	Stop    Stop
	// LogBytes is the size of the log that is kept in memory. 0 means 256 KiB.
	LogBytes int
}

// User is who a process runs as.
type User struct {
	UID, GID uint32
	Groups   []uint32
}

// Policy tells when a process that ended is started again.
type Policy string

// The policies are those of a Kubernetes pod; the zero value is Always.
const (
	Always    Policy = "Always"
	OnFailure Policy = "OnFailure"
	Never     Policy = "Never"
)

// Restart is the policy and the waiting time, which doubles from Min to Max
// and falls back to Min after the process ran for Reset.
// Zero durations mean 200 ms, 30 s and 10 s.
type Restart struct {
	Policy Policy
	Min    time.Duration
	Max    time.Duration
	Reset  time.Duration
}

// Stop orders the end of a pod. Processes of the lowest Order get Signal
// first; those of the next Order when all of the former have ended, so that an
// app keeps its way out (the proxy has a higher Order than the app).
type Stop struct {
	Order int
	// Signal ends the process. 0 means SIGTERM.
	Signal syscall.Signal
	// Notice, if not 0, is sent when the stop begins, whatever the Order: the
	// proxy may drain while the apps still end.
	Notice syscall.Signal
}

// EventKind is what happened to a process.
type EventKind string

// The kinds of events.
const (
	Started EventKind = "Started" // PID is set
	Exited  EventKind = "Exited"  // Code or Signal is set
	BackOff EventKind = "BackOff" // will be started again after Delay
	Failed  EventKind = "Failed"  // could not be started: Error says why; BackOff may follow
)

// Event is one change of one process, in the order of occurrence.
type Event struct {
	Process  string
	Kind     EventKind
	Time     time.Time
	PID      int            `json:",omitempty"` // as seen inside the pod
	Code     int            `json:",omitempty"` // exit status
	Signal   syscall.Signal `json:",omitempty"` // not 0: it was killed by this signal
	Restarts int            `json:",omitempty"` // how many times it was started again so far
	Delay    time.Duration  `json:",omitempty"`
	Error    string         `json:",omitempty"`
}

// Status is where one process stands, made from its events.
type Status struct {
	Process  string
	Running  bool
	PID      int
	Restarts int
	// Last is the latest Exited or Failed event; its zero value means none yet.
	Last Event
	// Since is when the process started or ended.
	Since time.Time
}

// ExecRequest is a command to run inside a pod.
type ExecRequest struct {
	Argv []string
	// Env is added to, and wins over, the environment of process As.
	Env []string
	// Dir is the working directory. Empty: that of process As.
	Dir string
	// As names the process whose user, environment and directory the command
	// takes. Empty: the first that is not the proxy.
	As string
	// TTY makes the terminal behind Stdio[0] the command's controlling one.
	TTY bool
}

// Exit tells how a command ended; its zero value is success.
// A shell's convention for a signal is 128 + its number.
type Exit struct {
	Code   int
	Signal syscall.Signal
}
