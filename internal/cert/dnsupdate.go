package cert

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/caddyserver/certmagic"
	"github.com/libdns/libdns"
	"github.com/miekg/dns"
	"go.uber.org/zap"
)

// DNSUpdate is a DNS server that takes changes of its zones (RFC 2136), signed with a key (RFC 8945).
type DNSUpdate struct {
	Server    string        // host:port
	Key       string        // name of the TSIG key; empty: unsigned
	Algorithm string        // "hmac-sha256" when empty
	Secret    string        // base64
	Wait      time.Duration // for secondaries after a change, before the authority looks
}

const (
	updateWait = 15 * time.Second
	updateTTL  = 60 * time.Second
	tsigFudge  = 300 // seconds
)

// solver proves names by records (RFC 8555 section 8.4).
func (u *DNSUpdate) solver(log *zap.Logger) *certmagic.DNS01Solver {
	return &certmagic.DNS01Solver{DNSManager: certmagic.DNSManager{
		DNSProvider: u, TTL: updateTTL, PropagationDelay: u.Wait, PropagationTimeout: -1, Logger: log,
		Resolvers: []string{u.Server},
	}}
}

// AppendRecords adds records to a zone.
func (u *DNSUpdate) AppendRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	rrs, err := texts(zone, records)
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	m.SetUpdate(dns.Fqdn(zone))
	m.Insert(rrs)
	return records, u.send(ctx, m)
}

// DeleteRecords removes exactly these.
func (u *DNSUpdate) DeleteRecords(ctx context.Context, zone string, records []libdns.Record) ([]libdns.Record, error) {
	rrs, err := texts(zone, records)
	if err != nil {
		return nil, err
	}
	m := new(dns.Msg)
	m.SetUpdate(dns.Fqdn(zone))
	m.Remove(rrs)
	return records, u.send(ctx, m)
}

func texts(zone string, records []libdns.Record) ([]dns.RR, error) {
	var out []dns.RR
	for _, r := range records {
		x := r.RR()
		if x.Type != "TXT" {
			return nil, fmt.Errorf("cert: a record of type %s is not what proves a name", x.Type)
		}
		out = append(out, &dns.TXT{
			Hdr: dns.RR_Header{Name: dns.Fqdn(libdns.AbsoluteName(x.Name, zone)), Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(x.TTL / time.Second)},
			Txt: []string{x.Data},
		})
	}
	return out, nil
}

// Send brings an update to the server; the error says what it answered.
func (u *DNSUpdate) send(ctx context.Context, m *dns.Msg) error {
	_, err := u.ask(ctx, m)
	return err
}

// ask is send that gives the answer.
func (u *DNSUpdate) ask(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	c := &dns.Client{Net: "tcp", Timeout: updateWait}
	if u.Key != "" {
		name := dns.CanonicalName(u.Key)
		algorithm := strings.TrimSuffix(strings.ToLower(u.Algorithm), ".")
		if algorithm == "" {
			algorithm = "hmac-sha256"
		}
		c.TsigSecret = map[string]string{name: u.Secret}
		m.SetTsig(name, algorithm+".", tsigFudge, time.Now().Unix())
	}
	server := u.Server
	if _, _, err := net.SplitHostPort(server); err != nil {
		server = net.JoinHostPort(server, "53")
	}
	answer, _, err := c.ExchangeContext(ctx, m, server)
	if errors.Is(err, dns.ErrSig) || errors.Is(err, dns.ErrAuth) {
		return nil, fmt.Errorf("DNS update at %s: its answer is signed with another key: check name and secret of the key", server)
	}
	if err != nil {
		return nil, fmt.Errorf("DNS update at %s: %w", server, err)
	}
	switch answer.Rcode {
	case dns.RcodeNameError:
		if m.Opcode == dns.OpcodeQuery {
			return answer, nil
		}
	case dns.RcodeSuccess:
		return answer, nil
	case dns.RcodeYXRrset, dns.RcodeYXDomain:
		return nil, ErrTaken
	case dns.RcodeNotAuth, dns.RcodeRefused, dns.RcodeBadSig, dns.RcodeBadKey:
		return nil, fmt.Errorf("DNS update at %s: the server refuses (%s): check the zone's update policy, and name and secret of the key", server, dns.RcodeToString[answer.Rcode])
	}
	return nil, errors.New("DNS update at " + server + ": " + dns.RcodeToString[answer.Rcode])
}
