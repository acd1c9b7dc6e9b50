//go:build tools

// Package tools names the two programs of MetalLB, a load balancer for clusters
// that no cloud serves, so that go.mod and go.sum beside it pin them. Nothing
// imports it.
package tools

import (
	_ "go.universe.tf/metallb/controller"
	_ "go.universe.tf/metallb/speaker"
)
