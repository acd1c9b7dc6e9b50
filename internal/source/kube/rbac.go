package kube

// What the pilot may do in a cluster: this and nothing else. The tests run
// with these rights.
//
//	group                 resources                                      verbs        where
//	""                    services, pods, namespaces, nodes              list, watch  cluster
//	discovery.k8s.io      endpointslices                                 list, watch  cluster
//	networking.istio.io   virtualservices, destinationrules, gateways,   list, watch  cluster
//	                      serviceentries, sidecars, workloadentries,
//	                      workloadgroups, envoyfilters, proxyconfigs
//	security.istio.io     peerauthentications, requestauthentications,   list, watch  cluster
//	                      authorizationpolicies
//	telemetry.istio.io    telemetries                                    list, watch  cluster
//	""                    configmaps, only "istio"                       list, watch  system namespace
//	""                    secrets                                        list, watch  namespaces of gateways
//
// The rights to Secrets belong into a Role of each namespace in which gateways
// run (the system namespace's by default), never into a ClusterRole: the pilot
// asks for single Secrets by name, and what it may not read is a finding. What
// the API server serves is asked of /apis, which every service account may
// read (system:discovery).
