package dashboard

import (
	"os"
	"path/filepath"
	"testing"
)

// pages are all kinds of pages, by the names of their pictures.
var pages = map[string]string{
	"graph": "/", "workloads": "/workloads", "services": "/services", "pods": "/pods", "workload": "/workload/default/frontend",
	"service": "/service/default/reviews", "pod": "/pod/default/ratings-b", "canaries": "/canaries", "objects": "/objects",
	"object": "/object/VirtualService/default/reviews", "ejected": "/ejected",
}

// TestPictures makes the pictures of the guide; WEFT_PICTURES names a folder for
// those of all pages in all looks, for a person to see.
func TestPictures(t *testing.T) {
	folder := os.Getenv("WEFT_PICTURES")
	if !*update && folder == "" {
		t.Log("only with -args -update")
		return
	}
	s := serve(t, bookshop(), "")
	shoot := func(path string, l look, route string) {
		tb := open(t, s, l, route)
		if err := os.WriteFile(path, tb.picture(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if folder == "" {
		for _, name := range []string{"graph", "workload", "canaries", "objects"} {
			shoot(filepath.Join("../../docs/images", name+".png"), desk, pages[name])
		}
		return
	}
	for name, route := range pages {
		for suffix, l := range map[string]look{"": desk, "-dark": deskDark, "-phone": phone} {
			shoot(filepath.Join(folder, name+suffix+".png"), l, route)
		}
	}
}
