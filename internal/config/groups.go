package config

import (
	"slices"
	"strings"
)

// kubernetesKinds are the other kinds of Kubernetes' own groups that a folder
// may hold: they are no mistake where a cluster gets it too, and a kind that is
// none of them is one. Groups below k8s.io are many and not listed.
//
// Source: Kubernetes API reference, v1.37.
var kubernetesKinds = map[string]string{
	"": `Binding Endpoints Event LimitRange PersistentVolume PersistentVolumeClaim PodTemplate ReplicationController
		ResourceQuota`,
	"apps":        "ControllerRevision DaemonSet ReplicaSet StatefulSet",
	"batch":       "CronJob Job",
	"autoscaling": "HorizontalPodAutoscaler Scale",
	"policy":      "Eviction PodDisruptionBudget",
}

// kubernetesKind reports whether a kind that is not decoded belongs to
// Kubernetes itself.
func kubernetesKind(group, kind string) bool {
	kinds, own := kubernetesKinds[group]
	if own {
		return slices.Contains(strings.Fields(kinds), kind)
	}
	return strings.HasSuffix(group, ".k8s.io")
}

// foreignGroup reports whether a group is another program's, whose objects a
// folder may well hold. It is not where it is one of ours, or looks like one
// that was mistyped: passing such an object over would hide a mistake.
func foreignGroup(group string) bool {
	if !strings.Contains(group, ".") || strings.HasSuffix(group, ".istio.io") || group == ownGroup || strings.HasSuffix(group, "."+ownGroup) {
		return false
	}
	for _, t := range known {
		for _, g := range t.groups {
			if g != "" && distance(g, group) <= 2 {
				return false
			}
		}
	}
	return true
}

// ownGroup is the prefix of Weft's own names.
const ownGroup = "weft.mesh"

// distance is how many letters must be put in, taken out or replaced to make b
// of a (Levenshtein).
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			best := min(row[j], row[j+1]) + 1
			if a[i] == b[j] {
				best = min(best, corner)
			} else {
				best = min(best, corner+1)
			}
			corner, row[j+1] = row[j+1], best
		}
	}
	return row[len(b)]
}
