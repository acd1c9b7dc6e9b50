package shop

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc"
)

// drainTime bounds how long a stopping instance waits for its running calls; it
// is under the terminationGracePeriodSeconds of the sample's pods.
const drainTime = 5 * time.Second

// Listen says where an instance listens.
type Listen struct {
	// App takes HOST:PORT. A pod's app is reached at the pod's address and at its
	// loopback, so manifests leave the host empty, as apps in containers do.
	App string
	// Control is the port of the switch, at 127.0.0.1 whatever App says.
	Control int
}

// ServeHTTP runs an HTTP service and its switch until ctx ends, then lets the
// running requests end. GET /healthz is the probe's, and passes the switch by.
func ServeHTTP(ctx context.Context, at Listen, id Identity, app http.Handler) error {
	control := &Control{}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) })
	mux.Handle("/", control.guard(id, app))
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serveControl(ctx, at, control) })
	group.Go(func() error { return serveHTTP(ctx, at.App, mux) })
	slog.Info("serving", "service", id.Service, "version", id.Version, "pod", id.Pod, "address", at.App)
	return group.Wait()
}

// ServeRatings runs the ratings service and its switch until ctx ends, then lets
// the running calls end.
func ServeRatings(ctx context.Context, at Listen, id Identity) error {
	control := &Control{}
	server := Ratings(id, control)
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return serveControl(ctx, at, control) })
	group.Go(func() error { return serveGRPC(ctx, at.App, server) })
	slog.Info("serving", "service", id.Service, "version", id.Version, "pod", id.Pod, "address", at.App)
	return group.Wait()
}

func serveControl(ctx context.Context, at Listen, c *Control) error {
	return serveHTTP(ctx, fmt.Sprintf("127.0.0.1:%d", at.Control), c.Handler())
}

func serveHTTP(ctx context.Context, address string, handler http.Handler) error {
	server := &http.Server{Addr: address, Handler: handler, ReadHeaderTimeout: 10 * time.Second}
	stopped := make(chan error, 1)
	stop := context.AfterFunc(ctx, func() {
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		stopped <- server.Shutdown(drain)
	})
	if err := server.ListenAndServe(); !errors.Is(err, http.ErrServerClosed) {
		stop()
		return fmt.Errorf("serve HTTP at %s: %w", address, err)
	}
	return <-stopped
}

func serveGRPC(ctx context.Context, address string, server *grpc.Server) error {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("serve gRPC at %s: %w", address, err)
	}
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		force := time.AfterFunc(drainTime, server.Stop)
		defer force.Stop()
		server.GracefulStop()
	})
	if err := server.Serve(listener); err != nil {
		stop()
		return fmt.Errorf("serve gRPC at %s: %w", address, err)
	}
	<-stopped
	return nil
}
