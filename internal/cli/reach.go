package cli

import (
	"context"

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
	// hosts: a look is for the hosts of all proxies, not only of those that
	// leave some out.
	hosts bool
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
	}
}
