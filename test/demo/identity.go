package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weftmesh/weft/samples/bookshop/load"
	"github.com/weftmesh/weft/samples/bookshop/shop"
	"github.com/weftmesh/weft/test/stat"
)

// ratingsPods is how many replicas of ratings the sample has.
const ratingsPods = 3

// showGRPC sends calls on one connection from the frontend's pod, by a headless
// and by a normal Service.
func showGRPC(ctx context.Context, d *demo) error {
	callers, err := d.mesh.PodsOf(ctx, "frontend")
	if err != nil {
		return err
	}
	for _, service := range []string{"ratings", "ratings-vip"} {
		var report load.GRPCReport
		err := d.mesh.ExecJSON(ctx, &report, callers[0].Name, bookshop, "grpc-load",
			"--target", service+":9000", "--calls", fmt.Sprint(d.requests))
		if err != nil {
			return err
		}
		d.rowGRPC(service, report)
	}
	return nil
}

func (d *demo) rowGRPC(service string, report load.GRPCReport) {
	kind := map[string]string{"ratings": "headless", "ratings-vip": "normal"}[service]
	want := stat.Binomial(d.requests, 1.0/ratingsPods)
	counts := slices.Collect(maps.Values(report.ByPod))
	slices.Sort(counts)
	even := len(counts) == ratingsPods
	for _, n := range counts {
		even = even && want.Contains(n)
	}
	d.row(row{
		what:     fmt.Sprintf("%d gRPC calls, 1 connection, %s", d.requests, kind),
		expected: fmt.Sprintf("%d pods, each %v", ratingsPods, want),
		seen:     sum(counts) + odd(report),
		ok:       even && odd(report) == "",
	})
}

// sum writes counts as a sum.
func sum(counts []int) string {
	return strings.Join(strings.Fields(strings.Trim(fmt.Sprint(counts), "[]")), " + ")
}

// odd says what else is wrong with a run: more than one connection, failures.
func odd(report load.GRPCReport) (text string) {
	if report.Connections != 1 {
		text += fmt.Sprintf(", on %d connections", report.Connections)
	}
	if report.Failed != 0 {
		text += fmt.Sprintf(", %d failed", report.Failed)
	}
	return text
}

// showIdentities asks the page once and shows the identity that each service
// saw of its caller.
func showIdentities(ctx context.Context, d *demo) error {
	page, err := d.page(ctx)
	if err != nil {
		return err
	}
	want := map[string]string{
		"frontend": "spiffe://cluster.local/ns/weft-system/sa/istio-ingressgateway",
		"details":  "spiffe://cluster.local/ns/default/sa/frontend",
		"reviews":  "spiffe://cluster.local/ns/default/sa/frontend",
	}
	page.Each(func(a shop.Answer) {
		caller, known := want[a.Service]
		if !known {
			return
		}
		delete(want, a.Service)
		seen := shop.LastHop(a.Peer).URI
		d.row(row{
			what:     "account of " + a.Service + "'s caller, by mTLS",
			expected: account(caller), seen: seenAs(seen, caller), ok: seen == caller,
		})
	})
	if len(want) > 0 {
		return fmt.Errorf("the page has no part of %v", slices.Sorted(maps.Keys(want)))
	}
	return nil
}

// page asks for the shop's page once.
func (d *demo) page(ctx context.Context) (shop.Answer, error) {
	var out load.Outcome
	plan := load.Plan{URL: d.url, Requests: 1, Client: d.client}
	if err := load.Run(ctx, plan, func(o load.Outcome) { out = o }); err != nil {
		return shop.Answer{}, err
	}
	if out.Failed() {
		return shop.Answer{}, fmt.Errorf("ask for the page: status %d, %s: %w", out.Status, out.Answer.Error, out.Err)
	}
	return out.Answer, nil
}

// account is the last part of spiffe://cluster.local/ns/NAMESPACE/sa/ACCOUNT.
func account(uri string) string { return uri[strings.LastIndexByte(uri, '/')+1:] }

// seenAs is the account where the whole identity is as expected, else all of it.
func seenAs(seen, expected string) string {
	switch seen {
	case expected:
		return account(seen)
	case "":
		return "no certificate"
	}
	return seen
}

// showStrict calls pods directly from one without a sidecar: reviews, which is
// STRICT, must refuse it, and details, which is not, must serve it.
func showStrict(ctx context.Context, d *demo) error {
	const calls = 5
	callers, err := d.mesh.PodsOf(ctx, "legacy")
	if err != nil {
		return err
	}
	for _, c := range []struct {
		deployment, mode string
		served           int
	}{{"details", "PERMISSIVE", calls}, {"reviews-v2", "STRICT", 0}} {
		pods, err := d.mesh.PodsOf(ctx, c.deployment)
		if err != nil {
			return err
		}
		var report load.Report
		at := fmt.Sprintf("http://%s:8080/", pods[0].IP)
		err = d.mesh.ExecJSON(ctx, &report, callers[0].Name, bookshop, "load", "--url", at, "--requests", fmt.Sprint(calls))
		if err != nil {
			return err
		}
		served := report.ByStatus["200"]
		d.row(row{
			what:     fmt.Sprintf("plaintext calls of %s (%s)", c.deployment, c.mode),
			expected: fmt.Sprintf("%d of %d served", c.served, calls),
			seen:     fmt.Sprintf("%d of %d%s", served, report.Total, because(report.Errors)),
			ok:       served == c.served && report.Total == calls,
		})
	}
	return nil
}

// because shortens the first error to what went wrong.
func because(errors []string) string {
	if len(errors) == 0 {
		return ""
	}
	parts := strings.Split(errors[0], ": ")
	return ", " + strings.TrimSuffix(parts[len(parts)-1], " by peer")
}
