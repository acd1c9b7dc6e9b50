// Package patch edits Envoy's resources as EnvoyFilters say: the last thing
// that happens to them before they are serialised.
//
// In: the EnvoyFilters that select a class of proxies (Compile), and messages
// that translate has just made (List.Apply). Out: the messages edited, the
// objects that had a part in it, and the patches that were left out, with the
// reason. A patch whose result Envoy would refuse has no effect, and the others
// keep theirs. It is pure. Imports: Envoy's protos, model and the standard
// library; not view, not compile. All of Envoy's types are linked here
// (types.go), so that a body may name any.
//
// Source: istio.io/api networking/v1alpha3, EnvoyFilter; where that is silent,
// the order and the matching of Istio's pilot/pkg/networking/core/envoyfilter.
package patch
