package random

import (
	"math"
	"strings"

	"google.golang.org/protobuf/reflect/protoreflect"
)

// What objects are called, and where they are. Those of pilot/testdata/world.yaml
// are in default and other.
var (
	names      = []string{"a", "b", "c", "reviews", "ratings"}
	namespaces = []string{"default", "default", "default", "other", "weft-system"}
)

// essential are fields without which most objects mean nothing.
var essential = map[protoreflect.Name]bool{
	"host": true, "hosts": true, "route": true, "destination": true, "number": true, "protocol": true, "http": true, "servers": true, "port": true, "ports": true,
	"config_patches": true, "apply_to": true, "patch": true, "operation": true, "endpoints": true, "address": true, "egress": true, "sni_hosts": true, "traffic_policy": true,
	"rules": true, "key": true, "values": true, "resolution": true, "value": true,
}

var (
	likelyNumbers = []any{0, 1, 2, 5, 50, 80, 100, 200, 443, 503, 3306, 9080, 15443}
	ints          = []any{-1, math.MinInt32, math.MaxInt32, 65535, 65536, 599, 600, 1000, 8388608, 8388609, 101, 15001, 15006}
	uints         = []any{0, math.MaxUint32, math.MaxInt32, 65535, 65536, 599, 600, 1000, 8388608, 8388609, 5000011, 15001, 15006}
	floats        = []any{0, 0.0, 0.5, 1, 50, 100, 100.1, -1, 1e-9, 1e300, -1e300, "NaN", "Infinity", "-Infinity"}
	limits        = map[protoreflect.Kind][]any{
		protoreflect.Int32Kind: ints, protoreflect.Int64Kind: append([]any{"9223372036854775807", "-9223372036854775808"}, ints...),
		protoreflect.Uint32Kind: uints, protoreflect.Uint64Kind: append([]any{"18446744073709551615"}, uints...),
	}
	durations    = []string{"0s", "1s", "5s", "0.025s", "30s", "3600s"}
	oddDurations = []string{
		"-1s", "0.000000001s", "-0.000000001s", "0.0001s", "0.000999999s", "315576000000s", "-315576000000s", "4294967296s", "9223372036s", "9223372037s", "86400000s",
	}
)

var (
	hosts = []string{
		"reviews", "ratings", "db", "audit.other", "reviews.default.svc.cluster.local", "db.default.svc.cluster.local", "a.example.com", "*.example.com", "*", "audit.other.svc.cluster.local",
	}
	oddHosts = []string{
		"REVIEWS", "Reviews.Default.svc.cluster.local", "reviews.", "reviews.default.svc.cluster.local.", "reviews:9080", "a.example.com:443", "*.com.", "*foo", "foo.*", "**", "a..b", ".", "-a", "a_b.c", "münchen.example", "xn--mnchen-3ya.example", "日本.example",
		"10.1.2.3", "[::1]", "::1", "fe80::1%eth0", "10.0.0.0/8", "default/reviews", "a b", "a/b", strings.Repeat("a", 64) + ".com", strings.Repeat("abc.", 63) + "com", "A.EXAMPLE.COM", "localhost", "*.*.com", "a.example.com\n",
	}
	patterns = []string{"/a.*", "[a-z]+", ".*", "^/v[0-9]/(.*)$", "a|b", "(?i)x", `\d+`}
	// Regular expressions that do not compile, or that need more than Envoy lets.
	oddPatterns = []string{
		"", "(", "[a", "a**", "(?=x)", `\1`, "((a{1,100}){1,100}){1,100}", "(a+)+$", strings.Repeat("(a|b)?", 300), "(" + strings.Repeat("x", 5000) + ")", "\\", "(?P<n>a)(?P<n>b)", "日本+", "[[:alpha:]]{1000}", `\pL`, `a\Cb`,
	}
	headers    = []string{"x-a", "x-b", "user-agent", "cookie", "accept", "end-user"}
	oddHeaders = []string{
		"", ":authority", ":path", ":method", ":scheme", ":status", "Host", "host", "X-A", "x a", "x:a", "x-日本", "x\r\ny", "x\x00", "content-length", "transfer-encoding", "x_a", strings.Repeat("h", 900), "uri", "scheme", "te", "connection",
	}
	formats  = []string{"v", "%DOWNSTREAM_REMOTE_ADDRESS%", "%REQ(x-a)%", "100%%", "a b"}
	oddForms = []string{"%", "50%", "%REQ(", "%NOPE%", "a\nb", "a\x00b", "", "日本", strings.Repeat("v", 20000), "%START_TIME(%Q)%", "%CEL(1)%", "%REQ(x)(y)%", "%TRAILER(a):0%", "%REQ(a):99999999999%", "%DYNAMIC_METADATA()%"}
	paths    = []string{"/", "/a", "/a/", "/a/b", "/a?b=c", "/{*}", "/a/{**}", "a"}
	oddPaths = []string{"", "a", "//", "/a#b", "/a\n", "/日本", "/a%", "/%2F", "/{a}", "/{**}/{**}", "/{*}{*}", "*", "/*", "*/a", "**", "/" + strings.Repeat("p", 17000), "/a b", "/a\x00"}

	addresses    = []string{"10.1.0.1", "10.9.9.9", "192.0.2.1", "2001:db8::1", "a.example.com", "240.240.0.1"}
	oddAddresses = []string{"", "0.0.0.0", "::", "127.0.0.1", "255.255.255.255", "224.0.0.1", "10.0.0.0/8", "10.1.2.3/33", "::ffff:10.1.2.3", "fe80::1%eth0", "unix:///tmp/a.sock", "unix://@a", "unix://", "unix:///" + strings.Repeat("a", 200), "999.1.1.1", "10.1.2", "010.1.2.3", "A.Example.COM", "a.example.com.", "*.example.com", "münchen.example", "a b", strings.Repeat("a", 300), "1.2.3.4:80"}
	networks     = []string{"10.0.0.0/8", "10.1.0.1", "0.0.0.0/0", "2001:db8::/32", "192.0.2.1/32"}
	oddNetworks  = []string{"", "10.0.0.0/33", "10.0.0.0/-1", "::/129", "::/0", "::ffff:10.0.0.0/104", "*", "10.0.0.1/8", "a", "10.0.0.0/8 ", "10.0.0.0/08"}
	files        = []string{"/cert.pem", "/key.pem", "/ca.pem"}
	oddFiles     = []string{"", "a", "\x00", "/" + strings.Repeat("f", 5000), "sds://a", "../a"}
	labels       = []string{"v1", "v2", "reviews", "ratings", "ingressgateway"}
	oddLabels    = []string{"", "v 1", "日本", strings.Repeat("l", 64), "a=b", "a,b", "*", "-"}
	odd          = []string{"", " ", "*", "a", "日本", "\x00", "\n", "\u202e", "\ufffd", strings.Repeat("z", 3000), "%", "null", "-1", "0", "{}", "'\"", "a|b", "a/b", "~", ".", "default/*"}
)

// meanings are the strings that a field could mean, and those that it could be
// mistaken for.
type meaning struct{ likely, odd []string }

var (
	aHost    = meaning{hosts, oddHosts}
	aScope   = meaning{[]string{"*", "."}, []string{"~", "default", "other", "", "nowhere", "* ", "./*"}}
	aHeader  = meaning{headers, oddHeaders}
	aFormat  = meaning{formats, oddForms}
	aPath    = meaning{paths, oddPaths}
	anIP     = meaning{addresses, oddAddresses}
	aNet     = meaning{networks, oddNetworks}
	aFile    = meaning{files, oddFiles}
	aLabel   = meaning{labels, oddLabels}
	anObject = meaning{[]string{"a", "b", "c", "default/a", "other/b", "mesh"}, []string{"", "/", "a/", "/a", "a/b/c", "A", "./a", "*/a", "default/", "mesh/a"}}
	aSecret  = meaning{[]string{"shop-cert", "bank-cert", "none"}, []string{"", "kubernetes://a", "kubernetes://", "sds://a", "file:/a", "configmap://a", "a/b", "builtin://", "invalid://a"}}
	aSubset  = meaning{[]string{"v1", "v2"}, []string{"", "V1", "v|1", "v3", "日本", "v 1"}}
	aPort    = meaning{[]string{"http", "tcp", "https", "grpc"}, []string{"", "HTTP", "9080", "0", "65536", "-1", "1-", "80-90"}}
	aPlace   = meaning{[]string{"us/a/1", "us/a/*", "us/*", "*", "eu", "eu/b"}, []string{"", "/", "us//1", "us/a/1/2", "//", "*/a", "日本", "US/A/1"}}
)

// byName says what the strings of a field mean; for maps "{}" is added for the
// keys.
var byName = map[protoreflect.Name]meaning{
	"host": aHost, "hosts": aHost, "sni_hosts": aHost, "authority": {hosts, oddHosts}, "target_host": aHost, "sni": aHost, "subject_alt_names": {[]string{"spiffe://cluster.local/ns/default/sa/a", "a.example.com"}, oddHosts},
	"not_hosts": aHost, "export_to": aScope, "gateways": anObject, "subset": aSubset, "regex": {patterns, oddPatterns}, "match": {patterns, oddPatterns},
	"headers{}": aHeader, "without_headers{}": aHeader, "query_params{}": aHeader, "set{}": aHeader, "add{}": aHeader, "remove": aHeader, "http_header_name": aHeader, "header": aHeader, "allow_headers": aHeader, "expose_headers": aHeader,
	"set": aFormat, "add": aFormat, "exact": {append(append(append([]string{}, paths...), headers...), "GET"), append(oddPaths, oddForms...)}, "prefix": aPath, "uri": aPath, "path": aPath, "prefix_rewrite": aPath, "rewrite": {[]string{`\1`, `/a\1`, "/b"}, []string{`\9`, `\`, "", "a\n", `\0`, `\a`}},
	"paths": aPath, "not_paths": aPath, "methods": {[]string{"GET", "POST", "*"}, []string{"", "get", "G*", "*T", "A B", "日本"}}, "allow_methods": {[]string{"GET", "*"}, []string{"", "get", "A B", "\n"}},
	"address": anIP, "addresses": {append(append([]string{}, addresses[:4]...), networks...), append(oddAddresses, oddNetworks...)}, "bind": anIP, "default_endpoint": {[]string{"127.0.0.1:8080", "unix:///tmp/a", "0.0.0.0:9080"}, append([]string{"127.0.0.1:0", "127.0.0.1:65536", "10.0.0.1:80", "[::1]:80", ":80", "a"}, oddAddresses...)},
	"source_subnet": aNet, "destination_subnets": aNet, "ip_blocks": aNet, "not_ip_blocks": aNet, "remote_ip_blocks": aNet, "not_remote_ip_blocks": aNet,
	"server_certificate": aFile, "client_certificate": aFile, "private_key": aFile, "ca_certificates": aFile, "ca_crl": aFile,
	"credential_name": aSecret, "credential_names": aSecret, "ca_cert_credential_name": aSecret,
	"labels": aLabel, "labels{}": {[]string{"app", "version"}, oddLabels}, "match_labels": aLabel, "match_labels{}": {[]string{"app", "version"}, oddLabels}, "selector": aLabel, "selector{}": {[]string{"app", "istio"}, oddLabels},
	"source_labels": aLabel, "source_labels{}": {[]string{"app", "version"}, oddLabels}, "source_namespace": {namespaces, odd}, "namespace": {namespaces, odd}, "namespaces": {namespaces, odd}, "not_namespaces": {namespaces, odd},
	"from": aPlace, "to": aPlace, "to{}": aPlace, "locality": aPlace, "failover_priority": {[]string{"topology.istio.io/network", "topology.kubernetes.io/region", "version=v1", "version"}, []string{"", "=", "a=", "=a", "topology.kubernetes.io/zone", "a=b=c"}},
	"ports{}": aPort, "ports": {[]string{"80", "9080"}, []string{"", "0", "65536", "-1", "http", "*", "80-90", "080"}}, "not_ports": {[]string{"80", "9080"}, []string{"", "0", "65536", "-1", "http"}}, "target_port": {[]string{"8080"}, nil},
	"protocol":   {[]string{"HTTP", "HTTPS", "GRPC", "HTTP2", "TCP", "TLS", "MONGO"}, []string{"", "http", "UDP", "Http", "GRPC-WEB", "日本", "AUTO", "HTTP_PROXY", "MYSQL", "HTTP3"}},
	"retry_on":   {[]string{"5xx", "gateway-error,503", "connect-failure,reset"}, []string{"", ",", "nope", "600", "503,,504", "5xx, reset", "99", "日本"}},
	"scheme":     {[]string{"http", "https"}, []string{"", "HTTP", "ftp", "a b"}},
	"principals": {[]string{"*", "cluster.local/ns/default/sa/a", "cluster.local/*", "*/sa/a"}, oddNames()}, "not_principals": {[]string{"*", "cluster.local/ns/default/sa/a"}, oddNames()},
	"key":           {[]string{"request.headers[x-a]", "source.ip", "source.namespace", "source.principal", "destination.port", "connection.sni", "request.auth.claims[iss]", "destination.ip", "remote.ip", "request.auth.principal"}, []string{"", "request.headers[]", "request.headers", "request.headers[:path]", "nope", "request.headers[x", "experimental.envoy.filters.a[b]", "REQUEST.HEADERS[a]"}},
	"values":        {[]string{"a", "a*", "*a", "*", "10.0.0.0/8", "80"}, append([]string{"a*b", "**", "10.0.0.0/33"}, odd...)},
	"not_values":    {[]string{"a", "a*", "10.0.0.1", "80"}, append([]string{"a*b"}, odd...)},
	"grpc_status":   {[]string{"UNAVAILABLE", "OK", "14"}, []string{"", "unavailable", "99", "-1", "NOPE"}},
	"cipher_suites": {[]string{"ECDHE-ECDSA-AES128-GCM-SHA256", "AES128-SHA"}, []string{"", "NOPE", "TLS_AES_128_GCM_SHA256", "a:b", "[a|b]"}}, "verify_certificate_spki": {[]string{"NvqYIYSbgK2vCJpQhObf77vv+bQWtc5ek5RIOwPiC9A="}, []string{"", "a", strings.Repeat("A", 44)}},
	"verify_certificate_hash": {[]string{strings.Repeat("ab", 32)}, []string{"", "ab", strings.Repeat("zz", 32), strings.Repeat("AB:", 31) + "AB"}},
	"hosts{}":                 aHost, "stat_prefix": {[]string{"a"}, odd}, "service_accounts": {[]string{"a", "default/a"}, odd}, "allow_origin": aHost, "trust_domain": {[]string{"cluster.local", "td"}, odd}, "root_namespace": {[]string{"weft-system"}, odd},
}

func oddNames() []string { return append([]string{"a*b", "**", "spiffe://a", "cluster.local"}, odd...) }

// likelyText is for fields of no known meaning.
var likelyText = meaning{[]string{"a", "b", "c", "v1", "reviews", "default"}, odd}

func (m *Maker) text(name protoreflect.Name) string {
	of, ok := byName[name]
	if !ok {
		of = likelyText
	}
	if m.wrong < 1 && m.r.Float64() >= m.wrong && m.r.IntN(25) > 0 || len(of.odd) == 0 {
		return pick(m.r, of.likely)
	}
	if m.r.IntN(5) == 0 {
		return pick(m.r, odd)
	}
	return pick(m.r, of.odd)
}
