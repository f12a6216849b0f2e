package remote

import (
	"net/netip"
	"testing"
)

// TestForbidden: what others have written leads to nothing inside, in no form of an address.
func TestForbidden(t *testing.T) {
	for text, want := range map[string]bool{
		"8.8.8.8": true, "2606:4700::1": true, "127.0.0.1": false, "::1": false, "10.1.2.3": false, "172.16.0.1": false, "192.168.1.1": false, "169.254.169.254": false,
		"100.64.0.1": false, "0.0.0.0": false, "0.1.2.3": false, "::": false, "fe80::1": false, "fd00::1": false, "fec0::1": false, "::ffff:127.0.0.1": false, "::127.0.0.1": false,
		"::ffff:8.8.8.8": true, "224.0.0.1": false, "255.255.255.255": false, "240.0.0.1": false, "198.18.0.1": false, "192.0.0.8": false, "192.88.99.1": false,
		"64:ff9b::7f00:1": false, "64:ff9b::808:808": true, "64:ff9b::a9fe:a9fe": false, "64:ff9b:1::1": false, "2002:7f00:1::": false, "2002:a9fe:a9fe::1": false, "ff02::1": false,
		"2001::1": false, "2001:1ff::1": false, "2001:200::1": true, "5f00::1": false, "fe80::1%eth0": false, "::1%lo": false, "::ffff:10.0.0.1%x": false, "100::1": false,
	} {
		if why, _ := Forbidden(netip.MustParseAddr(text), false, false); (why == "") != want {
			t.Errorf("%s: %q", text, why)
		}
	}
}
