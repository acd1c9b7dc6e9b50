// Package samples_test holds what is true of every sample folder.
package samples_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weftmesh/weft/internal/config"
)

// folders are the samples; each works by `weft up samples/NAME`.
var folders = []string{"bookshop", "canary", "egress", "grpc", "grpc-proxyless", "jwt", "locality", "plain-envoy", "tcp", "tls-gateway"}

func TestEveryFolderDecodesWithoutAFinding(t *testing.T) {
	for _, folder := range folders {
		t.Run(folder, func(t *testing.T) {
			files, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
			if err != nil || len(files) == 0 {
				t.Fatalf("no YAML in %s (%v)", folder, err)
			}
			for _, file := range files {
				data, err := os.ReadFile(file)
				if err != nil {
					t.Fatal(err)
				}
				objects, findings := config.Decode(file, data)
				for _, f := range findings {
					t.Errorf("%s: %v", file, f)
				}
				if len(objects) == 0 {
					t.Errorf("%s holds no object", file)
				}
			}
		})
	}
}

func TestEveryFolderSaysWhatToType(t *testing.T) {
	for _, folder := range folders {
		text, err := os.ReadFile(filepath.Join(folder, "README.md"))
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(string(text), "weft up samples/"+folder) {
			t.Errorf("%s/README.md does not say how to start it", folder)
		}
	}
}
