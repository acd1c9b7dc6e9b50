package enroll

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/weftmesh/weft/internal/spiffe"
)

// Report is what a holder of a certificate tells the CA: what it verifies its
// peers with and what it shows them. A rotation of the root goes by it.
type Report struct {
	Roots   []string  // fingerprints of the roots that are trusted
	Leaf    string    // fingerprint of the root that the certificate chains to; "": none of Roots
	Expires time.Time // end of the certificate, in whole seconds
	Epoch   uint64    // of the last Answer; 0 before the first
	Leaving bool      // the holder ends: it is not to be waited for
	At      time.Time // when it is said, by the holder's clock: of two, the later holds
}

// Answer is what the CA says to a Report.
type Answer struct {
	Signer string        // fingerprint of the root that new certificates chain to
	Epoch  uint64        // counts the changes of Signer
	Next   time.Duration // when to report again
}

// maxRoots bounds the fingerprints of one report.
const maxRoots = 64

// Fingerprints are those of a PEM bundle, in its order.
func Fingerprints(bundle []byte) ([]string, error) {
	certs, err := parsePEM(bundle)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(certs))
	for i, c := range certs {
		out[i] = spiffe.Fingerprint(c)
	}
	return out, nil
}

// rootOf is the fingerprint of the root of bundle that a PEM chain leads to, ""
// where it leads to none, and the leaf's end.
func rootOf(chainPEM, bundle []byte) (string, time.Time, error) {
	all, end, err := rootsOf(chainPEM, bundle)
	if len(all) == 0 {
		return "", end, err
	}
	return all[0], end, err
}

// rootsOf are all of them: roots that were issued again have one key.
func rootsOf(chainPEM, bundle []byte) ([]string, time.Time, error) {
	chain, err := parseChain(chainPEM)
	if err != nil {
		return nil, time.Time{}, err
	}
	certs, err := parsePEM(bundle)
	if err != nil {
		return nil, time.Time{}, err
	}
	roots, above := x509.NewCertPool(), x509.NewCertPool()
	for _, c := range certs {
		roots.AddCert(c)
	}
	for _, c := range chain[1:] {
		above.AddCert(c)
	}
	end := chain[0].NotAfter
	ways, err := chain[0].Verify(x509.VerifyOptions{Roots: roots, Intermediates: above, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny}})
	if err != nil {
		return nil, end, nil //nolint:nilerr // it is an answer: no root of these
	}
	all := make([]string, len(ways))
	for i, way := range ways {
		all[i] = spiffe.Fingerprint(way[len(way)-1])
	}
	return all, end, nil
}

// Names of the service. Its messages are google.protobuf.Struct, so that it may
// grow without a compiler of ours in every build.
const (
	trustService = "weft.mesh.ca.v1.Trust"
	trustReport  = "/" + trustService + "/Report"
)

// TrustServer takes reports. The caller proves itself as for a certificate: by a
// bearer token.
type TrustServer interface {
	Report(ctx context.Context, r Report) (Answer, error)
}

// RegisterTrust serves s beside the service for certificates.
func RegisterTrust(to grpc.ServiceRegistrar, s TrustServer) {
	to.RegisterService(&grpc.ServiceDesc{
		ServiceName: trustService, HandlerType: (*TrustServer)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Report", Handler: serveReport}},
	}, s)
}

func serveReport(srv any, ctx context.Context, decode func(any) error, interceptor grpc.UnaryServerInterceptor) (any, error) { //nolint:revive // the order of gRPC
	in := new(structpb.Struct)
	if err := decode(in); err != nil {
		return nil, err
	}
	handle := func(ctx context.Context, req any) (any, error) {
		answer, err := srv.(TrustServer).Report(ctx, readReport(req.(*structpb.Struct)))
		if err != nil {
			return nil, err
		}
		return answer.message(), nil
	}
	if interceptor == nil {
		return handle(ctx, in)
	}
	return interceptor(ctx, in, &grpc.UnaryServerInfo{Server: srv, FullMethod: trustReport}, handle)
}

func (r Report) message() *structpb.Struct {
	roots := &structpb.ListValue{}
	for _, root := range r.Roots {
		roots.Values = append(roots.Values, structpb.NewStringValue(root))
	}
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"roots":   structpb.NewListValue(roots),
		"leaf":    structpb.NewStringValue(r.Leaf),
		"expires": structpb.NewNumberValue(float64(r.Expires.Unix())),
		"epoch":   structpb.NewNumberValue(float64(r.Epoch)),
		"leaving": structpb.NewBoolValue(r.Leaving),
		"at":      structpb.NewNumberValue(float64(time.Now().UnixMilli())),
	}}
}

// readReport takes what is there; numbers that cannot be are 0.
func readReport(m *structpb.Struct) Report {
	f := m.GetFields()
	r := Report{
		Leaf: fingerprint(f["leaf"]), Leaving: f["leaving"].GetBoolValue(),
		Epoch: whole(f["epoch"]), Expires: time.Unix(int64(whole(f["expires"])), 0),
	}
	if at := whole(f["at"]); at > 0 {
		r.At = time.UnixMilli(int64(at))
	}
	values := f["roots"].GetListValue().GetValues()
	for _, v := range values[:min(len(values), maxRoots)] {
		if root := fingerprint(v); root != "" {
			r.Roots = append(r.Roots, root)
		}
	}
	return r
}

// fingerprint is the text of a value, "" where it is longer than one can be.
func fingerprint(v *structpb.Value) string {
	if text := v.GetStringValue(); len(text) <= 2*sha256.Size {
		return text
	}
	return ""
}

// whole is a number of 0 to 2^53, which a double holds exactly; else 0.
func whole(v *structpb.Value) uint64 {
	if n := v.GetNumberValue(); n >= 0 && n <= 1<<53 {
		return uint64(n)
	}
	return 0
}

func (a Answer) message() *structpb.Struct {
	return &structpb.Struct{Fields: map[string]*structpb.Value{
		"signer": structpb.NewStringValue(a.Signer),
		"epoch":  structpb.NewNumberValue(float64(a.Epoch)),
		"next":   structpb.NewNumberValue(a.Next.Seconds()),
	}}
}

func readAnswer(m *structpb.Struct) Answer {
	f := m.GetFields()
	return Answer{
		Signer: f["signer"].GetStringValue(), Epoch: whole(f["epoch"]),
		Next: time.Duration(whole(f["next"])) * time.Second,
	}
}

// Report tells the CA what is held. Like Issue it opens a connection of its own;
// the breaker is not asked, since a certificate may be waiting behind it.
func (c *Client) Report(ctx context.Context, r Report) (Answer, error) {
	if _, err := c.opts.Roots.Reload(); err != nil {
		return Answer{}, err
	}
	token, err := readToken(c.opts.TokenFile)
	if err != nil {
		return Answer{}, err
	}
	conn, err := grpc.NewClient("passthrough:///"+c.opts.Address, c.dialOptions()...)
	if err != nil {
		return Answer{}, err
	}
	defer func() { _ = conn.Close() }()
	ctx, cancel := context.WithTimeout(ctx, CallTimeout)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+token)
	reply := new(structpb.Struct)
	if err := conn.Invoke(ctx, trustReport, r.message(), reply); err != nil {
		return Answer{}, fmt.Errorf("enroll: report to %s: %w", c.opts.Address, err)
	}
	return readAnswer(reply), nil
}

var errNothingHeld = errors.New("nothing is held yet")
