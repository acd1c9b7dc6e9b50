// Package machine runs the machines of a test cluster: each is a set of
// namespaces (mounts, network, names, IPC, processes, cgroups) whose first
// process starts and watches its programs. All hang on one bridge in a network
// namespace without a way out.
//
// A keeper process, one a cluster, starts the machines and holds their lives:
// when it dies, the kernel kills each machine's first process and so all in it.
// Nothing of the host is changed but a cgroup per machine and the cluster's
// folder; both go with the cluster.
//
// Inputs: a Plan, requests at Unix sockets in the cluster's folder. Outputs:
// processes and their logs. It knows nothing of Kubernetes, and may import
// netlink and golang.org/x/sys beside the standard library.
package machine
