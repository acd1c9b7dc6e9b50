package ca

import (
	"fmt"
	"log/slog"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/weftmesh/weft/internal/enroll"
	"github.com/weftmesh/weft/internal/spiffe"
)

// BenchmarkGRPC is a certificate as an agent gets it, both ends in this process: a
// key, a TLS connection of its own, the proof of a local pod's token, the CSR and
// the check of what came back. Beside it the same on a connection that is there.
// The processor time is that of both ends.
func BenchmarkGRPC(b *testing.B) {
	m := newMesh(b)
	opts := m.options()
	opts.Logger = slog.New(slog.DiscardHandler)
	r := m.start(opts)
	var pod atomic.Int64
	// Neither an address nor a pod is to meet its limit.
	address := func(i int64) string { return fmt.Sprintf("127.3.%d.%d", i/250%250, 1+i%250) }
	b.Run("agents", func(b *testing.B) {
		roots, err := enroll.RootsFile(m.path("root.pem"))
		if err != nil {
			b.Fatal(err)
		}
		used := cpu(b)
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				i := pod.Add(1)
				c, err := enroll.NewClient(enroll.ClientOptions{
					Address: r.addr, CA: spiffe.ID{TrustDomain: "cluster.local", Namespace: "weft-system", ServiceAccount: "weft-ca"},
					Identity: reviews, Roots: roots, TokenFile: m.write(fmt.Sprint("token-", i%64), []byte(m.tokenOf("shop", int(i)))), Dial: from(address(i)),
				})
				if err == nil {
					_, err = c.Issue(b.Context())
				}
				if err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64((cpu(b)-used).Microseconds())/float64(b.N), "cpu-us/op")
	})
	b.Run("connected", func(b *testing.B) {
		var all []asker
		for i := range int64(32) { // each on a connection of its own
			all = append(all, m.askers(r, fmt.Sprint("ns-", i), 1, func(int) string { return address(pod.Add(1)) })...)
		}
		used := cpu(b)
		b.ResetTimer()
		var next atomic.Int64
		b.RunParallel(func(p *testing.PB) {
			for p.Next() {
				i := next.Add(1)
				one := all[i%int64(len(all))]
				one.token = m.tokenOf(one.namespace, int(i))
				if _, err := one.ask(b.Context()); err != nil {
					b.Error(err)
				}
			}
		})
		b.ReportMetric(float64((cpu(b)-used).Microseconds())/float64(b.N), "cpu-us/op")
	})
}

// cpu is the processor time that this process has used.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var use syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &use); err != nil {
		b.Fatal(err)
	}
	return time.Duration(use.Utime.Nano() + use.Stime.Nano())
}
