package cluster

import (
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/weftmesh/weft/ca/internal/store"
	"github.com/weftmesh/weft/test/plugca"
)

// revoking is a list of the authority that parts are.
func revoking(t *testing.T, parts store.Parts) []byte {
	t.Helper()
	a, err := store.Parse(parts)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{
		Number: big.NewInt(1), ThisUpdate: time.Now().Add(-time.Minute), NextUpdate: time.Now().Add(time.Hour),
		RevokedCertificateEntries: []x509.RevocationListEntry{{SerialNumber: big.NewInt(7), RevocationTime: time.Now()}},
	}, a.Chain[0], a.Signer())
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der})
}

// ca-crl.pem of Secret cacerts comes beside the roots into every namespace, and goes
// with it; a list of another CA stays out, and stops nothing; a
// text that cannot be read takes none away.
func TestListsInEachNamespace(t *testing.T) {
	f := newFixture(t)
	c := f.replica("a")
	parts := plugin(t, plugca.EC)
	list, others := string(revoking(t, parts)), string(revoking(t, plugin(t, plugca.EC)))
	data := map[string][]byte{}
	for name, text := range parts {
		data[name] = text
	}
	data[store.CRLFile] = []byte(others + list)
	f.put(PluggedIn, data)
	want := string(f.open(c).RootPEM)
	f.run(c.Publish)
	shop := f.namespaceOf("shop")
	lists := func() string {
		m, err := f.api.CoreV1().ConfigMaps(shop).Get(t.Context(), RootConfigMap, metav1.GetOptions{})
		if err != nil {
			return ""
		}
		return m.Data[ListKey]
	}
	f.within(deadline, "list in "+shop, func() bool { return f.roots(shop) == want && lists() == list })
	used := f.following(c)
	data[store.CRLFile] = []byte("garbage")
	f.put(PluggedIn, data)
	f.next(used)
	if got := string(c.current().lists); got != list {
		t.Errorf("garbage took the list away: %q", got)
	}
	late := f.namespaceOf("later")
	f.within(deadline, "list in "+late, func() bool {
		m, err := f.api.CoreV1().ConfigMaps(late).Get(t.Context(), RootConfigMap, metav1.GetOptions{})
		return err == nil && m.Data[ListKey] == list
	})
	if lists() != list {
		t.Errorf("garbage is published: %q", lists())
	}
	delete(data, store.CRLFile)
	f.put(PluggedIn, data)
	f.next(used)
	f.within(deadline, "no list in "+shop, func() bool { return f.roots(shop) == want && lists() == "" })
}
