package random

// patch makes the value of an EnvoyFilter's patch: of any type, so that it is
// now and then of the one that is patched, with values that Envoy's rules let
// and with values that they do not.
func (m *Maker) patch() any {
	n := func() any { return pick(m.r, append([]any{-1, "x"}, likelyNumbers...)) }
	typed := func(name string, body Tree) Tree {
		body["@type"] = "type.googleapis.com/" + name
		return body
	}
	fault := typed("envoy.extensions.filters.http.fault.v3.HTTPFault", Tree{"abort": Tree{"http_status": n(), "percentage": Tree{"numerator": n()}}})
	return pick(m.r, []any{
		Tree{}, Tree{"name": pick(m.r, odd)}, Tree{"connect_timeout": pick(m.r, append(oddDurations, durations...))},
		Tree{"name": "mine", "type": "STATIC", "connect_timeout": "1s", "load_assignment": Tree{"cluster_name": pick(m.r, odd)}},
		Tree{"name": "mine", "typed_config": fault}, Tree{"name": "mine", "typed_config": typed(pick(m.r, odd), Tree{})}, Tree{"typed_config": fault},
		Tree{"name": "mine", "typed_config": typed("envoy.extensions.filters.http.router.v3.Router", Tree{})},
		Tree{"name": "mine", "typed_config": typed("envoy.extensions.filters.network.echo.v3.Echo", Tree{})},
		Tree{"name": "mine", "typed_config": typed("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", Tree{"stat_prefix": pick(m.r, odd), "cluster": "a"})},
		Tree{"name": "mine", "typed_config": typed("envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager", Tree{"stat_prefix": "a", "max_request_headers_kb": n()})},
		Tree{"circuit_breakers": Tree{"thresholds": []any{Tree{"max_connections": n()}}}}, Tree{"lb_policy": pick(m.r, []any{"RANDOM", "MAGLEV", "NOPE", 99})},
		Tree{"name": "mine", "domains": []any{pick(m.r, oddHosts), pick(m.r, hosts)}}, Tree{"domains": []any{"*"}},
		Tree{"route": Tree{"timeout": pick(m.r, oddDurations), "cluster": pick(m.r, odd)}}, Tree{"match": Tree{"prefix": pick(m.r, oddPaths)}, "route": Tree{"cluster": "a"}},
		Tree{"match": Tree{"safe_regex": Tree{"regex": pick(m.r, oddPatterns)}}, "direct_response": Tree{"status": n()}},
		Tree{"name": "mine", "address": Tree{"socket_address": Tree{"address": pick(m.r, oddAddresses), "port_value": n()}}}, Tree{"per_connection_buffer_limit_bytes": n()},
		Tree{"filter_chain_match": Tree{"server_names": []any{pick(m.r, oddHosts)}, "destination_port": n()}}, Tree{"request_headers_to_add": []any{Tree{"header": Tree{"key": pick(m.r, oddHeaders), "value": pick(m.r, oddForms)}}}},
		Tree{"name": "mine", "default_config": typed("envoy.extensions.filters.http.buffer.v3.Buffer", Tree{"max_request_bytes": n()})},
	})
}
