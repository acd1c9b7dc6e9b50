// Package capture redirects the TCP connections and DNS queries of a pod to
// the proxy beside it, by nftables over netlink: no iptables binary, one table
// for IPv4 and IPv6, one rule set for a Kubernetes pod, for CNI and for the
// local mesh.
//
// Input: Options. Output: the table "weft_capture" in the network namespace of
// the calling thread, put there and taken away in one transaction.
//
// It needs CAP_NET_ADMIN over that namespace and Linux 5.2 (nat in family
// inet). It may import google/nftables and nothing else of the project.
package capture
