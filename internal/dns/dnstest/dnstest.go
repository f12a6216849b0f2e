// Package dnstest gives tests a DNS of their own on loopback.
package dnstest

import (
	"net/netip"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
)

// New serves the records (zone file form) over UDP and TCP on a free port of
// loopback until the test ends, and returns the zone, a Client that asks it, and its address.
func New(t testing.TB, lines ...string) (*dns.Zone, *dns.Client, netip.AddrPort) {
	t.Helper()
	zone, err := dns.NewZone(lines...)
	if err != nil {
		t.Fatal(err)
	}
	server, err := dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { server.Close() })
	client, err := dns.New(dns.Options{Servers: []netip.AddrPort{server.Addr()}, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return zone, client, server.Addr()
}
