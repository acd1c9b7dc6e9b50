//go:build warm

// Package warm holds the requirements of packages that are being written, so
// that go.mod changes once. It has no inputs or outputs, and nothing imports it.
package warm

import (
	_ "github.com/google/go-containerregistry/pkg/v1/tarball"
	_ "helm.sh/helm/v4/pkg/chart/v2/loader"
	_ "helm.sh/helm/v4/pkg/engine"
	_ "istio.io/api/annotation"
	_ "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	_ "k8s.io/client-go/dynamic"
	_ "k8s.io/client-go/informers"
	_ "k8s.io/client-go/kubernetes"
	_ "k8s.io/client-go/tools/leaderelection"
	_ "k8s.io/client-go/tools/portforward"
	_ "k8s.io/client-go/tools/remotecommand"
)
