// Package pod runs one pod of the local mesh: processes in network, mount,
// pid, UTS and IPC namespaces of their own, with captured connections.
//
// Input: a Spec. Output: a Pod, whose processes are started, watched, restarted,
// signalled and stopped by pod-init, pid 1 of the pod, which is this same binary
// started again (Main). When the one that started the pod dies, the kernel ends
// pod-init and everything in the pod.
//
// It may import the other packages of internal/local but not internal/local
// itself, and nothing of the control plane.
package pod
