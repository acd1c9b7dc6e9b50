package command

import (
	"net/netip"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/weftmesh/weft/internal/capture"
)

func parse(t *testing.T, args ...string) (capture.Options, error) {
	t.Helper()
	var f flags
	set := pflag.NewFlagSet("test", pflag.ContinueOnError)
	f.register(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	return f.options()
}

func TestOptions(t *testing.T) {
	prefixes := func(list ...string) []netip.Prefix {
		out := []netip.Prefix{}
		for _, s := range list {
			out = append(out, netip.MustParsePrefix(s))
		}
		return out
	}
	usual := capture.Options{
		Proxy: capture.Proxy{UID: 1337}, DNS: true, ExcludeInboundPorts: []uint16{}, IncludeOutboundPorts: []uint16{},
		ExcludeOutboundPorts: []uint16{}, ExcludeOutboundCIDRs: prefixes(),
	}
	with := func(change func(*capture.Options)) capture.Options {
		o := usual
		change(&o)
		return o
	}
	for _, c := range []struct {
		args []string
		want capture.Options
	}{
		{nil, usual},
		{[]string{"--dns=false", "--proxy-uid=7"}, with(func(o *capture.Options) { o.DNS, o.Proxy.UID = false, 7 })},
		{[]string{"--include-inbound-ports="}, with(func(o *capture.Options) { o.IncludeInboundPorts = []uint16{} })},
		{[]string{"--include-inbound-ports=80, 443,"}, with(func(o *capture.Options) { o.IncludeInboundPorts = []uint16{80, 443} })},
		{[]string{"--include-outbound-ranges="}, with(func(o *capture.Options) { o.IncludeOutboundCIDRs = prefixes() })},
		{[]string{"--include-outbound-ranges=10.1.2.3/8,fd00::1"}, with(func(o *capture.Options) {
			o.IncludeOutboundCIDRs = prefixes("10.0.0.0/8", "fd00::1/128")
		})},
		{[]string{"--reroute-interfaces=net1,net2"}, with(func(o *capture.Options) { o.RerouteInterfaces = []string{"net1", "net2"} })},
	} {
		got, err := parse(t, c.args...)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%v: %v\n got %+v\nwant %+v", c.args, err, got, c.want)
		}
	}
}

// TestMistakes are told with the flag that is at fault.
func TestMistakes(t *testing.T) {
	for _, arg := range []string{
		"--include-inbound-ports=80,x", "--exclude-inbound-ports=*", "--exclude-outbound-ports=0", "--include-outbound-ports=65536",
		"--include-outbound-ranges=10.0.0.0/33", "--exclude-outbound-ranges=somewhere",
	} {
		name, _, _ := strings.Cut(arg, "=")
		if _, err := parse(t, arg); err == nil || !strings.HasPrefix(err.Error(), name) {
			t.Errorf("%s: %v", arg, err)
		}
	}
}
