package kube_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/source"
	"github.com/weftmesh/weft/test/cluster"
)

// manyServices is how many services of two ports the memory test makes, each
// with a slice of four endpoints and a large annotation.
const manyServices = 3000

// perService bounds what the source holds for one of them, in bytes of heap.
const perService = 6 << 10

func TestMemoryOfManyServices(t *testing.T) {
	api, err := cluster.StartAPI(t.Context(), cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = api.Down(context.Background()) })
	s := server{api, t}
	s.apply("apiVersion: v1\nkind: Namespace\nmetadata: {name: many}\n")
	admin := s.RESTConfig()
	admin.QPS, admin.Burst, admin.ContentType = 2000, 2000, "application/vnd.kubernetes.protobuf"
	client, err := kubernetes.NewForConfig(admin)
	if err != nil {
		t.Fatal(err)
	}
	var group errgroup.Group
	group.SetLimit(16)
	for i := range manyServices {
		group.Go(func() error { return createService(client, i) })
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	before := heap()
	w := watch(t, s.options())
	st := w.await("all services", func(st source.State) bool {
		return st.Set.Of(config.Service).Len() >= manyServices && st.Set.Of(config.EndpointSlice).Len() >= manyServices
	})
	held := int(heap()-before) / manyServices
	t.Logf("%d bytes of heap for a service of two ports with four endpoints", held)
	if held > perService {
		t.Errorf("the source holds %d bytes for a service, want at most %d", held, perService)
	}
	runtime.KeepAlive(st)
}

func heap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers held
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func createService(client kubernetes.Interface, i int) error {
	name := fmt.Sprintf("svc-%04d", i)
	notes := map[string]string{"example.com/deployed-by": fmt.Sprintf("%2000d", i)}
	_, err := client.CoreV1().Services("many").Create(context.Background(), &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: notes, Labels: map[string]string{"app": name, "team": "shop"}},
		Spec: corev1.ServiceSpec{
			ClusterIP: corev1.ClusterIPNone, Selector: map[string]string{"app": name},
			Ports: []corev1.ServicePort{{Name: "http", Port: 80}, {Name: "grpc", Port: 9000}},
		},
	}, metav1.CreateOptions{})
	if err != nil {
		return err
	}
	http, port := "http", int32(8080)
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: name, Annotations: notes, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: &http, Port: &port}},
	}
	for j := range 4 {
		slice.Endpoints = append(slice.Endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.%d.%d.%d", 1+i/250, i%250, 1+j)},
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "many", Name: fmt.Sprintf("%s-%d", name, j)},
		})
	}
	_, err = client.DiscoveryV1().EndpointSlices("many").Create(context.Background(), slice, metav1.CreateOptions{})
	return err
}
