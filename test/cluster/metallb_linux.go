package cluster

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/internal/image"
	"github.com/weftmesh/weft/test/cluster/binaries"
	"github.com/weftmesh/weft/test/repository"
)

// Pool is a range of the LAN that no machine has: addresses for MetalLB.
const Pool = "10.89.0.20-10.89.0.99"

// metalLB is its module, metalLBSpace the namespace that its manifest makes.
const (
	metalLB      = "go.universe.tf/metallb"
	metalLBSpace = "metallb-system"
)

// MetalLB installs MetalLB by its own manifest, with programs built from its
// module, and gives it a pool of addresses ("FIRST-LAST" or a prefix) that it
// announces by layer 2: one node at a time answers ARP for an address.
// It returns when Services get addresses.
func (c *Cluster) MetalLB(ctx context.Context, pool string) error {
	root, err := repository.Root()
	if err != nil {
		return err
	}
	manifest, version, err := metalLBManifest(ctx, filepath.Join(root, "test/cluster/modules/metallb"))
	if err != nil {
		return err
	}
	if err := c.loadMetalLB(ctx, root, version); err != nil {
		return err
	}
	if err := c.Apply(ctx, manifest); err != nil {
		return fmt.Errorf("MetalLB: %w", err)
	}
	if err := c.Available(ctx, metalLBSpace, "controller"); err != nil {
		return err
	}
	if err := c.everywhere(ctx, metalLBSpace, "speaker"); err != nil {
		return err
	}
	// Its webhook serves some time after its pods are ready.
	return poll(ctx, "MetalLB's pool", func(ctx context.Context) error {
		if err := c.Apply(ctx, fmt.Sprintf(metalLBPool, pool)); err != nil {
			return errors.New(err.Error()) // not permanent here
		}
		return nil
	})
}

const metalLBPool = `
apiVersion: metallb.io/v1beta1
kind: IPAddressPool
metadata: {name: lan, namespace: metallb-system}
spec: {addresses: [%q]}
---
apiVersion: metallb.io/v1beta1
kind: L2Advertisement
metadata: {name: lan, namespace: metallb-system}
spec: {ipAddressPools: [lan]}
`

// metalLBManifest gives MetalLB's own YAML, from its module, and its version.
func metalLBManifest(ctx context.Context, source string) (manifest, version string, err error) {
	cmd := exec.CommandContext(ctx, "go", "mod", "download", "-json", metalLB)
	var failed bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stderr = source, append(os.Environ(), "GOWORK=off"), &failed
	out, err := cmd.Output()
	var module struct{ Dir, Version, Error string }
	if parse := json.Unmarshal(out, &module); err != nil || parse != nil {
		return "", "", fmt.Errorf("module %s: %w: %s%s", metalLB, errors.Join(err, parse), module.Error, failed.String())
	}
	content, err := os.ReadFile(filepath.Join(module.Dir, "config/manifests/metallb-native.yaml"))
	return string(content), module.Version, err
}

// loadMetalLB gives every node its images, under the names of its manifest.
func (c *Cluster) loadMetalLB(ctx context.Context, root, version string) error {
	programs, err := binaries.Ensure(ctx, root, nil, binaries.MetalLB...)
	if err != nil {
		return err
	}
	var archives []string
	for _, name := range binaries.MetalLB {
		short := strings.TrimPrefix(name, "metallb-")
		i := image.Image{
			Names: []string{"quay.io/metallb/" + short + ":" + version},
			Files: map[string]string{"/" + short: programs[name]}, Entrypoint: []string{"/" + short},
		}
		path := filepath.Join(c.plan.Dir, "images", name+".tar")
		if err := i.Write(path); err != nil {
			return err
		}
		archives = append(archives, path)
	}
	return c.LoadImages(ctx, archives...)
}

// everywhere returns when a DaemonSet is available on every node.
func (c *Cluster) everywhere(ctx context.Context, namespace, name string) error {
	client, err := c.Clientset()
	if err != nil {
		return err
	}
	return poll(ctx, "DaemonSet "+namespace+"/"+name, func(ctx context.Context) error {
		d, err := client.AppsV1().DaemonSets(namespace).Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if s := d.Status; s.ObservedGeneration < d.Generation || s.DesiredNumberScheduled == 0 || s.NumberAvailable != s.DesiredNumberScheduled {
			return fmt.Errorf("%d of %d available", s.NumberAvailable, s.DesiredNumberScheduled)
		}
		return nil
	})
}
