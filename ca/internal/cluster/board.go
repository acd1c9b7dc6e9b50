package cluster

import (
	"context"
	"encoding/json"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	applycorev1 "k8s.io/client-go/applyconfigurations/core/v1"
)

// BoardConfigMap is where replicas tell one another, while the root rotates, whom
// each of them waits for: a key for each replica.
const BoardConfigMap = "weft-ca-rotation"

// Board is all that stands there, by the replicas' names; nil where nothing does.
func (c *Cluster) Board(ctx context.Context) (map[string]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	found, err := c.api.CoreV1().ConfigMaps(c.opts.Namespace).Get(ctx, BoardConfigMap, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	if err != nil {
		return nil, c.boardError(err)
	}
	return found.Data, nil
}

// Tell puts a text under this replica's name. Each replica owns its key, so that
// none overwrites another's.
func (c *Cluster) Tell(ctx context.Context, text string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	want := applycorev1.ConfigMap(BoardConfigMap, c.opts.Namespace).
		WithLabels(map[string]string{partOf: weft}).
		WithData(map[string]string{c.opts.Replica: text})
	_, err := c.api.CoreV1().ConfigMaps(c.opts.Namespace).Apply(ctx, want, metav1.ApplyOptions{FieldManager: fieldManager + "-" + c.opts.Replica, Force: true})
	return c.boardError(err)
}

// Wipe takes away what a replica told: this one at its end, or one that is gone.
func (c *Cluster) Wipe(ctx context.Context, replica string) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	patch, err := json.Marshal(map[string]any{"data": map[string]any{replica: nil}})
	if err != nil {
		return err
	}
	_, err = c.api.CoreV1().ConfigMaps(c.opts.Namespace).Patch(ctx, BoardConfigMap, types.MergePatchType, patch, metav1.PatchOptions{FieldManager: fieldManager})
	if apierrors.IsNotFound(err) {
		return nil
	}
	return c.boardError(err)
}

// Replica is this one's name.
func (c *Cluster) Replica() string { return c.opts.Replica }

func (c *Cluster) boardError(err error) error {
	if err != nil {
		return fmt.Errorf("ConfigMap %s/%s: %w", c.opts.Namespace, BoardConfigMap, err)
	}
	return nil
}
