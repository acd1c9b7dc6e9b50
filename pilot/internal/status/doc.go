// Package status writes into the status of users' objects what is true of them:
// whether the pilot accepted them (condition Accepted), and on how many of how
// many proxies they are live, and who refused them (condition Programmed).
//
// In: states of the configuration with their findings, and a Tally of the
// proxies. Out: server-side applies to /status, on change only, batched, at most
// Rate a second, by the replica that leads. Imports: config, diag, memo, xds's
// counts, leader, client-go.
//
// Source: istio.io/api meta/v1alpha1 IstioStatus, IstioCondition.
package status
