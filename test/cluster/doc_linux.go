// Package cluster brings up a real Kubernetes for tests, on one machine, in
// seconds: etcd, API server, controller manager, scheduler, and one to three
// nodes with kubelet, containerd, runc, kube-proxy and CoreDNS. It needs no
// registry, no daemon and no way out of the machine.
//
// Input: Options. Output: a Cluster (nodes, needs root) or an API (API server
// alone, needs no root), with a kubeconfig that works anywhere on the machine,
// since the API server is reached through a port of 127.0.0.1. Programs come
// from pinned Go modules (package binaries); containerd and runc are the
// distribution's. Everything lives in namespaces, one cgroup and one folder
// (package machine), and ends with the test, however that ends. It may import
// client-go and internal/image, and of the mesh nothing: it is there to test it
// from outside.
package cluster
