package simulate

import (
	"fmt"
	"slices"
	"strings"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// UnknownError is something in a configuration that the simulator does not
// know, so that it cannot tell what Envoy would do.
type UnknownError struct{ What string }

func (e *UnknownError) Error() string {
	return e.What + ": the simulator does not know it (internal/simulate must learn it first)"
}

func unknown(format string, args ...any) error {
	return &UnknownError{fmt.Sprintf(format, args...)}
}

// knownFields are, for each message that the simulator reads, the fields that
// it heeds and, after the bar, those that do not bear on where a request goes
// or what it looks like (statistics, logs, buffers, times to idle).
var knownFields = map[protoreflect.FullName]string{
	"envoy.config.listener.v3.Listener": `name address additional_addresses filter_chains default_filter_chain filter_chain_matcher use_original_dst
		bind_to_port listener_filters | stat_prefix per_connection_buffer_limit_bytes metadata traffic_direction access_log listener_filters_timeout
		continue_on_listener_filters_timeout drain_type connection_balance_config enable_reuse_port freebind transparent tcp_backlog_size
		socket_options tcp_keepalive max_connections_to_accept_per_socket_event ignore_global_conn_limit bypass_overload_manager`,
	"envoy.config.listener.v3.ListenerFilter": `name typed_config filter_disabled`,
	"envoy.config.listener.v3.FilterChain":    `filter_chain_match filters transport_socket name | metadata transport_socket_connect_timeout`,
	"envoy.config.listener.v3.FilterChainMatch": `destination_port prefix_ranges direct_source_prefix_ranges source_type source_prefix_ranges source_ports
		server_names transport_protocol application_protocols`,
	"envoy.config.listener.v3.Filter": `name typed_config`,
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy": `cluster weighted_clusters tunneling_config | stat_prefix access_log access_log_options idle_timeout
		max_connect_attempts upstream_connect_mode max_early_data_bytes hash_policy max_downstream_connection_duration backoff_options
		flush_access_log_on_connected access_log_flush_interval`,
	"envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy.TunnelingConfig": `hostname use_post`,
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager": `codec_type rds route_config http_filters
		early_header_mutation_extensions use_remote_address xff_num_trusted_hops normalize_path merge_slashes path_with_escaped_slashes_action strip_matching_host_port strip_any_host_port strip_trailing_host_dot
		forward_client_cert_details set_current_client_cert_details scheme_header_transformation | stat_prefix add_user_agent tracing
		local_reply_config common_http_protocol_options http_protocol_options http2_protocol_options server_name server_header_transformation max_request_headers_kb
		stream_idle_timeout request_timeout request_headers_timeout drain_timeout delayed_close_timeout access_log access_log_flush_interval
		access_log_options internal_address_config skip_xff_append via generate_request_id preserve_external_request_id
		always_set_request_id_in_response upgrade_configs request_id_extension proxy_100_continue proxy_status_config
		stream_error_on_invalid_http_message append_x_forwarded_port represent_ipv4_remote_address_as_ipv4_mapped_ipv6`,
	"envoy.extensions.filters.network.http_connection_manager.v3.HttpFilter": `name typed_config disabled | is_optional`,
	"envoy.config.route.v3.RouteConfiguration": `name virtual_hosts vhds request_headers_to_add request_headers_to_remove response_headers_to_add
		response_headers_to_remove most_specific_header_mutations_wins ignore_port_in_host_matching request_mirror_policies typed_per_filter_config |
		validate_clusters max_direct_response_body_size_bytes metadata internal_only_headers`,
	"envoy.config.route.v3.VirtualHost": `name domains routes require_tls request_headers_to_add request_headers_to_remove response_headers_to_add
		response_headers_to_remove retry_policy typed_per_filter_config include_request_attempt_count include_attempt_count_in_response
		request_mirror_policies | virtual_clusters metadata per_request_buffer_limit_bytes request_body_buffer_limit include_is_timeout_retry_header`,
	"envoy.config.route.v3.Route": `name match route redirect direct_response typed_per_filter_config request_headers_to_add
		request_headers_to_remove response_headers_to_add response_headers_to_remove | metadata decorator tracing stat_prefix
		per_request_buffer_limit_bytes request_body_buffer_limit`,
	"envoy.config.route.v3.RouteMatch": `prefix path safe_regex path_separated_prefix path_match_policy case_sensitive runtime_fraction headers
		query_parameters cookies grpc tls_context dynamic_metadata`,
	"envoy.config.route.v3.HeaderMatcher": `name exact_match safe_regex_match range_match present_match prefix_match suffix_match contains_match
		string_match invert_match treat_missing_header_as_empty`,
	"envoy.config.route.v3.QueryParameterMatcher": `name string_match present_match`,
	"envoy.config.route.v3.CookieMatcher":         `name string_match invert_match`,
	"envoy.config.route.v3.RouteAction": `cluster cluster_header weighted_clusters cluster_not_found_response_code prefix_rewrite regex_rewrite
		path_rewrite_policy path_rewrite host_rewrite_literal auto_host_rewrite host_rewrite_header host_rewrite_path_regex append_x_forwarded_host timeout
		retry_policy request_mirror_policies max_stream_duration | idle_timeout flush_timeout early_data_policy priority hash_policy max_grpc_timeout
		grpc_timeout_offset upgrade_configs`,
	"envoy.config.route.v3.RouteAction.RequestMirrorPolicy": `cluster runtime_fraction disable_shadow_host_suffix_append | trace_sampled`,
	"envoy.config.route.v3.WeightedCluster":                 `clusters total_weight | runtime_key_prefix`,
	"envoy.config.route.v3.WeightedCluster.ClusterWeight": `name weight host_rewrite_literal request_headers_to_add request_headers_to_remove
		response_headers_to_add response_headers_to_remove typed_per_filter_config`,
	"envoy.config.route.v3.RedirectAction": `https_redirect scheme_redirect host_redirect port_redirect path_redirect prefix_rewrite regex_rewrite
		response_code strip_query`,
	"envoy.config.route.v3.DirectResponseAction": `status body`,
	"envoy.config.route.v3.RetryPolicy": `retry_on num_retries per_try_timeout retriable_status_codes | retriable_headers retry_back_off retry_host_predicate
		host_selection_retry_max_attempts retry_priority retry_options_predicates per_try_idle_timeout refresh_cluster_on_retry
		rate_limited_retry_back_off`,
	"envoy.extensions.filters.http.rbac.v3.RBAC":    `rules shadow_rules shadow_rules_stat_prefix | rules_stat_prefix track_per_rule_stats`,
	"envoy.extensions.filters.network.rbac.v3.RBAC": `rules shadow_rules shadow_rules_stat_prefix | stat_prefix`,
	"envoy.extensions.filters.http.ext_authz.v3.ExtAuthz": `grpc_service http_service failure_mode_allow status_on_error clear_route_cache
		with_request_body filter_enabled_metadata allowed_headers transport_api_version`,
	"envoy.extensions.filters.http.ext_authz.v3.HttpService":       `server_uri path_prefix authorization_request authorization_response`,
	"envoy.extensions.filters.network.ext_authz.v3.ExtAuthz":       `grpc_service failure_mode_allow filter_enabled_metadata transport_api_version | stat_prefix`,
	"envoy.config.core.v3.GrpcService":                             `envoy_grpc timeout`,
	"envoy.extensions.filters.http.jwt_authn.v3.JwtAuthentication": `providers rules bypass_cors_preflight`,
	"envoy.extensions.filters.http.jwt_authn.v3.JwtProvider": `issuer audiences forward forward_payload_header from_headers from_params
		from_cookies payload_in_metadata normalize_payload_in_metadata local_jwks remote_jwks claim_to_headers clear_route_cache`,
	"envoy.config.rbac.v3.RBAC":              `action policies`,
	"envoy.config.rbac.v3.Policy":            `permissions principals`,
	"envoy.type.matcher.v3.MetadataMatcher":  `filter path value invert`,
	"envoy.config.core.v3.HeaderValueOption": `header append append_action keep_empty_value`,
	"envoy.type.matcher.v3.StringMatcher":    `exact prefix suffix safe_regex contains ignore_case`,
	"xds.type.matcher.v3.StringMatcher":      `exact prefix suffix safe_regex contains ignore_case`,
	"envoy.extensions.filters.http.fault.v3.HTTPFault": `delay abort headers | max_active_faults delay_percent_runtime abort_percent_runtime
		disable_downstream_cluster_stats`,
	"envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation": `mutations`,
	"envoy.extensions.filters.http.header_mutation.v3.HeaderMutationPerRoute":       `mutations`,
	"envoy.extensions.filters.http.header_mutation.v3.Mutations":                    `request_mutations response_mutations | response_trailers_mutations`,
	"envoy.config.common.mutation_rules.v3.HeaderMutation":                          `remove append`,
	"envoy.config.cluster.v3.LoadBalancingPolicy":                                   `policies`,
	"envoy.config.cluster.v3.LoadBalancingPolicy.Policy":                            `typed_extension_config`,
	"envoy.extensions.load_balancing_policies.client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin": `| blackout_period
		weight_expiration_period weight_update_period error_utilization_penalty metric_names_for_computing_utilization slow_start_config`,
	"envoy.extensions.load_balancing_policies.wrr_locality.v3.WrrLocality": `endpoint_picking_policy`,
	"envoy.extensions.filters.common.fault.v3.FaultDelay":                  `fixed_delay percentage`,
	"envoy.extensions.filters.http.fault.v3.FaultAbort":                    `http_status grpc_status percentage`,
	"envoy.extensions.filters.http.cors.v3.CorsPolicy": `allow_origin_string_match allow_methods allow_headers expose_headers max_age
		allow_credentials filter_enabled forward_not_matching_preflights`,
	"envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext": `common_tls_context require_client_certificate |
		session_ticket_keys disable_stateless_session_resumption session_timeout full_scan_certs_on_sni_mismatch`,
	"envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext": `common_tls_context sni auto_host_sni | max_session_keys
		auto_sni_san_validation allow_renegotiation`,
	"envoy.config.cluster.v3.Cluster": `name type load_assignment eds_cluster_config transport_socket transport_socket_matches
		original_dst_lb_config alt_stat_name | connect_timeout per_connection_buffer_limit_bytes lb_policy load_balancing_policy circuit_breakers
		typed_extension_protocol_options outlier_detection metadata common_lb_config least_request_lb_config ring_hash_lb_config
		maglev_lb_config round_robin_lb_config upstream_connection_options close_connections_on_host_health_failure
		ignore_health_on_host_removal filters track_cluster_stats dns_lookup_family dns_refresh_rate respect_dns_ttl dns_failure_refresh_rate
		connection_pool_per_downstream_connection preconnect_policy upstream_bind_config max_requests_per_connection cleanup_interval wait_for_warm_on_init
		cluster_type http2_protocol_options dns_jitter health_checks`,
}

// checkKnown returns an error when m has a field set that the simulator does
// not know.
func checkKnown(m proto.Message) error {
	name := m.ProtoReflect().Descriptor().FullName()
	list, ok := knownFields[name]
	if !ok {
		return unknown("message %s", name)
	}
	fields := strings.Fields(list)
	var found error
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, _ protoreflect.Value) bool {
		if !slices.Contains(fields, string(f.Name())) {
			found = unknown("field %s of %s", f.Name(), name)
		}
		return found == nil
	})
	return found
}
