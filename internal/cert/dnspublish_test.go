package cert_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/posthouse-mail/posthouse/internal/cert"
)

// updatable is a server that takes updates of example.org as RFC 2136 section 3 has it, signed with the key.
func updatable(t *testing.T) (address string, has map[string][]string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	has = map[string][]string{}
	server := &dns.Server{Listener: l, TsigSecret: map[string]string{"key.": "c2VjcmV0"}, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, m *dns.Msg) {
		reply := new(dns.Msg).SetReply(m)
		key := func(rr dns.RR) string { return rr.Header().Name + " " + dns.TypeToString[rr.Header().Rrtype] }
		reply.Rcode = func() int {
			if m.IsTsig() == nil || w.TsigStatus() != nil {
				return dns.RcodeRefused
			}
			for _, rr := range m.Answer { // prerequisites
				for name := range has {
					switch {
					case rr.Header().Rrtype == dns.TypeANY && strings.HasPrefix(name, rr.Header().Name+" "):
						return dns.RcodeYXDomain
					case name == key(rr):
						return dns.RcodeYXRrset
					}
				}
			}
			for _, rr := range m.Ns {
				has[key(rr)] = append(has[key(rr)], strings.TrimPrefix(rr.String(), rr.Header().String()))
			}
			return dns.RcodeSuccess
		}()
		if sig := m.IsTsig(); sig != nil {
			reply.SetTsig(sig.Hdr.Name, sig.Algorithm, 300, int64(sig.TimeSigned))
		}
		_ = w.WriteMsg(reply)
	}), MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }}
	started := make(chan struct{})
	server.NotifyStartedFunc = func() { close(started) }
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	return l.Addr().String(), has
}

// What a person wrote into a zone is never overwritten.
func TestPublish(t *testing.T) {
	address, has := updatable(t)
	has["taken.example.org. CNAME"] = []string{"elsewhere."}
	has["example.org. MX"] = []string{"5 elsewhere."}
	has["example.org. TXT"] = []string{`"verification=1"`}
	u := &cert.DNSUpdate{Server: address, Key: "key", Secret: "c2VjcmV0"}
	for _, c := range []struct {
		line   string
		beside bool
		want   string // part of the error; empty: none
		taken  bool
	}{
		{line: `_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=none"`},
		{line: `_dmarc.example.org. 3600 IN TXT "v=DMARC1; p=reject"`, taken: true},
		{line: "example.org. 3600 IN MX 10 mail.example.org.", taken: true},
		{line: `example.org. 3600 IN TXT "v=spf1 mx -all"`, taken: true},
		{line: `example.org. 3600 IN TXT "v=spf1 mx -all"`, beside: true},
		{line: "taken.example.org. 3600 IN CNAME mail.example.org.", taken: true},
		{line: "free.example.org. 3600 IN CNAME mail.example.org."},
		{line: "mail.example.net. 3600 IN A 192.0.2.1", want: "is not in the zone"},
		{line: "no record", want: "is no record"},
	} {
		err := u.Publish(t.Context(), "example.org", c.line, c.beside)
		if errors.Is(err, cert.ErrTaken) != c.taken || !c.taken && (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", c.line, err)
		}
	}
	if len(has["example.org. TXT"]) != 2 || len(has["_dmarc.example.org. TXT"]) != 1 || len(has["free.example.org. CNAME"]) != 1 {
		t.Errorf("%v", has)
	}
	wrong := &cert.DNSUpdate{Server: address, Key: "key", Secret: "d3Jvbmc="}
	if err := wrong.Publish(t.Context(), "example.org", "a.example.org. 60 IN A 192.0.2.1", false); err == nil || !strings.Contains(err.Error(), "name and secret of the key") {
		t.Errorf("a wrong key: %v", err)
	}
}
