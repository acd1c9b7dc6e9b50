// Package boundtoken makes pods and their bound service account tokens on a real
// API server, for tests of those who must tell a pod by its token.
//
// Inputs: a clientset of an administrator. Outputs: objects and tokens that the
// API server itself made, or that were signed with its key. It may not import
// anything of this module.
package boundtoken

import (
	"crypto/ecdsa"
	"os"
	"testing"

	"github.com/golang-jwt/jwt/v5"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
)

// Audience is that of the tokens of Pods.Token.
const Audience = "istio-ca"

// Pods makes the objects of one namespace. Failures end the test.
type Pods struct {
	t         testing.TB
	api       kubernetes.Interface
	Namespace string
}

// New makes a namespace whose name starts with prefix.
func New(t testing.TB, api kubernetes.Interface, prefix string) *Pods {
	t.Helper()
	ns, err := api.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return &Pods{t: t, api: api, Namespace: ns.Name}
}

// Account makes a service account.
func (p *Pods) Account(name string) {
	p.t.Helper()
	_, err := p.api.CoreV1().ServiceAccounts(p.Namespace).Create(p.t.Context(), &corev1.ServiceAccount{
		ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
}

// Node makes a node whose name starts with prefix and returns it.
func (p *Pods) Node(prefix string) *corev1.Node {
	p.t.Helper()
	node, err := p.api.CoreV1().Nodes().Create(p.t.Context(), &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{GenerateName: prefix + "-"}}, metav1.CreateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return node
}

// Pod makes a pod of account on node ("" is none yet), changed by the functions
// given before it is created.
func (p *Pods) Pod(name, account, node string, change ...func(*corev1.Pod)) *corev1.Pod {
	p.t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": account, "version": "v1"}},
		Spec: corev1.PodSpec{
			ServiceAccountName: account, NodeName: node,
			Containers: []corev1.Container{{Name: "app", Image: "localhost/none"}},
		},
	}
	for _, f := range change {
		f(pod)
	}
	made, err := p.api.CoreV1().Pods(p.Namespace).Create(p.t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return made
}

// Finish sets a pod's phase.
func (p *Pods) Finish(pod *corev1.Pod, phase corev1.PodPhase) {
	p.t.Helper()
	pod = pod.DeepCopy()
	pod.Status.Phase = phase
	if _, err := p.api.CoreV1().Pods(p.Namespace).UpdateStatus(p.t.Context(), pod, metav1.UpdateOptions{}); err != nil {
		p.t.Fatal(err)
	}
}

// Delete removes a pod at once.
func (p *Pods) Delete(pod *corev1.Pod) {
	p.t.Helper()
	now := int64(0)
	if err := p.api.CoreV1().Pods(p.Namespace).Delete(p.t.Context(), pod.Name, metav1.DeleteOptions{GracePeriodSeconds: &now}); err != nil {
		p.t.Fatal(err)
	}
}

// Token asks the API server for the token that a kubelet mounts into pod.
func (p *Pods) Token(pod *corev1.Pod) string {
	p.t.Helper()
	return p.Request(pod.Spec.ServiceAccountName, authenticationv1.TokenRequestSpec{
		Audiences:      []string{Audience},
		BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: pod.Name, UID: pod.UID},
	})
}

// Request asks the API server for any token of account.
func (p *Pods) Request(account string, spec authenticationv1.TokenRequestSpec) string {
	p.t.Helper()
	reply, err := p.api.CoreV1().ServiceAccounts(p.Namespace).CreateToken(p.t.Context(), account,
		&authenticationv1.TokenRequest{Spec: spec}, metav1.CreateOptions{})
	if err != nil {
		p.t.Fatal(err)
	}
	return reply.Status.Token
}

// Signer signs tokens that no API server would make, with its own key.
type Signer struct {
	t   testing.TB
	key *ecdsa.PrivateKey
	id  string
}

// NewSigner reads the API server's signing key, a P-256 key in PEM; real is any
// token of it, for the key's name.
func NewSigner(t testing.TB, keyFile, real string) *Signer {
	t.Helper()
	text, err := os.ReadFile(keyFile)
	if err != nil {
		t.Fatal(err)
	}
	key, err := jwt.ParseECPrivateKeyFromPEM(text)
	if err != nil {
		t.Fatal(err)
	}
	token, _, err := jwt.NewParser().ParseUnverified(real, jwt.MapClaims{})
	if err != nil {
		t.Fatal(err)
	}
	id, _ := token.Header["kid"].(string)
	return &Signer{t: t, key: key, id: id}
}

// Forge returns real with its claims changed, signed by the API server's key.
func (s *Signer) Forge(real string, change func(jwt.MapClaims)) string {
	s.t.Helper()
	claims := jwt.MapClaims{}
	if _, _, err := jwt.NewParser().ParseUnverified(real, claims); err != nil {
		s.t.Fatal(err)
	}
	change(claims)
	token := jwt.NewWithClaims(jwt.SigningMethodES256, claims)
	token.Header["kid"] = s.id
	text, err := token.SignedString(s.key)
	if err != nil {
		s.t.Fatal(err)
	}
	return text
}
