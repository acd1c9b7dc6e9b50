package simulate

import (
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	early "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
)

// early changes the headers of a request before everything else.
// Source: HttpConnectionManager.early_header_mutation_extensions.
func (w *walk) early(m *hcm.HttpConnectionManager) error {
	for _, extension := range m.GetEarlyHeaderMutationExtensions() {
		config, err := unpacked(extension.GetTypedConfig())
		if err != nil {
			return err
		}
		mutation, ok := config.(*early.HeaderMutation)
		if !ok {
			return unknown("early header mutation %T", config)
		}
		if err := checkKnown(mutation); err != nil {
			return err
		}
		if w.out.Request.Headers, err = w.mutated(w.out.Request.Headers, mutation.GetMutations()); err != nil {
			return err
		}
	}
	return nil
}
