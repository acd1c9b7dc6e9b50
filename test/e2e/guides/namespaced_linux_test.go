package guides

import (
	"errors"
	"path/filepath"
	"strings"

	"github.com/weftmesh/weft/test/cluster"
)

// lead is who may do everything in namespace team, and nothing elsewhere.
const lead = `
kubectl create namespace team
kubectl create namespace people
kubectl create serviceaccount -n people lead
kubectl create rolebinding -n team lead --clusterrole=admin --serviceaccount=people:lead
cp "$KUBECONFIG" lead.yaml
kubectl --kubeconfig lead.yaml config set-credentials lead --token="$(kubectl create token -n people lead)"
kubectl --kubeconfig lead.yaml config set-context --current --user=lead
`

// elsewhere is what must not matter in namespace team: it would have each call of
// details answered 418.
const elsewhere = `kubectl apply -f - <<'YAML'
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: details, namespace: people}
spec:
  hosts: [details.team.svc.cluster.local]
  exportTo: ["*"]
  http:
  - directResponse: {status: 418}
YAML
`

// namespaced: one who has rights in a namespace alone gets a mesh there, which
// takes nothing from elsewhere, and removes it again.
func namespaced(w *world) {
	g := readGuide(w.T, "namespaced.md", "sh")
	if _, err := w.bash(lead); err != nil {
		w.Fatal(err)
	}
	user := w.on(w.T)
	user.kubeconfig = filepath.Join(w.dir, "lead.yaml")
	if out, err := user.bash("weft install -y --namespaced --profile minimal -n team"); err == nil || !strings.Contains(out, "weft manifest generate --for-admin") {
		w.Errorf("an install where the CRDs are missing: %v\n%s", err, out)
	}
	w.follow(g, nil, "1.")
	if _, err := w.bash(elsewhere); err != nil {
		w.Fatal(err)
	}
	user.follow(g, nil, "2.")
	const left = `kubectl get deployments,services,serviceaccounts,roles,rolebindings,configmaps,secrets,leases,poddisruptionbudgets -n team -o name -l app.kubernetes.io/part-of=weft`
	if out, err := user.bash(left); err != nil || !strings.Contains(out, "deployment.apps/weft-pilot") {
		w.Errorf("what is installed: %v\n%s", err, out)
	}
	user.follow(g, nil, "3.")
	cluster.Eventually(w.T, patience, "nothing is left", func() error {
		out, err := user.bash(left)
		if err == nil && strings.Contains(out, "/") {
			err = errors.New(out)
		}
		return err
	})
}
