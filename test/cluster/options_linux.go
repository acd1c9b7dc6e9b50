package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// Options say which cluster to bring up. The zero value is one node and a name
// of its own.
type Options struct {
	// Name tells clusters of one machine apart: lower case letters, digits and -,
	// at most 30. Empty is one that nobody else has.
	Name string
	// Nodes is how many run pods, 1 to 3; 0 is 1. The control plane runs on a
	// machine of its own, so that any node can be killed.
	Nodes int
	// ProxyMode is kube-proxy's: nftables (the default) or iptables.
	ProxyMode string
	// LostAfter is how long after a node's last word the node counts as lost; 0
	// is Kubernetes' own 50 s.
	LostAfter time.Duration
	// Images are archives to load into every node, as LoadImages does.
	Images []string
	// Detached leaves the cluster running when this process ends; Down ends it.
	Detached bool
	// Progress gets one line for each step; nil is silence.
	Progress func(line string)
}

// Addresses of a cluster. It is alone in its network, so every cluster has the
// same.
var (
	lan      = netip.MustParsePrefix("10.89.0.0/24")
	lanHost  = netip.MustParseAddr("10.89.0.1")  // the switch, where clients outside of the cluster run
	control  = netip.MustParseAddr("10.89.0.10") // the control plane
	services = netip.MustParsePrefix("10.96.0.0/16")
	dns      = netip.MustParseAddr("10.96.0.10")
	pods     = netip.MustParsePrefix("10.244.0.0/16")
)

// Outside is the address of machine "outside": on the LAN, no node, with routes
// to the pods, and nothing runs there.
var Outside = netip.MustParseAddr("10.89.0.200")

// apiPort is the API server's on the control plane's machine.
const apiPort = "6443"

// nodeName, nodeAddress and podRange are those of node n, from 1.
func nodeName(n int) string { return fmt.Sprintf("node%d", n) }

func nodeAddress(n int) netip.Addr { return netip.AddrFrom4([4]byte{10, 89, 0, byte(10 + n)}) }

func podRange(n int) netip.Prefix {
	return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 244, byte(n), 0}), 24)
}

// maxNodes is as many as two cores carry.
const maxNodes = 3

var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?$`)

// fill puts defaults in place of zero values, and refuses what cannot be.
func (o Options) fill() (Options, error) {
	if o.Nodes == 0 {
		o.Nodes = 1
	}
	if o.ProxyMode == "" {
		o.ProxyMode = "nftables"
	}
	if o.LostAfter == 0 {
		o.LostAfter = 50 * time.Second
	}
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	if o.Name == "" {
		o.Name = fmt.Sprintf("t%d-%d", os.Getpid(), serial.Add(1))
	}
	switch {
	case o.Nodes < 1 || o.Nodes > maxNodes:
		return o, fmt.Errorf("cluster %s: %d nodes: want 1 to %d", o.Name, o.Nodes, maxNodes)
	case o.ProxyMode != "nftables" && o.ProxyMode != "iptables":
		return o, fmt.Errorf("cluster %s: proxy mode %q: want nftables or iptables", o.Name, o.ProxyMode)
	case !validName.MatchString(o.Name):
		return o, fmt.Errorf("cluster name %q: want 1 to 30 lower case letters, digits and -", o.Name)
	}
	return o, nil
}

// Dir is the folder of the cluster of that name, whether there is one or not.
func Dir(name string) (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("no place for a cluster (%w): set HOME or XDG_CACHE_HOME", err)
	}
	for _, hidden := range []string{"/var/lib/", "/var/log/", "/run/"} {
		if strings.HasPrefix(base, hidden) {
			return "", fmt.Errorf("%s is hidden in a cluster's machines: set XDG_CACHE_HOME to a folder elsewhere", base)
		}
	}
	return filepath.Join(base, "weft", "clusters", name), nil
}

// Missing says why this machine or user cannot run nodes; nil if they can. (An
// API server alone needs none of it.)
func Missing() error {
	if os.Geteuid() != 0 {
		return errors.New("a node needs root: its namespaces, cgroups and containers do")
	}
	var absent []string
	for _, program := range []string{"containerd", "ctr", "runc", "nft", "iptables"} {
		if _, err := exec.LookPath(program); err != nil {
			absent = append(absent, program)
		}
	}
	if len(absent) > 0 {
		return fmt.Errorf("a node needs %s: on Debian, apt-get install containerd runc nftables iptables", strings.Join(absent, ", "))
	}
	return nil
}

// freePorts gives n ports of the loopback interface that nobody has.
func freePorts(n int) ([]string, error) {
	ports := make([]string, 0, n)
	for range n {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer func() { _ = listener.Close() }() // at the end, so that no two are the same
		_, port, err := net.SplitHostPort(listener.Addr().String())
		if err != nil {
			return nil, err
		}
		ports = append(ports, port)
	}
	return ports, nil
}
