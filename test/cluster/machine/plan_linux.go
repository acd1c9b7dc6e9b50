package machine

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
)

// Plan is a whole cluster. It is a file in the cluster's folder.
type Plan struct {
	// Name tells this cluster from others on the host.
	Name string
	// Dir is the cluster's folder, absolute.
	Dir string
	// Owned says that the cluster ends when the keeper's standard input does.
	Owned bool
	// Machines are started in this order. With none the keeper itself runs
	// Programs, in the host's namespaces.
	Machines []Machine
	Programs []Program
}

// Machine is one computer of the cluster.
type Machine struct {
	Name string
	// Dir is its folder: its own /var/lib and /var/log are there.
	Dir string
	// Address is its own, with the length of the LAN's prefix. Switch says that it
	// is the LAN's bridge, on which the others hang.
	Address netip.Prefix
	Switch  bool
	// Gateway is where packets to elsewhere go; none if not valid.
	Gateway netip.Addr
	Routes  []Route
	// Relay is a door for the host; nil is none.
	Relay    *Relay
	Programs []Program
}

// Route leads to a prefix by way of a neighbour.
type Route struct {
	To  netip.Prefix
	Via netip.Addr
}

// Relay forwards TCP connections from a port of the host's loopback interface
// to an address that the machine reaches. The keeper opens the port.
type Relay struct {
	// Listen is the address on the host: 127.0.0.1:PORT.
	Listen string
	// To is HOST:PORT as the machine sees it.
	To string
}

// Program is one process that a machine keeps running: it is started again when
// it ends by itself.
type Program struct {
	Name string
	Argv []string
	Env  []string
	// Wait are conditions that must hold before each start: tcp://HOST:PORT and
	// unix:///PATH accept connections, https://URL answers 200.
	Wait []string
	// Log is the file that its output is added to.
	Log string
}

// Cgroup is the machine's path below each cgroup hierarchy.
func (p Plan) Cgroup(m Machine) string { return filepath.Join(p.cgroups(), m.Name) }

func (p Plan) cgroups() string { return "weft-cluster-" + p.Name }

// Socket is where the keeper takes requests.
func (p Plan) Socket() string { return filepath.Join(p.Dir, "keeper.sock") }

// Socket is where the machine's first process takes requests.
func (m Machine) Socket() string { return m.Dir + ".sock" }

// planFile is the Plan in the cluster's folder.
const planFile = "plan.json"

// Write puts the plan into its folder.
func (p Plan) Write() error {
	content, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(p.Dir, planFile), content, 0o600)
}

// Read gets the plan of a cluster's folder.
func Read(dir string) (Plan, error) {
	var p Plan
	content, err := os.ReadFile(filepath.Join(dir, planFile))
	if err == nil {
		err = json.Unmarshal(content, &p)
	}
	if err != nil {
		return Plan{}, fmt.Errorf("cluster folder %s: %w", dir, err)
	}
	return p, nil
}

// machine finds one by name.
func (p Plan) machine(name string) (Machine, error) {
	for _, m := range p.Machines {
		if m.Name == name {
			return m, nil
		}
	}
	return Machine{}, fmt.Errorf("cluster %s has no machine %s", p.Name, name)
}
