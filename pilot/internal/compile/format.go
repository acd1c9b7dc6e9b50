package compile

import (
	"regexp"
	"slices"
	"strings"

	"github.com/weftmesh/weft/internal/diag"
)

// A header's value is a format string to Envoy. One that it cannot parse makes
// it refuse the whole route table, so only those are let through that Envoy
// 1.40 was seen to take (envoy --mode validate, one by one).
var (
	command = regexp.MustCompile(`^%([A-Z0-9_]+)(?:\(([^()]*)\))?(:[0-9]{1,5})?%`)

	// Commands that stand alone.
	plainCommands = strings.Fields(`
		ACCESS_LOG_TYPE BYTES_RECEIVED BYTES_RETRANSMITTED BYTES_SENT CONNECTION_ID CONNECTION_TERMINATION_DETAILS CUSTOM_FLAGS DOWNSTREAM_CX_RTT
		DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED DOWNSTREAM_DECOMPRESSED_HEADER_BYTES_SENT DOWNSTREAM_DETECTED_CLOSE_TYPE DOWNSTREAM_DIRECT_LOCAL_ADDRESS
		DOWNSTREAM_DIRECT_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_LOCAL_PORT DOWNSTREAM_DIRECT_REMOTE_ADDRESS
		DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_DIRECT_REMOTE_PORT DOWNSTREAM_HANDSHAKE_DURATION DOWNSTREAM_HEADER_BYTES_RECEIVED
		DOWNSTREAM_HEADER_BYTES_SENT DOWNSTREAM_LOCAL_ADDRESS DOWNSTREAM_LOCAL_ADDRESS_ENDPOINT_ID DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT
		DOWNSTREAM_LOCAL_CLOSE_REASON DOWNSTREAM_LOCAL_DNS_SAN DOWNSTREAM_LOCAL_EMAIL_SAN DOWNSTREAM_LOCAL_IP_SAN DOWNSTREAM_LOCAL_OTHERNAME_SAN
		DOWNSTREAM_LOCAL_PORT DOWNSTREAM_LOCAL_SUBJECT DOWNSTREAM_LOCAL_URI_SAN DOWNSTREAM_PEER_CERT DOWNSTREAM_PEER_CERT_V_END DOWNSTREAM_PEER_CERT_V_START
		DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_1 DOWNSTREAM_PEER_CHAIN_FINGERPRINTS_256 DOWNSTREAM_PEER_CHAIN_SERIALS DOWNSTREAM_PEER_DNS_SAN
		DOWNSTREAM_PEER_EMAIL_SAN DOWNSTREAM_PEER_FINGERPRINT_1 DOWNSTREAM_PEER_FINGERPRINT_256 DOWNSTREAM_PEER_IP_SAN DOWNSTREAM_PEER_ISSUER
		DOWNSTREAM_PEER_ISSUER_FINGERPRINT_256 DOWNSTREAM_PEER_ISSUER_SERIAL DOWNSTREAM_PEER_OTHERNAME_SAN DOWNSTREAM_PEER_SERIAL DOWNSTREAM_PEER_SUBJECT
		DOWNSTREAM_PEER_URI_SAN DOWNSTREAM_REMOTE_ADDRESS DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT DOWNSTREAM_REMOTE_PORT DOWNSTREAM_TLS_CIPHER
		DOWNSTREAM_TLS_GROUP DOWNSTREAM_TLS_SESSION_ID DOWNSTREAM_TLS_VERSION DOWNSTREAM_TRANSPORT_FAILURE_REASON DOWNSTREAM_WIRE_BYTES_RECEIVED
		DOWNSTREAM_WIRE_BYTES_SENT DURATION EMIT_TIME EMIT_TIME_LOCAL FILTER_CHAIN_NAME GRPC_STATUS GRPC_STATUS_NUMBER HOSTNAME LOCAL_REPLY_BODY
		PACKETS_RETRANSMITTED PATH PROTOCOL QUERY_PARAMS REQUESTED_SERVER_NAME REQUEST_DURATION REQUEST_HEADERS_BYTES REQUEST_TX_DURATION RESPONSE_CODE
		RESPONSE_CODE_DETAILS RESPONSE_DURATION RESPONSE_FLAGS RESPONSE_FLAGS_LONG RESPONSE_HEADERS_BYTES RESPONSE_TRAILERS_BYTES RESPONSE_TX_DURATION
		ROUNDTRIP_DURATION ROUTE_NAME ROUTE_RESOLUTION_COUNT ROUTE_RESOLUTION_TIME_US SPAN_ID START_TIME START_TIME_LOCAL STREAM_ID TLS_JA3_FINGERPRINT
		TLS_JA4_FINGERPRINT TRACE_ID UNIQUE_ID UPSTREAM_CLUSTER UPSTREAM_CLUSTER_RAW UPSTREAM_CONNECTION_ID UPSTREAM_CONNECTION_IDS_ATTEMPTED
		UPSTREAM_CONNECTION_POOL_READY_DURATION UPSTREAM_DECOMPRESSED_HEADER_BYTES_RECEIVED UPSTREAM_DECOMPRESSED_HEADER_BYTES_SENT
		UPSTREAM_DETECTED_CLOSE_TYPE UPSTREAM_HEADER_BYTES_RECEIVED UPSTREAM_HEADER_BYTES_SENT UPSTREAM_HOST UPSTREAM_HOSTS_ATTEMPTED
		UPSTREAM_HOSTS_ATTEMPTED_WITHOUT_PORT UPSTREAM_HOST_NAME UPSTREAM_HOST_NAMES_ATTEMPTED UPSTREAM_HOST_NAMES_ATTEMPTED_WITHOUT_PORT
		UPSTREAM_HOST_NAME_WITHOUT_PORT UPSTREAM_LOCAL_ADDRESS UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT UPSTREAM_LOCAL_CLOSE_REASON UPSTREAM_LOCAL_DNS_SAN
		UPSTREAM_LOCAL_IP_SAN UPSTREAM_LOCAL_PORT UPSTREAM_LOCAL_URI_SAN UPSTREAM_PEER_CERT UPSTREAM_PEER_CERT_V_END UPSTREAM_PEER_CERT_V_START
		UPSTREAM_PEER_DNS_SAN UPSTREAM_PEER_IP_SAN UPSTREAM_PEER_ISSUER UPSTREAM_PEER_SUBJECT UPSTREAM_PEER_URI_SAN UPSTREAM_PROTOCOL UPSTREAM_REMOTE_ADDRESS
		UPSTREAM_REMOTE_ADDRESS_ENDPOINT_ID UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT UPSTREAM_REMOTE_PORT UPSTREAM_REQUEST_ATTEMPT_COUNT UPSTREAM_SERVER_NAME
		UPSTREAM_TLS_CIPHER UPSTREAM_TLS_GROUP UPSTREAM_TLS_SESSION_ID UPSTREAM_TLS_VERSION UPSTREAM_TRANSPORT_FAILURE_REASON UPSTREAM_WIRE_BYTES_RECEIVED
		UPSTREAM_WIRE_BYTES_SENT VIRTUAL_CLUSTER_NAME`)

	// Commands that name a header: REQ(X), REQ(X?Y), with :LENGTH if wanted.
	headerCommands = []string{"REQ", "RESP", "TRAILER", "REQUEST_HEADER", "RESPONSE_HEADER", "RESPONSE_TRAILER"}
	headerArgument = regexp.MustCompile("^:?[!#$&'*+.^_`|~0-9A-Za-z-]+([?]:?[!#$&'*+.^_`|~0-9A-Za-z-]+)?$")

	// Commands with an argument of their own, with :LENGTH if wanted.
	argumentCommands = []string{"DYNAMIC_METADATA", "CLUSTER_METADATA", "UPSTREAM_METADATA", "FILTER_STATE", "UPSTREAM_FILTER_STATE", "ENVIRONMENT", "QUERY_PARAM"}

	// Commands whose argument is a format of time, or is left out.
	timeCommands = []string{"START_TIME", "START_TIME_LOCAL", "EMIT_TIME", "EMIT_TIME_LOCAL", "DOWNSTREAM_PEER_CERT_V_START", "DOWNSTREAM_PEER_CERT_V_END"}
)

// checkFormat reports whether Envoy can parse a header's value: each "%" begins
// a command or is doubled.
//
// Source: Envoy, "Custom request/response headers" and "Access logging,
// command operators".
func checkFormat(s string, at diag.Path, d *diag.List) bool {
	return scanFormat(s, func(s string) int {
		n := commandLength(s)
		if n == 0 {
			d.Add(diag.Invalid, at, "%q is not a command such as %%REQ(NAME)%% that Envoy knows; write %%%% for the character %%", s)
		}
		return n
	})
}

// scanFormat reports whether each "%" of a format is doubled or begins a
// command; length gives the bytes of the one at the start of a string, 0 if
// there is none.
func scanFormat(s string, length func(string) int) bool {
	for i := 0; i < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		if strings.HasPrefix(s[i:], "%%") {
			i++
			continue
		}
		n := length(s[i:])
		if n == 0 {
			return false
		}
		i += n - 1
	}
	return true
}

// commandLength gives the bytes of the command at the start of s; 0 if there is
// none.
func commandLength(s string) int {
	m := command.FindStringSubmatchIndex(s)
	if m == nil {
		return 0
	}
	name, hasArgument, hasLength := s[m[2]:m[3]], m[4] >= 0, m[6] >= 0
	var ok bool
	switch {
	case !hasArgument:
		ok = !hasLength && slices.Contains(plainCommands, name)
	case slices.Contains(headerCommands, name):
		ok = headerArgument.MatchString(s[m[4]:m[5]])
	case slices.Contains(argumentCommands, name):
		ok = plainArgument(name, s[m[4]:m[5]])
	default:
		ok = !hasLength && slices.Contains(timeCommands, name)
	}
	if !ok {
		return 0
	}
	return m[1]
}

// plainArgument: FILTER_STATE's second part says how the state is printed.
func plainArgument(name, argument string) bool {
	_, how, two := strings.Cut(argument, ":")
	if two && strings.HasSuffix(name, "FILTER_STATE") && how != "PLAIN" && how != "TYPED" {
		return false
	}
	return argument != "" && !strings.ContainsAny(argument, "% ")
}

// malformed is a "%" that begins no percent-encoded byte (RFC 3986, 2.1).
var malformed = regexp.MustCompile(`%(?:[^0-9A-Fa-f]|[0-9A-Fa-f][^0-9A-Fa-f]|[0-9A-Fa-f]?$)`)

// warnOfCommand reports a "%" in a part of a URI that looks like a command. In
// redirects, rewrites and hosts Envoy reads none (seen in calls: the case
// percent): as in Istio the text goes out as it stands.
func warnOfCommand(s string, at diag.Path, d *diag.List) {
	if malformed.MatchString(s) {
		d.Add(diag.NoCommand, at, "%q is sent as it stands, Envoy reads no command here", s)
	}
}
