// Package e2e tests Weft in a real cluster as a user meets it: the weft binary,
// the images of this tree, and Kubernetes' own tools. A test brings its cluster
// up and takes it down (test/cluster); without root it is skipped, in CI never.
package e2e
