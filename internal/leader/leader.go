// Package leader lets one replica of several do what only one may do.
//
// In: a client of the API server and the name of a Lease. Out: calls of a
// function while this replica leads. Imports: client-go.
package leader

import (
	"context"
	"fmt"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/leaderelection"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// Times of the lease: those that Kubernetes' own controllers use. A replica
// that stops gives it back, so only a lost node leaves a gap.
const (
	life  = 15 * time.Second
	renew = 10 * time.Second
	retry = 2 * time.Second
)

// Options of Run; all are needed.
type Options struct {
	Client    kubernetes.Interface
	Namespace string // of the Lease
	Lease     string
	Replica   string // this one's name, such as its pod's
}

// Run calls lead whenever this replica leads, with a context that ends with the
// lead. It returns nil when ctx is done, and has then given the lead back; it
// waits for the API server without an end.
func Run(ctx context.Context, o Options, lead func(context.Context)) error {
	for ctx.Err() == nil {
		var work sync.WaitGroup
		elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
			Lock: &resourcelock.LeaseLock{
				LeaseMeta:  metav1.ObjectMeta{Name: o.Lease, Namespace: o.Namespace, Labels: map[string]string{"app.kubernetes.io/part-of": "weft"}},
				Client:     o.Client.CoordinationV1(),
				LockConfig: resourcelock.ResourceLockConfig{Identity: o.Replica},
			},
			LeaseDuration: life, RenewDeadline: renew, RetryPeriod: retry, ReleaseOnCancel: true, Name: o.Lease,
			Callbacks: leaderelection.LeaderCallbacks{
				OnStartedLeading: func(leading context.Context) { work.Go(func() { lead(leading) }) },
				OnStoppedLeading: func() {},
			},
		})
		if err != nil {
			return fmt.Errorf("lease %s/%s: %w", o.Namespace, o.Lease, err)
		}
		elector.Run(ctx)
		work.Wait()
	}
	return nil
}
