package store

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/weftmesh/weft/test/plugca"
)

// While roots are changed, workloads trust both, in whatever order.
func TestRootOfTheChainComesFirst(t *testing.T) {
	now, next := Parts(plugca.New(t, plugca.EC)), Parts(plugca.New(t, plugca.RSA))
	for _, bundle := range [][]byte{slices.Concat(now[RootFile], next[RootFile]), slices.Concat(next[RootFile], now[RootFile])} {
		now[RootFile] = bundle
		a, err := Parse(now)
		if err != nil {
			t.Fatal(err)
		}
		if len(a.Roots) != 2 || !bytes.Equal(a.Chain[0].RawIssuer, a.Roots[0].RawSubject) || !bytes.Equal(a.RootPEM, bundle) {
			t.Errorf("roots %v for a chain of %s", a.Roots, a.Chain[0].Issuer)
		}
	}
}

// Another CA signs: its root is not ours to change.
func TestCASInThePlaceOfAKey(t *testing.T) {
	parts := Parts(plugca.New(t, plugca.EC))
	delete(parts, KeyFile)
	parts[CASFile] = []byte("{}\n")
	a, err := Parse(parts)
	if err != nil {
		t.Fatal(err)
	}
	if a.Signer() != nil || string(a.CAS()) != "{}" {
		t.Errorf("signs by %v, %q", a.Signer(), a.CAS())
	}
	if err := a.MayRotate(); err == nil || !strings.Contains(err.Error(), CASFile) {
		t.Errorf("may rotate: %v", err)
	}
}

func TestPartsDoNotPrint(t *testing.T) {
	parts, err := Make("cluster.local")
	if err != nil {
		t.Fatal(err)
	}
	if text := fmt.Sprintf("%v %+v %#v %s %x", parts, parts, parts, parts, parts); strings.Contains(text, "PRIVATE") || strings.Count(text, "[redacted]") != 5 {
		t.Errorf("printed as %s", text)
	}
}
