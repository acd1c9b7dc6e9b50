package ingress_test

import (
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/gateway/ingress"
	"github.com/weftmesh/weft/pilot"
)

// TestWhatIsConvertedIsRight: where nothing of a conversion is an error, Weft
// finds none in what it made, whatever the Ingresses say.
func TestWhatIsConvertedIsRight(t *testing.T) {
	for seed := range uint64(300) {
		text := invented(rand.New(rand.NewPCG(seed, 1)))
		got := ingress.Convert([]ingress.File{{Name: "world.yaml", Text: world(t)}, {Name: "ingress.yaml", Text: []byte(text)}}, ingress.Options{})
		if len(got.Objects) == 0 {
			t.Fatalf("seed %d made nothing of\n%s", seed, text)
		}
		set, form := decode(t, world(t), manifest(t, got))
		if wrong := errorsOf(append(form, pilot.Check(set)...)); len(wrong) > 0 && len(errorsOf(got.Findings)) == 0 {
			t.Fatalf("seed %d: %v\nof\n%s", seed, lines(wrong), text)
		}
	}
}

// invented is a few Ingresses with annotations, at random.
func invented(r *rand.Rand) string {
	one := func(words ...string) string { return words[r.IntN(len(words))] }
	annotations := []string{
		"rewrite-target: /$1", "use-regex: 'true'", "ssl-redirect: 'false'", "permanent-redirect: https://a.example.com", "temporal-redirect: https://b.example.com/x",
		"app-root: /app", "enable-cors: 'true'", "cors-allow-origin: https://x.example.com", "proxy-read-timeout: '5'", "proxy-connect-timeout: '5'",
		"proxy-next-upstream: error http_502 non_idempotent", "proxy-next-upstream-tries: '4'", "backend-protocol: GRPC", "backend-protocol: HTTPS",
		"upstream-vhost: in.example.com", "server-alias: www.example.net", "affinity: cookie", "proxy-body-size: 1m", "unheard-of: 'x'",
	}
	var out strings.Builder
	for i := range 1 + r.IntN(3) {
		fmt.Fprintf(&out, "---\napiVersion: networking.k8s.io/v1\nkind: Ingress\nmetadata:\n  name: i%d\n  namespace: shop\n  annotations:\n    x: y\n", i)
		seen := map[string]bool{}
		for range r.IntN(4) {
			line := annotations[r.IntN(len(annotations))]
			if name, _, _ := strings.Cut(line, ":"); !seen[name] {
				seen[name] = true
				fmt.Fprintf(&out, "    nginx.ingress.kubernetes.io/%s\n", line)
			}
		}
		out.WriteString("spec:\n  rules:\n")
		for range 1 + r.IntN(3) {
			fmt.Fprintf(&out, "  - host: %q\n    http:\n      paths:\n", one("", "a.example.com", "*.example.com", "b.example.org"))
			for range 1 + r.IntN(3) {
				fmt.Fprintf(&out, "      - {path: %q, pathType: %s, backend: {service: {name: %s, port: {number: 80}}}}\n",
					one("/", "/a", "/a/", "/a/b", "/c(/|$)(.*)"), one("Prefix", "Exact", "ImplementationSpecific"), one("site", "api", "static"))
			}
		}
	}
	return out.String()
}

// FuzzConvert: nothing panics, and what comes out is of the right form.
func FuzzConvert(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(files) == 0 {
		f.Fatalf("no cases: %v", err)
	}
	for _, path := range files {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(archive.Files[0].Data)
	}
	home, err := os.ReadFile("testdata/world.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		got := ingress.Convert([]ingress.File{{Name: "world.yaml", Text: home}, {Name: "ingress.yaml", Text: text}}, ingress.Options{})
		if _, form := decode(t, manifest(t, got)); len(form) > 0 {
			t.Errorf("%v of\n%s", form, manifest(t, got))
		}
	})
}
