package cluster

import (
	"fmt"
	"path/filepath"
	"time"

	"github.com/weftmesh/weft/test/cluster/machine"
)

// layout is where a cluster's programs and files are.
type layout struct {
	dir      string
	programs map[string]string
}

func (l layout) pki(name string) string { return filepath.Join(l.dir, "pki", name) }

func (l layout) log(name string) string { return filepath.Join(l.dir, "log", name+".log") }

// program describes one of binaries.Ensure's by name.
func (l layout) program(name string, wait []string, args ...string) machine.Program {
	return machine.Program{
		Name: name, Argv: append([]string{l.programs[name]}, args...), Wait: wait,
		Env: []string{"PATH=" + machine.Path, "HOME=/root"}, Log: l.log(name),
	}
}

// etcd keeps its data in dir. It does not sync to the disk: the data need not
// outlive the machine.
func (l layout) etcd(dir, clientPort, peerPort string) machine.Program {
	client, peer := "http://127.0.0.1:"+clientPort, "http://127.0.0.1:"+peerPort
	return l.program("etcd", nil, "--name=etcd", "--data-dir="+dir, "--unsafe-no-fsync", "--log-level=warn",
		"--listen-client-urls="+client, "--advertise-client-urls="+client,
		"--listen-peer-urls="+peer, "--initial-advertise-peer-urls="+peer, "--initial-cluster=etcd="+peer)
}

// apiServer serves at bind:port, with its data in the etcd at etcdPort.
func (l layout) apiServer(etcdPort, port string, more ...string) machine.Program {
	args := []string{
		"--etcd-servers=http://127.0.0.1:" + etcdPort, "--secure-port=" + port,
		"--service-cluster-ip-range=" + services.String(), "--allow-privileged=true",
		"--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--client-ca-file=" + l.pki("ca.crt"),
		"--tls-cert-file=" + l.pki("apiserver.crt"), "--tls-private-key-file=" + l.pki("apiserver.key"),
		"--kubelet-client-certificate=" + l.pki("kubelet-client.crt"), "--kubelet-client-key=" + l.pki("kubelet-client.key"),
		"--kubelet-certificate-authority=" + l.pki("ca.crt"), "--kubelet-preferred-address-types=InternalIP,Hostname",
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + l.pki("sa.pub"), "--service-account-signing-key-file=" + l.pki("sa.key"),
		"--requestheader-client-ca-file=" + l.pki("front-ca.crt"), "--requestheader-allowed-names=front-proxy-client",
		"--requestheader-extra-headers-prefix=X-Remote-Extra-", "--requestheader-group-headers=X-Remote-Group",
		"--requestheader-username-headers=X-Remote-User",
		"--proxy-client-cert-file=" + l.pki("front-proxy.crt"), "--proxy-client-key-file=" + l.pki("front-proxy.key"),
		"--profiling=false", "--v=1",
	}
	return l.program("kube-apiserver", []string{"tcp://127.0.0.1:" + etcdPort}, append(args, more...)...)
}

// controllers is the program that looks after nodes and pods.
const controllers = "kube-controller-manager"

// ready is the condition that the cluster's API server serves.
func ready() []string { return []string{"https://" + control.String() + ":" + apiPort + "/readyz"} }

// controlPlane are the programs of the control plane's machine, which takes a
// node for lost so long after its last word.
func (l layout) controlPlane(lostAfter time.Duration) []machine.Program {
	const etcdPort = "2379"
	manager, scheduler := l.pki("controller-manager.conf"), l.pki("scheduler.conf")
	return []machine.Program{
		l.etcd("/var/lib/etcd", etcdPort, "2380"),
		// Webhooks are called at their pods: this machine has no kube-proxy.
		l.apiServer(etcdPort, apiPort, "--bind-address=0.0.0.0", "--advertise-address="+control.String(), "--enable-aggregator-routing=true"),
		l.program(controllers, ready(), "--kubeconfig="+manager,
			"--authentication-kubeconfig="+manager, "--authorization-kubeconfig="+manager, "--bind-address=127.0.0.1",
			"--cluster-signing-cert-file="+l.pki("ca.crt"), "--cluster-signing-key-file="+l.pki("ca.key"),
			"--root-ca-file="+l.pki("ca.crt"), "--service-account-private-key-file="+l.pki("sa.key"),
			"--use-service-account-credentials=true", "--client-ca-file="+l.pki("ca.crt"),
			"--requestheader-client-ca-file="+l.pki("front-ca.crt"), "--allocate-node-cidrs=false", "--leader-elect=false",
			"--node-monitor-period=2s", "--node-monitor-grace-period="+lostAfter.String()),
		l.program("kube-scheduler", ready(), "--kubeconfig="+scheduler,
			"--authentication-kubeconfig="+scheduler, "--authorization-kubeconfig="+scheduler,
			"--bind-address=127.0.0.1", "--leader-elect=false"),
	}
}

// containerdSocket is where a node's container runtime answers.
const containerdSocket = "/run/containerd/containerd.sock"

// node are the programs of node n.
func (l layout) node(n int) []machine.Program {
	name := nodeName(n)
	etc := filepath.Join(l.dir, "etc", name)
	containerd := machine.Program{
		Name: "containerd", Argv: []string{"/usr/bin/env", "containerd", "-c", filepath.Join(etc, "containerd.toml")},
		Env: []string{"PATH=" + machine.Path}, Log: l.log(name + "-containerd"),
	}
	kubelet := l.program("kubelet", append([]string{"unix://" + containerdSocket}, ready()...),
		"--config="+filepath.Join(etc, "kubelet.yaml"), "--kubeconfig="+l.pki(name+".conf"),
		"--node-ip="+nodeAddress(n).String(), "--hostname-override="+name,
		fmt.Sprintf("--node-labels=topology.kubernetes.io/region=local,topology.kubernetes.io/zone=zone%d", n), "--v=2")
	proxy := l.program("kube-proxy", ready(), "--config="+filepath.Join(etc, "kube-proxy.yaml"), "--v=2")
	kubelet.Log, proxy.Log = l.log(name+"-kubelet"), l.log(name+"-kube-proxy")
	return []machine.Program{containerd, kubelet, proxy}
}
