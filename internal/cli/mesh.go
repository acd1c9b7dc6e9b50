package cli

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/figures"
	"github.com/weftmesh/weft/internal/local"
	"github.com/weftmesh/weft/internal/local/controller"
	"github.com/weftmesh/weft/internal/source/file"
)

// fetch reads a path of the mesh's API.
func fetch(ctx context.Context, c *local.Client, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://mesh"+path, nil)
	if err != nil {
		return nil, err
	}
	return do(c, req)
}

// follow reads an answer that has no end.
func follow(ctx context.Context, c *local.Client, path string) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://mesh"+path, nil)
	if err != nil {
		return nil, err
	}
	resp, err := c.HTTP().Do(req) //nolint:bodyclose // it is the caller's, or answered closes it
	if err != nil {
		return nil, err
	}
	return answered(resp)
}

// answered is the body of an answer; one that is not 200 is an error of its text.
func answered(resp *http.Response) (io.ReadCloser, error) {
	if resp.StatusCode == http.StatusOK {
		return resp.Body, nil
	}
	defer func() { _ = resp.Body.Close() }()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 4096)) // the status says enough
	return nil, notOK{resp.StatusCode, cmp.Or(strings.TrimSpace(string(text)), resp.Status)}
}

// notOK is an answer that is not 200. Its text may be a pod's.
type notOK struct {
	code int
	text string
}

// Error is of the text what a terminal may have.
func (e notOK) Error() string { return figures.Printable(e.text, maxSaid) }

// servicesOf are the Services of a local mesh's folder.
func servicesOf(ctx context.Context, c *local.Client) (out []service, err error) {
	st, err := status(ctx, c)
	if err != nil {
		return nil, err
	}
	read, err := file.Read(st.Dir)
	for _, o := range read.Set.Of(config.Service).All() {
		if s, ok := o.Spec.(*corev1.Service); ok {
			out = append(out, service{ObjectMeta: metav1.ObjectMeta{Namespace: o.Namespace, Name: o.Name}, Spec: s.Spec})
		}
	}
	return out, err
}

// do makes a request to the mesh's API; an answer that is not 200 is an error of
// its text.
func do(c *local.Client, req *http.Request) ([]byte, error) {
	resp, err := c.HTTP().Do(req)
	if err != nil {
		return nil, err
	}
	body, err := answered(resp)
	if err != nil {
		return nil, err
	}
	defer func() { _ = body.Close() }()
	return io.ReadAll(body)
}

func status(ctx context.Context, c *local.Client) (st controller.Status, err error) {
	text, err := fetch(ctx, c, "/v1/status")
	if err != nil {
		return st, err
	}
	return st, json.Unmarshal(text, &st)
}

// find resolves what a person calls a pod: [NAMESPACE/]NAME, where NAME is a
// pod, the beginning of one pod's name, or a Deployment (then its first pod, a
// ready one if there is).
func find(st controller.Status, name, namespace string) (controller.PodStatus, error) {
	if ns, n, ok := strings.Cut(name, "/"); ok {
		namespace, name = ns, n
	}
	var begins, members []controller.PodStatus
	for _, p := range st.Pods {
		switch {
		case namespace != "" && p.Namespace != namespace:
		case p.Name == name:
			return p, nil
		case p.Workload == name:
			members = append(members, p)
		case strings.HasPrefix(p.Name, name):
			begins = append(begins, p)
		}
	}
	for _, p := range members {
		if p.Ready && p.Phase == "Running" {
			return p, nil
		}
	}
	switch {
	case len(members) > 0:
		return members[0], nil
	case len(begins) == 1:
		return begins[0], nil
	case len(begins) > 1:
		return controller.PodStatus{}, fmt.Errorf("pod %q: %d pods begin so: %s; say which, or name its Deployment", name, len(begins), some(begins))
	}
	return controller.PodStatus{}, fmt.Errorf("pod %q: there is none (weft ps lists them)", name)
}

// some are the names of a few pods.
func some(pods []controller.PodStatus) string {
	var names []string
	for _, p := range pods[:min(len(pods), 4)] {
		names = append(names, p.Name)
	}
	if len(pods) > 4 {
		names = append(names, "...")
	}
	return strings.Join(names, ", ")
}

// pod connects and finds one pod.
func (a *app) pod(ctx context.Context, name, namespace string) (*local.Client, controller.PodStatus, error) {
	c, err := a.connect()
	if err != nil {
		return nil, controller.PodStatus{}, err
	}
	st, err := status(ctx, c)
	if err != nil {
		return nil, controller.PodStatus{}, err
	}
	p, err := find(st, name, namespace)
	return c, p, err
}

// envoyPath is the API's path to a pod's Envoy administration.
func envoyPath(p controller.PodStatus, path string) string {
	return podPath(p, "envoy", path)
}

// podPath is the API's path to a part of a pod: envoy, or agent.
func podPath(p controller.PodStatus, part, path string) string {
	return "/v1/pods/" + url.PathEscape(p.Namespace) + "/" + url.PathEscape(p.Name) + "/" + part + "/" + path
}
