// Package pki makes the keys, certificates and kubeconfigs of one test cluster.
//
// Input: a folder and the addresses of the cluster's machines. Output: PEM and
// kubeconfig files in that folder, all P-256, valid for a year. They die with
// the cluster. It may import only the standard library.
package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/netip"
	"os"
	"path/filepath"
	"text/template"
	"time"
)

// Machine is a node that gets a kubelet's certificate.
type Machine struct {
	Name    string
	Address netip.Addr
}

// Options say what to make. All fields but Nodes must be set.
type Options struct {
	// Dir is the folder to write into; it is made.
	Dir string
	// Server is the URL of the API server as the cluster's programs call it.
	Server string
	// Addresses and Names are those at which the API server may be called.
	Addresses []netip.Addr
	Names     []string
	Nodes     []Machine
}

// authority is a CA that signs with its key.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// leaf is one certificate to issue.
type leaf struct {
	name, user, group string
	usage             []x509.ExtKeyUsage
	names             []string
	addresses         []netip.Addr
}

// Write makes everything in o.Dir: ca, front-ca, apiserver, kubelet-client,
// front-proxy (.crt and .key), sa.key and sa.pub, NODE.crt and .key, and
// kubeconfigs NAME.conf for admin, controller-manager, scheduler, kube-proxy and
// each node.
func Write(o Options) error {
	if err := os.MkdirAll(o.Dir, 0o700); err != nil {
		return err
	}
	w := writer{dir: o.Dir}
	root, front := w.authority("ca", "kubernetes-ca"), w.authority("front-ca", "front-proxy-ca")
	server, client := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}, []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	w.issue(root, leaf{name: "apiserver", user: "kube-apiserver", usage: server, names: o.Names, addresses: o.Addresses})
	w.issue(root, leaf{name: "kubelet-client", user: "kube-apiserver-kubelet-client", group: "system:masters", usage: client})
	w.issue(front, leaf{name: "front-proxy", user: "front-proxy-client", usage: client})
	users := []leaf{
		{name: "admin", user: "admin", group: "system:masters", usage: client},
		{name: "controller-manager", user: "system:kube-controller-manager", usage: client},
		{name: "scheduler", user: "system:kube-scheduler", usage: client},
		{name: "kube-proxy", user: "system:kube-proxy", usage: client},
	}
	for _, n := range o.Nodes {
		users = append(users, leaf{
			name: n.Name, user: "system:node:" + n.Name, group: "system:nodes", usage: append(server, client...),
			names: []string{n.Name}, addresses: []netip.Addr{n.Address},
		})
	}
	for _, user := range users {
		w.issue(root, user)
		w.kubeconfig(user.name, o.Server)
	}
	w.signer("sa")
	return w.err
}

// Kubeconfig gives the file of a user that Write made, with another URL of the
// same API server.
func Kubeconfig(dir, user, server string) ([]byte, error) {
	w := writer{dir: dir}
	content := w.config(user, server)
	return content, w.err
}

// writer makes files until the first error.
type writer struct {
	dir string
	err error
}

func (w *writer) file(name string, content []byte) {
	if w.err == nil {
		w.err = os.WriteFile(filepath.Join(w.dir, name), content, 0o600)
	}
}

func (w *writer) key(name string) *ecdsa.PrivateKey {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.err = err
		return nil
	}
	der, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		w.err = err
		return nil
	}
	w.file(name+".key", pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: der}))
	return key
}

// signer is the pair for service accounts' tokens.
func (w *writer) signer(name string) {
	key := w.key(name)
	if w.err != nil {
		return
	}
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		w.err = err
		return
	}
	w.file(name+".pub", pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func (w *writer) authority(name, subject string) authority {
	key := w.key(name)
	if w.err != nil {
		return authority{}
	}
	t := certificate(pkix.Name{CommonName: subject})
	t.IsCA, t.BasicConstraintsValid = true, true
	t.KeyUsage |= x509.KeyUsageCertSign | x509.KeyUsageCRLSign
	return authority{cert: w.sign(name, t, authority{cert: t, key: key}, key), key: key}
}

func (w *writer) issue(by authority, l leaf) {
	key := w.key(l.name)
	if w.err != nil {
		return
	}
	subject := pkix.Name{CommonName: l.user}
	if l.group != "" {
		subject.Organization = []string{l.group}
	}
	t := certificate(subject)
	t.ExtKeyUsage, t.DNSNames = l.usage, l.names
	for _, a := range l.addresses {
		t.IPAddresses = append(t.IPAddresses, a.AsSlice())
	}
	w.sign(l.name, t, by, key)
}

// certificate is a template: clocks of one machine need an hour of grace at
// most.
func certificate(subject pkix.Name) *x509.Certificate {
	now := time.Now()
	serial, _ := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127)) // rand.Reader does not fail
	return &x509.Certificate{
		SerialNumber: serial, Subject: subject, KeyUsage: x509.KeyUsageDigitalSignature,
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(1, 0, 0),
	}
}

func (w *writer) sign(name string, t *x509.Certificate, by authority, key *ecdsa.PrivateKey) *x509.Certificate {
	if w.err != nil {
		return nil
	}
	der, err := x509.CreateCertificate(rand.Reader, t, by.cert, &key.PublicKey, by.key)
	if err != nil {
		w.err = fmt.Errorf("certificate %s: %w", name, err)
		return nil
	}
	w.file(name+".crt", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		w.err = err
	}
	return cert
}

var kubeconfig = template.Must(template.New("kubeconfig").Parse(`apiVersion: v1
kind: Config
clusters:
- name: weft-test
  cluster: {server: "{{.Server}}", certificate-authority-data: {{.CA}}}
users:
- name: "{{.User}}"
  user: {client-certificate-data: {{.Cert}}, client-key-data: {{.Key}}}
contexts:
- name: weft-test
  context: {cluster: weft-test, user: "{{.User}}"}
current-context: weft-test
`))

func (w *writer) kubeconfig(user, server string) {
	w.file(user+".conf", w.config(user, server))
}

func (w *writer) config(user, server string) []byte {
	var out bytes.Buffer
	data := map[string]string{"User": user, "Server": server, "CA": w.base64("ca.crt"), "Cert": w.base64(user + ".crt"), "Key": w.base64(user + ".key")}
	if err := kubeconfig.Execute(&out, data); err != nil && w.err == nil {
		w.err = err
	}
	return out.Bytes()
}

func (w *writer) base64(name string) string {
	content, err := os.ReadFile(filepath.Join(w.dir, name))
	if err != nil && w.err == nil {
		w.err = err
	}
	return base64.StdEncoding.EncodeToString(content)
}
