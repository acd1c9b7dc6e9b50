// Package local runs a mesh on one Linux machine without a cluster: pods are
// processes in namespaces of their own in a private network, captured as in a
// cluster. It is what lies below the controllers that turn Deployments into pods.
//
// Three processes are this one binary, started again from /proc/self/exe:
//
//	weft up     the supervisor: Run. Stays in the host's namespaces, opens the
//	 │          ports and the API socket there, hands them down, waits.
//	 └ meshd    the mesh: a network of its own, pid 1 of its pid namespace. Runs
//	    │       the Controllers, which use Mesh.
//	    └ pod-init  one per pod: package pod.
//
// When any of them dies, however, the kernel ends what is below it, and nothing
// remains: no process, namespace, mount, port or file.
//
//	func main() {
//		local.Reexec(controllers) // first: in meshd and pod-init it does not return
//		...
//		err := local.Run(ctx, local.Options{Name: "default", Config: cfg})
//	}
//
// Commands reach a running mesh through Connect.
//
// Inputs: Options and the calls of Controllers. Outputs: processes, and on the
// host only the listeners on loopback that were asked for and one abstract Unix
// socket that serves the same user only. It may import its own sub-packages and
// Kubernetes types; not the control plane's components.
package local
