package cli

import (
	"context"
	"io"
	"maps"
	"time"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/local/controller"
)

// reach is the way to the pods of a mesh, on this machine or in a cluster.
type reach struct {
	// list are the pods that run, without a proxy too.
	list func(context.Context) ([]controller.PodStatus, error)
	// get reads a page of a pod's Envoy (adminPort) or agent (agentPort).
	get func(ctx context.Context, p controller.PodStatus, port int, path string) ([]byte, error)
	// stream reads a page of a pod's agent that has no end.
	stream func(ctx context.Context, p controller.PodStatus, path string) (io.ReadCloser, error)
	// services are those of a namespace, "" for all.
	services func(ctx context.Context, namespace string) ([]service, error)
	// hosts: a look is for the hosts of all proxies, not only of those that
	// leave some out.
	hosts bool
}

// asker asks pods for pages of their Envoys' administration.
type asker struct {
	reach
	pods []controller.PodStatus // those that run, without a proxy too
}

func (a *app) asker(ctx context.Context, k *kube, namespace string) (asker, error) {
	r, err := a.reach(k, namespace)
	if err != nil {
		return asker{}, err
	}
	pods, err := r.list(ctx)
	return asker{r, pods}, err
}

func (from asker) page(ctx context.Context, p controller.PodStatus, path string) ([]byte, error) {
	return from.get(ctx, p, adminPort, path)
}

// Bounds of asking: proxies at a time, and how long each may take.
const (
	askedAtOnce = 16
	patience    = 10 * time.Second
)

// each asks of all pods with a proxy, some at a time. The first error ends it.
func each(ctx context.Context, pods []controller.PodStatus, ask func(context.Context, controller.PodStatus) error) error {
	group, asking := errgroup.WithContext(ctx)
	group.SetLimit(askedAtOnce)
	for _, p := range pods {
		if p.Synced == "" {
			continue
		}
		group.Go(func() error {
			one, cancel := context.WithTimeout(asking, patience)
			defer cancel()
			return ask(one, p)
		})
	}
	return group.Wait()
}

// byAddress are the pods by their addresses, without those that several have: pods
// on a node's network have the node's.
func byAddress(pods []controller.PodStatus) map[string]controller.PodStatus {
	out, several := map[string]controller.PodStatus{}, map[string]bool{"": true}
	for _, p := range pods {
		if _, there := out[p.IP]; there {
			several[p.IP] = true
		}
		out[p.IP] = p
	}
	maps.DeleteFunc(out, func(ip string, _ controller.PodStatus) bool { return several[ip] })
	return out
}

// reach finds the mesh. Who may not list the pods of all namespaces of a cluster
// sees those of the one that is named.
func (a *app) reach(k *kube, namespace string) (reach, error) {
	cluster, err := a.inCluster(k)
	if err != nil {
		return reach{}, err
	}
	if cluster {
		p, err := k.pods()
		if err != nil {
			return reach{}, err
		}
		return p.reach(namespace), nil
	}
	mesh, err := a.connect()
	if err != nil {
		return reach{}, err
	}
	return reach{
		list: func(ctx context.Context) ([]controller.PodStatus, error) {
			st, err := status(ctx, mesh)
			return st.Pods, err
		},
		get: func(ctx context.Context, p controller.PodStatus, port int, path string) ([]byte, error) {
			part := "envoy"
			if port == agentPort {
				part = "agent"
			}
			return fetch(ctx, mesh, podPath(p, part, path))
		},
		stream: func(ctx context.Context, p controller.PodStatus, path string) (io.ReadCloser, error) {
			return follow(ctx, mesh, podPath(p, "agent", path))
		},
		services: func(ctx context.Context, _ string) ([]service, error) { return servicesOf(ctx, mesh) },
	}, nil
}

func (p *pods) reach(namespace string) reach {
	return reach{
		list: func(ctx context.Context) (out []controller.PodStatus, err error) {
			all, err := p.client.CoreV1().Pods("").List(ctx, metav1.ListOptions{})
			if apierrors.IsForbidden(err) && namespace != "" {
				all, err = p.client.CoreV1().Pods(namespace).List(ctx, metav1.ListOptions{})
			}
			if err != nil {
				return nil, err
			}
			for i := range all.Items {
				if pod := podStatus(&all.Items[i]); pod.Phase == "Running" {
					out = append(out, pod)
				}
			}
			return out, nil
		},
		get: func(ctx context.Context, pod controller.PodStatus, port int, path string) ([]byte, error) {
			return p.get(ctx, page{pod.Namespace, pod.Name, port, path, ""})
		},
		stream: func(ctx context.Context, pod controller.PodStatus, path string) (io.ReadCloser, error) {
			return p.stream(ctx, page{pod.Namespace, pod.Name, agentPort, path, ""})
		},
		services: func(ctx context.Context, namespace string) ([]service, error) {
			all, err := p.client.CoreV1().Services(namespace).List(ctx, metav1.ListOptions{})
			if err != nil {
				return nil, err
			}
			return all.Items, nil
		},
	}
}
