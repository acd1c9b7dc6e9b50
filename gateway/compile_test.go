package gateway

import (
	"slices"
	"testing"

	networking "istio.io/api/networking/v1alpha3"

	"github.com/weftmesh/weft/internal/config"
	"github.com/weftmesh/weft/internal/diag"
	"github.com/weftmesh/weft/internal/model"
)

func compile(t *testing.T, secrets map[string]*model.Secret, servers ...*networking.Server) (*model.Gateway, []string) {
	t.Helper()
	o := &config.Object{Kind: config.Gateway, Namespace: "edge", Name: "gw", Spec: &networking.Gateway{Servers: servers}}
	d := diag.For(o.Ref())
	g := Compile(o, d)
	CheckCredentials(g, "edge", func(key string) *model.Secret { return secrets[key] }, d)
	var found []string
	for _, f := range d.All() {
		found = append(found, f.Code+" "+f.Path)
	}
	return g, found
}

func https(mode networking.ServerTLSSettings_TLSmode, credential string) *networking.Server {
	return &networking.Server{
		Port:  &networking.Port{Number: 443, Name: "https", Protocol: "HTTPS"},
		Hosts: []string{"a.example.com"},
		Tls:   &networking.ServerTLSSettings{Mode: mode, CredentialName: credential},
	}
}

func TestCredentials(t *testing.T) {
	pair := &model.Secret{Cert: []byte("c"), Key: model.PrivateKey("k")}
	withCA := &model.Secret{Cert: []byte("c"), Key: model.PrivateKey("k"), CA: []byte("ca")}
	onlyCA := &model.Secret{CA: []byte("ca")}
	simple, mutual := networking.ServerTLSSettings_SIMPLE, networking.ServerTLSSettings_MUTUAL
	for _, tc := range []struct {
		name    string
		mode    networking.ServerTLSSettings_TLSmode
		secrets map[string]*model.Secret
		want    []string
	}{
		{"simple", simple, map[string]*model.Secret{"edge/cert": pair}, nil},
		{"missing", simple, nil, []string{"IST0101 spec.servers[0].tls.credentialName"}},
		{"of another namespace", simple, map[string]*model.Secret{"other/cert": pair}, []string{"IST0101 spec.servers[0].tls.credentialName"}},
		{"CA alone", simple, map[string]*model.Secret{"edge/cert": onlyCA}, []string{"IST0101 spec.servers[0].tls.credentialName"}},
		{"mutual", mutual, map[string]*model.Secret{"edge/cert": withCA}, nil},
		{"mutual with CA beside", mutual, map[string]*model.Secret{"edge/cert": pair, "edge/cert-cacert": onlyCA}, nil},
		{"mutual without CA", mutual, map[string]*model.Secret{"edge/cert": pair}, []string{"IST0161 spec.servers[0].tls.credentialName"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g, found := compile(t, tc.secrets, https(tc.mode, "cert"))
			if !slices.Equal(found, tc.want) {
				t.Errorf("findings %v, want %v", found, tc.want)
			}
			if len(g.Servers) != 1 || !slices.Equal(g.Servers[0].TLS.Credentials, []string{"edge/cert"}) {
				t.Errorf("got %+v", g.Servers)
			}
		})
	}
}

func TestServersThatAreNotServed(t *testing.T) {
	bad := https(networking.ServerTLSSettings_SIMPLE, "")
	good := &networking.Server{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}}
	g, found := compile(t, nil, nil, bad, good)
	if len(g.Servers) != 1 || g.Servers[0].Index != 2 || g.Servers[0].RouteTable != "http.80" {
		t.Errorf("got %+v", g.Servers)
	}
	if want := []string{"IST0106 spec.servers[0].port.number", "IST0106 spec.servers[1].tls"}; !slices.Equal(found, want) {
		t.Errorf("findings %v, want %v", found, want)
	}
}

func TestServersOnOnePort(t *testing.T) {
	first, second := https(networking.ServerTLSSettings_SIMPLE, "cert"), https(networking.ServerTLSSettings_SIMPLE, "cert")
	second.Port.Name, second.Hosts = "https-2", []string{"b.example.com", "a.example.com"}
	plain := &networking.Server{Port: &networking.Port{Number: 443, Name: "http", Protocol: "HTTP"}, Hosts: []string{"c.example.com"}}
	secrets := map[string]*model.Secret{"edge/cert": {Cert: []byte("c"), Key: model.PrivateKey("k")}}
	g, found := compile(t, secrets, first, second, plain)
	if len(g.Servers) != 2 || g.Servers[1].RouteTable != "https.443.https-2.gw.edge" {
		t.Errorf("got %+v", g.Servers)
	}
	if want := []string{"IST0145 spec.servers[1].hosts", "IST0145 spec.servers[2].port"}; !slices.Equal(found, want) {
		t.Errorf("findings %v, want %v", found, want)
	}
}

// Ports of the gateway's own Envoy and agent: there a server would take no
// request, or keep the listener from being opened.
func TestOwnPorts(t *testing.T) {
	for _, port := range []uint32{15000, 15020, 15021, 15090} {
		g, found := compile(t, nil, &networking.Server{Port: &networking.Port{Number: port, Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}})
		if len(g.Servers) != 0 || !slices.Equal(found, []string{"IST0106 spec.servers[0].port.number"}) {
			t.Errorf("%d: got %+v, %v", port, g.Servers, found)
		}
	}
}

// A listener whose address Envoy cannot read would be refused.
func TestBind(t *testing.T) {
	for in, want := range map[string]string{"": "", "0.0.0.0": "", "::": "", "127.0.0.1": "127.0.0.1", "FD00::1": "fd00::1"} {
		g, found := compile(t, nil, &networking.Server{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}, Bind: in})
		if len(g.Servers) != 1 || g.Servers[0].Bind != want || len(found) > 0 {
			t.Errorf("%q: got %+v, %v", in, g.Servers, found)
		}
	}
	for _, in := range []string{"not-an-ip", "unix:///tmp/x", "10.0.0.1:80", "fe80::1%eth0", "224.0.0.1"} {
		g, found := compile(t, nil, &networking.Server{Port: &networking.Port{Number: 80, Name: "http", Protocol: "HTTP"}, Hosts: []string{"*"}, Bind: in})
		if len(g.Servers) != 0 || !slices.Equal(found, []string{"IST0106 spec.servers[0].bind"}) {
			t.Errorf("%q: got %+v, %v", in, g.Servers, found)
		}
	}
}
