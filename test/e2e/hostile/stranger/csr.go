package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"flag"
	"net/url"
	"os"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	securityapi "istio.io/api/security/v1alpha1"
)

// Answer is what the CA said to a certificate request: OK with the URIs of the
// certificate, or another code of gRPC.
type Answer struct {
	Code, Message string
	URIs          []string
}

// ask sends a certificate request for a name with a token.
func ask(ctx context.Context, args []string) (Answer, error) {
	set := flag.NewFlagSet("csr", flag.ContinueOnError)
	ca := set.String("ca", "weft-ca.weft-system.svc:15012", "address")
	roots := set.String("roots", "/var/run/secrets/istio/root-cert.pem", "file of the mesh's roots")
	token := set.String("token", "/var/run/secrets/tokens/istio-token", "file of the token; empty: none")
	name := set.String("name", "", "SPIFFE URI to ask for; empty: none")
	if err := set.Parse(args); err != nil {
		return Answer{}, err
	}
	creds, err := credentials.NewClientTLSFromFile(*roots, "")
	if err != nil {
		return Answer{}, err
	}
	conn, err := grpc.NewClient(*ca, grpc.WithTransportCredentials(creds))
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = conn.Close() }()
	if *token != "" {
		text, err := os.ReadFile(*token)
		if err != nil {
			return Answer{}, err
		}
		ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+strings.TrimSpace(string(text)))
	}
	csr, err := request(*name)
	if err != nil {
		return Answer{}, err
	}
	got, err := securityapi.NewIstioCertificateServiceClient(conn).CreateCertificate(ctx, &securityapi.IstioCertificateRequest{Csr: csr, ValidityDuration: 3600})
	out := Answer{Code: status.Code(err).String(), Message: status.Convert(err).Message()}
	if err == nil {
		out.URIs, err = names(got.GetCertChain())
		return out, err
	}
	return out, nil
}

// request is a CSR for a name.
func request(name string) (string, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", err
	}
	t := &x509.CertificateRequest{}
	if name != "" {
		uri, err := url.Parse(name)
		if err != nil {
			return "", err
		}
		t.URIs = []*url.URL{uri}
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, t, key)
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der})), err
}

// names are the URIs of a chain's leaf.
func names(chain []string) (out []string, err error) {
	if len(chain) == 0 {
		return nil, errors.New("the CA sent no certificate")
	}
	block, _ := pem.Decode([]byte(chain[0]))
	if block == nil {
		return nil, errors.New("the CA's certificate is no PEM")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, err
	}
	for _, u := range leaf.URIs {
		out = append(out, u.String())
	}
	return out, nil
}
