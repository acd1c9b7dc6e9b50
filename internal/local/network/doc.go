// Package network is the private, routed network of a local mesh: one bridge in
// the mesh's own network namespace, which routes between pods, and in each pod
// one interface with addresses of its own (/32 and /128).
//
// Nothing here touches the network of the host, and no way leads out of the
// mesh: packets to elsewhere are refused at once, inside the pod.
//
// Inputs: pids of pods and addresses. Outputs: interfaces, routes and nftables
// rules in the namespaces of the calling thread and of that pid, all of which
// vanish with their namespace. It may import netlink and nftables libraries and
// nothing else of the project.
package network
