package main

import (
	"bytes"
	"net"
	"slices"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/posthouse-mail/posthouse/web/check"
)

// zoneHost takes updates of a zone without a key, up to a number of them, and answers what it has.
type zoneHost struct {
	has   []dns.RR
	takes int
}

func (z *zoneHost) ServeDNS(w dns.ResponseWriter, m *dns.Msg) {
	reply := new(dns.Msg).SetReply(m)
	at := func(name string, kind uint16) (all []dns.RR) {
		for _, rr := range z.has {
			if rr.Header().Name == name && (kind == dns.TypeANY || kind == rr.Header().Rrtype) {
				all = append(all, rr)
			}
		}
		return all
	}
	switch {
	case m.Opcode == dns.OpcodeQuery:
		reply.Answer = at(m.Question[0].Name, m.Question[0].Qtype)
	case slices.ContainsFunc(m.Answer, func(rr dns.RR) bool { return len(at(rr.Header().Name, rr.Header().Rrtype)) > 0 }):
		reply.Rcode = dns.RcodeYXRrset
	case z.takes == 0:
		reply.Rcode = dns.RcodeServerFailure
	default:
		z.takes--
		z.has = append(z.has, m.Ns...)
	}
	_ = w.WriteMsg(reply)
}

// TestHalfWritten: a DNS host that fails in the middle is told, and the second run writes what is missing, also beside what the first
// one wrote; what a person wrote stays, and there is one SPF record.
func TestHalfWritten(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := &zoneHost{takes: 2}
	taken, err := dns.NewRR("_dmarc.example.org. 60 IN TXT \"v=DMARC1; p=reject\"")
	if err != nil {
		t.Fatal(err)
	}
	host.has = append(host.has, taken)
	started := make(chan struct{})
	server := &dns.Server{Listener: l, Handler: host, NotifyStartedFunc: func() { close(started) }, MsgAcceptFunc: func(dns.Header) dns.MsgAcceptAction { return dns.MsgAccept }}
	go server.ActivateAndServe()
	<-started
	t.Cleanup(func() { server.Shutdown() })
	records := check.Records{Records: []check.Record{
		{Name: "mail.example.org.", Type: "A", Value: "192.0.2.1"},
		{Name: "example.org.", Type: "TXT", Value: "v=spf1 mx -all"},
		{Name: "mail.example.org.", Type: "A", Value: "192.0.2.2"},
		{Name: "_dmarc.example.org.", Type: "TXT", Value: "v=DMARC1; p=none"},
	}}
	var said bytes.Buffer
	p := &program{stderr: &said}
	to := updateOptions{server: l.Addr().String()}
	if err := p.publishRecords(t.Context(), to, "example.org", records, nil); err == nil || !strings.Contains(err.Error(), "2 of 4 records are written") || !strings.Contains(err.Error(), "again") {
		t.Fatalf("a host that fails: %v", err)
	}
	host.takes = -1
	for _, want := range []string{": 1 record,", ": 0 records,"} {
		said.Reset()
		if err := p.publishRecords(t.Context(), to, "example.org", records, nil); err != nil || !strings.Contains(said.String(), want) || !strings.Contains(said.String(), "and 1 left as they are") {
			t.Errorf("%v, want %q in\n%s", err, want, said.String())
		}
	}
	if len(host.has) != 4 {
		t.Errorf("the zone has %v", host.has)
	}
}
