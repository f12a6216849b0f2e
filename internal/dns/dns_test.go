package dns_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	miekg "github.com/miekg/dns"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/dns/dnstest"
)

var records = []string{
	"alpha.test. MX 20 backup.alpha.test.",
	"alpha.test. MX 10 MX.Alpha.test.",
	"alpha.test. TXT \"v=spf1 \" \"-all\"",
	`alpha.test. TXT "a \"quoted\" \\ and \200"`,
	"mx.alpha.test. A 127.0.0.2",
	"mx.alpha.test. AAAA ::2",
	"mx.alpha.test. AAAA ::ffff:10.0.0.1",
	"www.alpha.test. CNAME edge.cdn.test.",
	"edge.cdn.test. CNAME mx.alpha.test.",
	"null.test. MX 0 .",
	"loop1.test. CNAME loop2.test.",
	"loop2.test. CNAME loop1.test.",
	"2.0.0.127.in-addr.arpa. PTR Mail.Alpha.Test.",
	`3.0.0.127.in-addr.arpa. PTR bad\010name.test.`,
	"a.b.deep.test. A 127.0.0.9",
}

func TestAnswers(t *testing.T) {
	zone, client, _ := dnstest.New(t, records...)
	zone.Fail("broken.test")
	ctx := t.Context()

	mx, secure, err := client.MX(ctx, "Alpha.Test")
	if err != nil || secure || !slices.Equal(mx, []dns.MX{{10, "mx.alpha.test"}, {20, "backup.alpha.test"}}) {
		t.Errorf("MX: %v %v %v", mx, secure, err)
	}
	if mx, _, err := client.MX(ctx, "null.test"); err != nil || !slices.Equal(mx, []dns.MX{{0, ""}}) {
		t.Errorf("null MX: %v %v", mx, err)
	}
	want := []netip.Addr{netip.MustParseAddr("127.0.0.2"), netip.MustParseAddr("::2")}
	for _, host := range []string{"mx.alpha.test", "www.alpha.test."} {
		if ips, _, err := client.IP(ctx, host); err != nil || !slices.Equal(ips, want) {
			t.Errorf("IP %s: %v %v", host, ips, err)
		}
	}
	if texts, _, err := client.TXT(ctx, "alpha.test"); err != nil || !slices.Equal(texts, []string{"v=spf1 -all", "a \"quoted\" \\ and \xc8"}) {
		t.Errorf("TXT: %q %v", texts, err)
	}
	if names, _, err := client.PTR(ctx, netip.MustParseAddr("::ffff:127.0.0.2")); err != nil || !slices.Equal(names, []string{"mail.alpha.test"}) {
		t.Errorf("PTR: %v %v", names, err)
	}
	if names, _, err := client.PTR(ctx, netip.MustParseAddr("127.0.0.3")); !errors.Is(err, dns.ErrNotFound) {
		t.Errorf("a PTR with a line feed is given out: %q %v", names, err)
	}
}

func TestErrors(t *testing.T) {
	zone, client, _ := dnstest.New(t, records...)
	zone.Fail("broken.test")
	long := strings.Repeat("a", 64) + ".test"
	for _, c := range []struct {
		name, kind string
		absent     bool
	}{
		{"nowhere.test", "MX", true},
		{"alpha.test", "IP", true}, // NODATA
		{"b.deep.test", "IP", true},
		{"broken.test", "MX", false},
		{"broken.test", "IP", false},
		{"loop1.test", "IP", false},
		{"", "MX", true},
		{long, "MX", true},
		{"with\\032space.test", "IP", true},
	} {
		var err error
		if c.kind == "MX" {
			_, _, err = client.MX(t.Context(), c.name)
		} else {
			_, _, err = client.IP(t.Context(), c.name)
		}
		if err == nil || errors.Is(err, dns.ErrNotFound) != c.absent {
			t.Errorf("%s %s: %v, want absent=%v", c.kind, c.name, err, c.absent)
		}
	}
}

// A reply that does not fit into a datagram comes over TCP.
func TestTruncated(t *testing.T) {
	zone, client, _ := dnstest.New(t)
	for i := range 60 {
		if err := zone.Add(fmt.Sprintf("big.test. TXT \"%03d %s\"", i, strings.Repeat("x", 200))); err != nil {
			t.Fatal(err)
		}
	}
	texts, _, err := client.TXT(t.Context(), "big.test")
	if err != nil || len(texts) != 60 {
		t.Errorf("%d texts, %v", len(texts), err)
	}
	if n := zone.Asked("big.test", "TXT"); n != 2 {
		t.Errorf("asked %d times, want UDP and TCP", n)
	}
}

func TestNextServer(t *testing.T) {
	_, _, good := dnstest.New(t, records...)
	closed, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	refusing := netip.MustParseAddrPort(closed.LocalAddr().String())
	closed.Close()
	client, err := dns.New(dns.Options{Servers: []netip.AddrPort{refusing, good}, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if mx, _, err := client.MX(t.Context(), "alpha.test"); err != nil || len(mx) != 2 {
		t.Errorf("MX: %v %v", mx, err)
	}
}

// Only a server said to be trusted makes an answer secure.
func TestTrustAD(t *testing.T) {
	zone, client, addr := dnstest.New(t, records...)
	zone.Secure(true)
	trusting, err := dns.New(dns.Options{Servers: []netip.AddrPort{addr}, TrustAD: true})
	if err != nil {
		t.Fatal(err)
	}
	defer trusting.Close()
	if _, secure, err := client.MX(t.Context(), "alpha.test"); secure || err != nil {
		t.Errorf("untrusted: secure=%v %v", secure, err)
	}
	if _, secure, err := trusting.IP(t.Context(), "www.alpha.test"); !secure || err != nil {
		t.Errorf("trusted: secure=%v %v", secure, err)
	}
}

// A server that answers with another id, another name, and garbage before the truth is believed only then.
func TestForged(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	defer conn.Close()
	wait.Go(func() {
		buffer := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m miekg.Msg
			if m.Unpack(buffer[:n]) != nil {
				continue
			}
			for _, c := range []struct {
				id   uint16
				name string
				ip   string
			}{{m.Id + 1, m.Question[0].Name, "10.0.0.1"}, {m.Id, "other.test.", "10.0.0.2"}, {m.Id, m.Question[0].Name, "127.0.0.7"}} {
				conn.WriteTo([]byte("garbage"), from)
				reply := new(miekg.Msg).SetReply(&m)
				reply.Id, reply.Question[0].Name = c.id, c.name
				if m.Question[0].Qtype == miekg.TypeA {
					rr, err := miekg.NewRR(m.Question[0].Name + " 60 IN A " + c.ip)
					if err != nil {
						return
					}
					reply.Answer = append(reply.Answer, rr)
				}
				packed, err := reply.Pack()
				if err != nil {
					return
				}
				conn.WriteTo(packed, from)
			}
		}
	})
	client, err := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(conn.LocalAddr().String())}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ips, _, err := client.IP(t.Context(), "host.test")
	if err != nil || !slices.Equal(ips, []netip.Addr{netip.MustParseAddr("127.0.0.7")}) {
		t.Errorf("%v %v", ips, err)
	}
}

// A server that does not look names up for us sends us on (RFC 1034 section 4.3.1): that says nothing about the name, so a
// domain must not be taken for one without mail.
func TestReferral(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wait sync.WaitGroup
	defer wait.Wait()
	defer conn.Close()
	wait.Go(func() {
		buffer := make([]byte, 2048)
		for {
			n, from, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m miekg.Msg
			if m.Unpack(buffer[:n]) != nil {
				continue
			}
			reply := new(miekg.Msg).SetReply(&m)
			lines := []string{"test. 60 IN NS ns.test."}
			if strings.HasPrefix(m.Question[0].Name, "nodata.") { // RFC 2308 section 2.2: type 1, with both
				lines = append(lines, "test. 60 IN SOA ns.test. a.test. 1 60 60 60 60")
			}
			for _, line := range lines {
				rr, err := miekg.NewRR(line)
				if err != nil {
					return
				}
				reply.Ns = append(reply.Ns, rr)
			}
			packed, err := reply.Pack()
			if err != nil {
				return
			}
			conn.WriteTo(packed, from)
		}
	})
	client, err := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(conn.LocalAddr().String())}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if mx, _, err := client.MX(t.Context(), "domain.test"); err == nil || errors.Is(err, dns.ErrNotFound) {
		t.Errorf("referral: %v %v", mx, err)
	}
	if mx, _, err := client.MX(t.Context(), "nodata.test"); !errors.Is(err, dns.ErrNotFound) {
		t.Errorf("no data: %v %v", mx, err)
	}
}

func TestCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		zone, err := dns.NewZone("alpha.test. 100 IN MX 10 mx.alpha.test.", "beta.test. 0 IN MX 10 mx.beta.test.")
		if err != nil {
			t.Fatal(err)
		}
		client := zone.Client(dns.Options{CacheSize: 4})
		defer client.Close()
		ask := func(name string) {
			client.MX(t.Context(), name)
		}
		count := func(name string, want int) {
			t.Helper()
			if n := zone.Asked(name, "MX"); n != want {
				t.Errorf("%s was asked %d times, want %d", name, n, want)
			}
		}
		ask("alpha.test")
		ask("ALPHA.test.")
		count("alpha.test", 1)
		time.Sleep(100 * time.Second)
		ask("alpha.test")
		count("alpha.test", 2)
		ask("beta.test")
		ask("beta.test")
		count("beta.test", 2) // TTL 0
		for i := range 20 {
			zone.Add(fmt.Sprintf("n%d.test. 100 IN MX 10 mx.test.", i))
			ask(fmt.Sprintf("n%d.test", i))
		}
		missed := 0
		for i := range 20 {
			before := zone.Asked(fmt.Sprintf("n%d.test", i), "MX")
			ask(fmt.Sprintf("n%d.test", i))
			missed += zone.Asked(fmt.Sprintf("n%d.test", i), "MX") - before
		}
		if missed < 16 {
			t.Errorf("a cache of 4 held %d answers", 20-missed)
		}
		zone.Fail("broken.test")
		ask("broken.test")
		ask("broken.test")
		count("broken.test", 1)
		time.Sleep(2 * time.Second)
		ask("broken.test")
		count("broken.test", 2)
	})
}

// Many who ask the same at once cost one question; one who gives up does not take the answer from the others.
func TestSingleFlight(t *testing.T) {
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	client, err := dns.New(dns.Options{Servers: []netip.AddrPort{netip.MustParseAddrPort(conn.LocalAddr().String())}})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithCancel(t.Context())
	first := make(chan error, 1)
	go func() { _, _, err := client.TXT(ctx, "slow.test"); first <- err }()
	buffer := make([]byte, 2048)
	n, from, err := conn.ReadFrom(buffer)
	if err != nil {
		t.Fatal(err)
	}
	second := make(chan error, 1)
	go func() { _, _, err := client.TXT(t.Context(), "slow.test"); second <- err }()
	cancel()
	if err := <-first; !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v", err)
	}
	var m miekg.Msg
	if err := m.Unpack(buffer[:n]); err != nil {
		t.Fatal(err)
	}
	reply := new(miekg.Msg).SetReply(&m)
	rr, err := miekg.NewRR("slow.test. 60 IN TXT \"here\"")
	if err != nil {
		t.Fatal(err)
	}
	reply.Answer = append(reply.Answer, rr)
	packed, err := reply.Pack()
	if err != nil {
		t.Fatal(err)
	}
	conn.WriteTo(packed, from)
	if err := <-second; err != nil {
		t.Errorf("second: %v", err)
	}
}

func TestServerPort(t *testing.T) {
	zone, err := dns.NewZone()
	if err != nil {
		t.Fatal(err)
	}
	server, err := dns.Serve(netip.MustParseAddrPort("127.0.0.1:0"), zone)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := dns.Serve(server.Addr(), zone); err == nil {
		t.Error("the same port was taken twice")
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if _, err := dns.NewZone("no record at all ("); err == nil {
		t.Error("a broken record was taken")
	}
}
