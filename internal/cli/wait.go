package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/weftmesh/weft/internal/config"
)

type waitFlags struct {
	kube
	namespace string // of the object
	condition string
	timeout   time.Duration
}

// waited are the conditions by what --for calls them.
var waited = map[string]string{"programmed": "Programmed", "accepted": "Accepted"}

// wait is weft wait.
func (a *app) wait() *cobra.Command {
	var f waitFlags
	c := &cobra.Command{
		Use: "wait KIND/NAME", GroupID: "cluster", Short: "Wait until an object is in force on every proxy that needs it",
		Long: "Wait until the object's newest form is accepted by the pilot, and live on every proxy that needs\n" +
			"it (--for=programmed), or only the first (--for=accepted). It ends with code 1, and says what\n" +
			"stands in the object's status, when the time is over.",
		Example: "  weft wait --for=programmed virtualservice/reviews -n shop --timeout 30s",
		Args:    exactly(cobra.ExactArgs(1)),
		RunE:    func(cmd *cobra.Command, args []string) error { return a.runWait(cmd.Context(), &f, args[0]) },
	}
	f.kube.flags(c, "")
	c.Flags().StringVarP(&f.namespace, "namespace", "n", "", "`NAMESPACE` of the object; default: that of the kubeconfig's context")
	c.Flags().StringVar(&f.condition, "for", "programmed", "`CONDITION`: programmed or accepted")
	c.Flags().DurationVar(&f.timeout, "timeout", 30*time.Second, "how long to wait")
	_ = c.RegisterFlagCompletionFunc("for", cobra.FixedCompletions([]string{"programmed", "accepted"}, cobra.ShellCompDirectiveNoFileComp)) // fails only where there is no such flag
	return c
}

func (a *app) runWait(ctx context.Context, f *waitFlags, what string) error {
	kind, name, ok := strings.Cut(what, "/")
	condition := waited[strings.ToLower(f.condition)]
	switch {
	case !ok || kind == "" || name == "":
		return usageError{fmt.Errorf("%q is not KIND/NAME, such as virtualservice/reviews", what)}
	case condition == "":
		return usageError{fmt.Errorf("--for=%s: it is programmed or accepted", f.condition)}
	}
	config, err := f.config()
	if err != nil {
		return err
	}
	if f.namespace == "" {
		if f.namespace, _, err = f.loader().Namespace(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithTimeout(ctx, f.timeout)
	defer cancel()
	from, err := resourceOf(config, kind, f.namespace)
	if err != nil {
		return err
	}
	message, err := waitFor(ctx, from, name, condition)
	if err != nil {
		return fmt.Errorf("%s in namespace %s is not %s after %v: %w", what, f.namespace, strings.ToLower(condition), f.timeout, err)
	}
	fmt.Fprintf(a.out, "%s %s: %s\n", what, strings.ToLower(condition), message)
	return nil
}

// resourceOf finds a kind of Istio's by its name, plural or short name.
func resourceOf(c *rest.Config, kind, namespace string) (dynamic.ResourceInterface, error) {
	served, err := discovery.NewDiscoveryClientForConfig(c)
	if err != nil {
		return nil, err
	}
	groups, err := restmapper.GetAPIGroupResources(served)
	if err != nil {
		return nil, err
	}
	unlimited := rest.CopyConfig(c)
	unlimited.QPS = -1 // waitFor has a pace of its own; a limiter's error would hide what the API server said
	client, err := dynamic.NewForConfig(unlimited)
	if err != nil {
		return nil, err
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	for _, k := range config.IstioKinds() {
		m, err := mapper.RESTMapping(schema.GroupKind{Group: k.Group(), Kind: string(k)})
		if err != nil {
			continue // its CRD is not installed
		}
		if called(groups, m.Resource, strings.ToLower(string(k)), strings.ToLower(kind)) {
			return client.Resource(m.Resource).Namespace(namespace), nil
		}
	}
	return nil, usageError{fmt.Errorf("there is no kind %q of Istio's in the cluster; weft install brings their CRDs", kind)}
}

// called reports whether a resource has a name.
func called(groups []*restmapper.APIGroupResources, r schema.GroupVersionResource, kind, name string) bool {
	if name == kind || name == r.Resource || name == r.Resource+"."+r.Group {
		return true
	}
	for _, g := range groups {
		for _, one := range g.VersionedResources[r.Version] {
			if g.Group.Name == r.Group && one.Name == r.Resource && slices.Contains(one.ShortNames, name) {
				return true
			}
		}
	}
	return false
}

// waitFor returns the condition's message once it is True of the newest
// generation. An error says what stands there instead.
func waitFor(ctx context.Context, from dynamic.ResourceInterface, name, condition string) (string, error) {
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	why := errors.New("the API server has not answered yet")
	for {
		o, err := from.Get(ctx, name, metav1.GetOptions{})
		switch {
		case err == nil:
			var message string
			if message, why = standing(o, condition); why == nil {
				return message, nil
			}
		case apierrors.IsForbidden(err):
			return "", err
		case ctx.Err() == nil:
			why = err
		}
		select {
		case <-ctx.Done():
			return "", why
		case <-tick.C:
		}
	}
}

// standing reads a condition; the error says why it is not True.
func standing(o *unstructured.Unstructured, condition string) (string, error) {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	for _, entry := range list {
		c, ok := entry.(map[string]any)
		if !ok || c["type"] != condition {
			continue
		}
		text, _ := c["message"].(string)
		seen, _ := c["observedGeneration"].(int64)
		switch {
		case seen < o.GetGeneration():
			return "", fmt.Errorf("its status is about generation %d, the object is at %d", seen, o.GetGeneration())
		case c["status"] != "True":
			return "", errors.New(cmp.Or(text, fmt.Sprintf("the condition is %v", c["status"])))
		}
		return text, nil
	}
	return "", errors.New("the pilot has written no status yet; weft check says whether one runs")
}
