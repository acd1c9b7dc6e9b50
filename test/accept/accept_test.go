// Package accept holds what users' objects become against Envoy's own check:
// every resource made of the compiler's cases, right and wrong ones, must be
// one that Envoy takes.
//
// In: pilot/internal/compile/testdata, through the pilot's door. Out: the
// verdict of envoy --mode validate on one bootstrap for each proxy. Virtual
// hosts, which Envoy fetches on demand, stand in it all at once.
package accept

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/tools/txtar"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/envoybin"
	"github.com/weftmesh/weft/internal/model"
	"github.com/weftmesh/weft/pilot"
)

type object = map[string]any

func TestEnvoyTakesWhatTheCasesMake(t *testing.T) {
	binary, err := envoybin.Ensure(t.Context(), func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	files, err := filepath.Glob("../../pilot/internal/compile/testdata/*.txtar")
	if err != nil || len(files) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	proxies := map[string]model.Proxy{
		"sidecar": {Sidecar: true, Name: "web", Namespace: "default", Labels: map[string]string{"app": "web"}},
		"shop":    {Sidecar: true, Name: "web", Namespace: "shop"},
		"router":  {Name: "edge", Namespace: "default", Labels: map[string]string{"istio": "ingressgateway"}},
	}
	for _, file := range files {
		set := read(t, file)
		for name, proxy := range proxies {
			t.Run(strings.TrimSuffix(filepath.Base(file), ".txtar")+"/"+name, func(t *testing.T) {
				validate(t, binary, bootstrap(t, pilot.Translate(set, proxy)))
			})
		}
	}
}

func read(t *testing.T, file string) (set config.Set) {
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range txtar.Parse(data).Files {
		if f.Name != "config.yaml" {
			continue
		}
		objects, _ := config.Decode(file, f.Data)
		for _, o := range objects {
			set = set.With(o)
		}
	}
	return set
}

func validate(t *testing.T, binary string, boot object) {
	if said := refusal(t, binary, boot); said != "" {
		t.Error(said)
	}
}

// refusal is what Envoy says against a bootstrap; "": it takes it.
func refusal(t *testing.T, binary string, boot object) string {
	withFiles(boot, realFiles(t))
	text, err := json.Marshal(boot)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "bootstrap.json")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "--mode", "validate", "-l", "error", "-c", path)
	cmd.Dir = filepath.Dir(path) // it opens access logs, by whatever name
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Sprintf("Envoy refuses it: %v\n%.2000s", err, out)
	}
	return ""
}

// withFiles puts real files in the place of those that the cases name, by the
// field that names them.
func withFiles(value any, files map[string]string) {
	switch v := value.(type) {
	case object:
		for field, inner := range v {
			if file, ok := inner.(object); ok && files[field] != "" && file["filename"] != nil {
				file["filename"] = files[field]
			}
			withFiles(inner, files)
		}
	case []any:
		for _, inner := range v {
			withFiles(inner, files)
		}
	}
}

// realFiles are a certificate, its key and an empty list of revoked ones, by the
// fields that name such.
func realFiles(t *testing.T) map[string]string {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"a.example.com"}, SubjectKeyId: []byte("ca"), KeyUsage: x509.KeyUsageCRLSign | x509.KeyUsageDigitalSignature, IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	parsed, err := x509.ParseCertificate(cert)
	if err != nil {
		t.Fatal(err)
	}
	revoked, err := x509.CreateRevocationList(rand.Reader, &x509.RevocationList{Number: big.NewInt(1), NextUpdate: time.Now().Add(time.Hour)}, parsed, key)
	if err != nil {
		t.Fatal(err)
	}
	chain := file("cert", "CERTIFICATE", cert)
	return map[string]string{"certificateChain": chain, "trustedCa": chain, "privateKey": file("key", "PRIVATE KEY", private), "crl": file("crl", "X509 CRL", revoked)}
}

// bootstrap puts the resources of a proxy into one static bootstrap.
func bootstrap(t *testing.T, resources []*pilot.Resource) object {
	var clusters, listeners, hosts []any
	for _, r := range resources {
		if strings.HasSuffix(r.Type, ".Secret") {
			continue // it is asked for, and its JSON says nothing
		}
		var body object
		if err := json.Unmarshal(pilot.JSON(r), &body); err != nil {
			t.Fatalf("%s: %v", r.Name, err)
		}
		delete(body, "@type")
		switch r.Type[strings.LastIndexByte(r.Type, '.')+1:] {
		case "Cluster":
			clusters = append(clusters, static(body))
		case "VirtualHost":
			hosts = append(hosts, body)
		case "RouteConfiguration":
			inline, _ := body["virtualHosts"].([]any)
			hosts = append(hosts, inline...)
		case "Listener":
			listeners = append(listeners, body)
		}
	}
	for i, h := range hosts {
		listeners = append(listeners, serve(h, 1+i))
	}
	return object{
		"node":            object{"id": "n", "cluster": "c"},
		"layeredRuntime":  object{"layers": []any{object{"name": "static", "staticLayer": object{"re2.max_program_size.error_level": 32768}}}},
		"staticResources": object{"clusters": append(clusters, fixed("xds-grpc"), fixed("sds-grpc")), "listeners": listeners},
		"dynamicResources": object{"adsConfig": object{"apiType": "DELTA_GRPC", "transportApiVersion": "V3", "grpcServices": []any{
			object{"envoyGrpc": object{"clusterName": "xds-grpc"}},
		}}},
	}
}

// static makes an EDS cluster one that needs no server.
func static(c object) object {
	if c["type"] == "EDS" {
		c["type"] = "STATIC"
		delete(c, "edsClusterConfig")
		c["loadAssignment"] = object{"clusterName": c["name"]}
	}
	overSDS(c)
	return c
}

// overSDS makes a cluster ask the agent for its secrets: Envoy's validation
// crashes on a cluster of the bootstrap that asks ADS, which such a cluster
// comes before. Clusters that come by CDS may (golden case tls-credential).
func overSDS(value any) {
	switch v := value.(type) {
	case object:
		if _, ok := v["ads"]; ok {
			delete(v, "ads")
			v["apiConfigSource"] = object{"apiType": "DELTA_GRPC", "transportApiVersion": "V3", "grpcServices": []any{
				object{"envoyGrpc": object{"clusterName": "sds-grpc"}},
			}}
		}
		for _, inner := range v {
			overSDS(inner)
		}
	case []any:
		for _, inner := range v {
			overSDS(inner)
		}
	}
}

func fixed(name string) object {
	return object{
		"name": name, "type": "STATIC", "loadAssignment": object{"clusterName": name},
		"typedExtensionProtocolOptions": object{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": object{
			"@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions", "explicitHttpConfig": object{"http2ProtocolOptions": object{}},
		}},
	}
}

// serve gives a virtual host a listener of its own.
func serve(host any, port int) object {
	filter := func(name, kind string) object {
		return object{"name": name, "typedConfig": object{"@type": "type.googleapis.com/envoy.extensions.filters.http." + kind}}
	}
	return object{
		"address": object{"socketAddress": object{"address": "127.0.0.1", "portValue": port}},
		"filterChains": []any{object{"filters": []any{object{"name": "hcm", "typedConfig": object{
			"@type":      "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
			"statPrefix": "s", "routeConfig": object{"virtualHosts": []any{host}, "validateClusters": false},
			"httpFilters": []any{
				filter("envoy.filters.http.fault", "fault.v3.HTTPFault"), filter("envoy.filters.http.cors", "cors.v3.Cors"),
				filter("envoy.filters.http.router", "router.v3.Router"),
			},
		}}}}},
	}
}
