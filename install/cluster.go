package install

import (
	"context"
	"errors"
	"fmt"
	"slices"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
)

// Cluster is a Kubernetes cluster, through its API. NewCluster makes one.
type Cluster struct {
	objects   dynamic.Interface
	discovery discovery.DiscoveryInterface
	host      string
	only      string // the one namespace that is looked at; "" for all
}

// NewCluster makes a Cluster of a client configuration; it asks nothing yet.
func NewCluster(config *rest.Config) (*Cluster, error) {
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = 100, 200 // a person waits: an install is some 150 calls
	config.UserAgent = "weft"
	config.WarningHandler = rest.NoWarnings{} // of kinds that an uninstall only looks into
	objects, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, err
	}
	found, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return nil, err
	}
	return &Cluster{objects: objects, discovery: found, host: config.Host}, nil
}

// Version is the API server's.
func (c *Cluster) Version() (*version.Info, error) {
	v, err := c.discovery.ServerVersion()
	if err != nil {
		return nil, fmt.Errorf("the API server at %s does not answer: %w", c.host, err)
	}
	return v, nil
}

// kind is one kind of object that an install makes.
type kind struct {
	name       string
	resource   schema.GroupVersionResource
	namespaced bool
}

// kinds are all that the chart may render, in the order in which they are
// applied: what others refer to comes first, the webhooks last, so that they
// are asked about no pod of the install. They are removed the other way round.
var kinds = []kind{
	{"Namespace", core("namespaces"), false},
	{"PriorityClass", schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1", Resource: "priorityclasses"}, false},
	{"ServiceAccount", core("serviceaccounts"), true},
	{"ClusterRole", rbac("clusterroles"), false},
	{"ClusterRoleBinding", rbac("clusterrolebindings"), false},
	{"Role", rbac("roles"), true},
	{"RoleBinding", rbac("rolebindings"), true},
	{"ConfigMap", core("configmaps"), true},
	{"Service", core("services"), true},
	{"PodDisruptionBudget", schema.GroupVersionResource{Group: "policy", Version: "v1", Resource: "poddisruptionbudgets"}, true},
	{"Deployment", deployments, true},
	{"MutatingWebhookConfiguration", mutatingWebhooks, false},
	{"ValidatingWebhookConfiguration", validatingWebhooks, false},
}

// Resources that are used by name.
var (
	definitions        = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
	deployments        = schema.GroupVersionResource{Group: "apps", Version: "v1", Resource: "deployments"}
	mutatingWebhooks   = admission("mutatingwebhookconfigurations")
	validatingWebhooks = admission("validatingwebhookconfigurations")
	namespaces         = core("namespaces")
	configMaps         = core("configmaps")
	secrets            = core("secrets")
	services           = core("services")
	pods               = core("pods")
	accessReviews      = schema.GroupVersionResource{Group: "authorization.k8s.io", Version: "v1", Resource: "selfsubjectaccessreviews"}
	leases             = schema.GroupVersionResource{Group: "coordination.k8s.io", Version: "v1", Resource: "leases"}
)

func core(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Version: "v1", Resource: resource}
}

func rbac(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "rbac.authorization.k8s.io", Version: "v1", Resource: resource}
}

func admission(resource string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: resource}
}

// of gives the client of an object's kind.
func (c *Cluster) of(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	if o.GetKind() == "CustomResourceDefinition" {
		return c.objects.Resource(definitions), nil
	}
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.name == o.GetKind() })
	if i < 0 {
		return nil, fmt.Errorf("%s: the installer knows no such kind", title(o))
	}
	if kinds[i].namespaced {
		return c.objects.Resource(kinds[i].resource).Namespace(o.GetNamespace()), nil
	}
	return c.objects.Resource(kinds[i].resource), nil
}

// get reads what there is of an object; nil if there is none.
func (c *Cluster) get(ctx context.Context, o *unstructured.Unstructured) (*unstructured.Unstructured, error) {
	if c.only != "" && o.GetKind() == "CustomResourceDefinition" {
		return c.served(o)
	}
	client, err := c.of(o)
	if err != nil {
		return nil, err
	}
	found, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return found, err
}

// list reads the objects of a resource in a namespace ("" for all) by labels.
func (c *Cluster) list(ctx context.Context, r schema.GroupVersionResource, namespace, labels string) ([]unstructured.Unstructured, error) {
	if c.only != "" {
		if clusterWide(r) {
			return nil, nil
		}
		namespace = c.only
	}
	found, err := c.objects.Resource(r).Namespace(namespace).List(ctx, metav1.ListOptions{LabelSelector: labels})
	if err != nil {
		return nil, err
	}
	return found.Items, nil
}

// title names an object as kubectl does: Kind NAMESPACE/NAME.
func title(o *unstructured.Unstructured) string {
	if ns := o.GetNamespace(); ns != "" {
		return o.GetKind() + " " + ns + "/" + o.GetName()
	}
	return o.GetKind() + " " + o.GetName()
}

// ours says whether an object is Weft's, and made by us, not by Helm.
func ours(o *unstructured.Unstructured) bool {
	return o.GetLabels()[partOf] == partOfWeft && o.GetLabels()[managedBy] == fieldOwner
}

// passing says whether an error of the API server may be over at the next try.
func passing(err error) bool {
	return apierrors.IsServerTimeout(err) || apierrors.IsTooManyRequests(err) || apierrors.IsServiceUnavailable(err) || apierrors.IsInternalError(err) ||
		!isStatus(err) // a connection that broke
}

func isStatus(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status)

}
