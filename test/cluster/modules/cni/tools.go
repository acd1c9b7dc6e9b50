//go:build tools

// Package tools names the network plug-ins that a node of a test cluster runs,
// so that go.mod and go.sum beside it pin them. Nothing imports it.
package tools

import (
	_ "github.com/containernetworking/plugins/plugins/ipam/host-local"
	_ "github.com/containernetworking/plugins/plugins/main/bridge"
	_ "github.com/containernetworking/plugins/plugins/main/loopback"
	_ "github.com/containernetworking/plugins/plugins/meta/portmap"
)
