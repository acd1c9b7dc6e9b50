//go:build stepcas

package ca

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/test/plugca"
	"github.com/weftmesh/weft/test/stepca"
)

// A step-ca takes over in the same way, by its certificates and the words for it in
// the place of its key.
func TestKubeStepCA(t *testing.T) {
	m := newKubeMesh(t)
	parts := stepca.Start(t, plugca.New(t, plugca.EC)).Parts()
	r := m.startKube(m.options("a"))
	old := readFile(t, m.path("root.pem"))
	_, err := m.api.CoreV1().Secrets(m.system.Namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: "cacerts"}, Data: parts}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if got := m.mountRoots(old); got != string(parts["root-cert.pem"]) {
		t.Errorf("roots published:\n%s", got)
	}
	client := m.enrol(at(r), idOf(m.shop, "reviews"), m.shop.Token(m.shop.Pod("reviews-0", "reviews", m.node.Name)))
	cert, err := issueOne(t, client)
	if err != nil {
		t.Fatal(err)
	}
	if signs := stepca.Certificates(t, parts["ca-cert.pem"])[0]; cert.Leaf.CheckSignatureFrom(signs) != nil {
		t.Errorf("%s has signed, want %s", cert.Leaf.Issuer, signs.Subject)
	}
}
