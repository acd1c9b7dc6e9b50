package jwks

import (
	"net/netip"
	"testing"
)

func TestAddresses(t *testing.T) {
	open := gate{}
	for _, a := range []string{
		"127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1", "0.0.0.0", "0.1.2.3", "::", "169.254.169.254", "fe80::1", "fe80::1%eth0", "febf::1",
		"224.0.0.1", "255.255.255.255", "ff02::1", "fd00:ec2::254", "100.100.100.200", "168.63.129.16", "192.0.0.192",
		"64:ff9b::a9fe:a9fe", "64:ff9b:1::7f00:1", "2002:7f00:1::", "::127.0.0.1",
	} {
		if open.check(netip.MustParseAddr(a)) == nil {
			t.Errorf("%s may be asked", a)
		}
	}
	for _, a := range []string{"10.0.0.1", "172.16.0.1", "192.168.1.1", "100.64.0.1", "8.8.8.8", "2001:db8::1", "fd00::1", "64:ff9b::808:808"} {
		if err := open.check(netip.MustParseAddr(a)); err != nil {
			t.Errorf("%s: %v", a, err)
		}
	}
	some := gate{allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}
	if some.check(netip.MustParseAddr("::ffff:127.0.0.1")) != nil || some.check(netip.MustParseAddr("127.0.0.2")) == nil {
		t.Error("what is allowed is not what is named")
	}
}
