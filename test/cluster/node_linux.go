package cluster

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sync/errgroup"

	"github.com/weftmesh/weft/test/cluster/machine"
)

// Node is one machine that runs pods.
type Node struct {
	cluster *Cluster
	number  int
}

// Node gives number n, from 1.
func (c *Cluster) Node(n int) Node { return Node{cluster: c, number: n} }

// Nodes is how many the cluster was started with.
func (c *Cluster) Nodes() int { return c.nodes }

// Name is the node's in Kubernetes: node1, node2...
func (n Node) Name() string { return nodeName(n.number) }

// Address is the node's on the LAN.
func (n Node) Address() netip.Addr { return nodeAddress(n.number) }

// Exec runs a program on the node, in all its namespaces, and gives what it
// wrote. The error of one that fails holds its output.
func (n Node) Exec(ctx context.Context, argv ...string) (string, error) {
	return n.cluster.run(ctx, n.Name(), argv)
}

// Kill ends the node as a power failure would: all its processes at once, with
// its network, mounts and cgroups. Nobody is told, neither Kubernetes nor those
// who have connections to it.
func (n Node) Kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), pollTime)
	defer cancel()
	// The kernel ends the connections of processes that die: that must not get out.
	_, err := n.Exec(ctx, "nft", "add table inet dead; add chain inet dead out { type filter hook postrouting priority -400; policy drop; }")
	if err != nil {
		return err
	}
	_, err = machine.Ask(n.cluster.plan.Socket(), machine.Request{Operation: machine.Stop, Name: n.Name()})
	return err
}

// Start brings a killed node up again, with its images and volumes.
func (n Node) Start() error {
	_, err := machine.Ask(n.cluster.plan.Socket(), machine.Request{Operation: machine.Start, Name: n.Name()})
	return err
}

// StopProgram kills a program of the node and keeps it from being started:
// kubelet, containerd or kube-proxy.
func (n Node) StopProgram(name string) error { return n.program(machine.Stop, name) }

// StartProgram starts it again.
func (n Node) StartProgram(name string) error { return n.program(machine.Start, name) }

func (n Node) program(operation, name string) error {
	m := n.cluster.plan.Machines[1+n.number] // after the LAN and the control plane
	_, err := machine.Ask(m.Socket(), machine.Request{Operation: operation, Name: name})
	return err
}

// Client runs a program on the LAN, outside of the cluster, at 10.89.0.1: it
// reaches nodes, NodePorts and addresses that nodes answer ARP for.
func (c *Cluster) Client(ctx context.Context, argv ...string) (string, error) {
	return c.run(ctx, "lan", argv)
}

// Inside lets cmd run in the namespaces of a machine when it is started: "lan",
// "control", "outside", or a node's name. It dies with the machine.
func (c *Cluster) Inside(name string, cmd *exec.Cmd) error {
	resp, err := machine.Ask(c.plan.Socket(), machine.Request{Operation: machine.Ping})
	if err != nil {
		return err
	}
	pid := resp.Pids[name]
	if pid == 0 {
		return fmt.Errorf("cluster %s: machine %s does not run", c.plan.Name, name)
	}
	// A process of its own changes namespaces: here it would be a thread's.
	cmd.Path, cmd.Err = layout{dir: c.plan.Dir}.daemon(), nil
	cmd.Args = append([]string{cmd.Path, "enter", strconv.Itoa(pid)}, cmd.Args...)
	return nil
}

func (c *Cluster) run(ctx context.Context, name string, argv []string) (string, error) {
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := c.Inside(name, cmd); err != nil {
		return "", err
	}
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %s: %w\n%s", name, strings.Join(argv, " "), err, out.String())
	}
	return out.String(), nil
}

// LoadImages puts images into every node's container runtime. Each is the path
// of an archive as `make images` or `docker save` writes it.
func (c *Cluster) LoadImages(ctx context.Context, archives ...string) error {
	archives = slices.Clone(archives)
	for i, archive := range archives {
		absolute, err := filepath.Abs(archive) // a machine has its own working directory
		if err != nil {
			return err
		}
		archives[i] = absolute
	}
	group, ctx := errgroup.WithContext(ctx)
	for n := 1; n <= c.nodes; n++ {
		group.Go(func() error {
			for _, archive := range archives {
				if err := c.Node(n).load(ctx, archive); err != nil {
					return err
				}
			}
			return nil
		})
	}
	return group.Wait()
}

func (n Node) load(ctx context.Context, archive string) error {
	err := poll(ctx, "containerd of "+n.Name(), func(ctx context.Context) error {
		_, err := n.Exec(ctx, "ctr", "-a", containerdSocket, "version")
		return err
	})
	if err != nil {
		return err
	}
	_, err = n.Exec(ctx, "ctr", "-a", containerdSocket, "-n", "k8s.io", "images", "import", "--snapshotter", "overlayfs", archive)
	return err
}
