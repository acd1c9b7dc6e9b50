package controller

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/golang-jwt/jwt/v5"
	corev1 "k8s.io/api/core/v1"
)

// tokenLife outlasts any local mesh: the key that signs tokens lives in one
// process and dies with it, and no token leaves its pod's memory.
const tokenLife = 365 * 24 * time.Hour

// signer proves to the CA which pod is which, as the API server's bound tokens
// do in a cluster.
type signer struct{ key *ecdsa.PrivateKey }

func newSigner() (*signer, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("key of the local identities: %w", err)
	}
	return &signer{key: key}, nil
}

// publicPEM is what the CA verifies tokens with.
func (s *signer) publicPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(&s.key.PublicKey)
	if err != nil {
		return nil, fmt.Errorf("key of the local identities: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// token is a pod's proof, in the shape of a Kubernetes bound token.
func (s *signer) token(p *corev1.Pod) ([]byte, error) {
	now := time.Now()
	app, version := Canonical(p.Labels, workloadName(p))
	claims := jwt.MapClaims{
		"iss": "weft-local", "aud": []string{"istio-ca"},
		"sub": "system:serviceaccount:" + p.Namespace + ":" + p.Spec.ServiceAccountName,
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(tokenLife).Unix(),
		"kubernetes.io": map[string]any{
			"namespace":      p.Namespace,
			"pod":            map[string]string{"name": p.Name, "uid": string(p.UID)},
			"serviceaccount": map[string]string{"name": p.Spec.ServiceAccountName, "uid": p.Namespace + "/" + p.Spec.ServiceAccountName},
		},
		"weft.mesh": map[string]string{"workload": workloadName(p), "app": app, "version": version},
	}
	text, err := jwt.NewWithClaims(jwt.SigningMethodES256, claims).SignedString(s.key)
	if err != nil {
		return nil, fmt.Errorf("token of pod %s/%s: %w", p.Namespace, p.Name, err)
	}
	return []byte(text), nil
}
