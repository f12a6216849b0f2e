package daemon

import (
	"bytes"
	"context"
	"net/netip"
	"time"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/remote"
	"github.com/posthouse-mail/posthouse/smtp/report"
	"github.com/posthouse-mail/posthouse/smtp/submission"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

// renewEvery is how often policies are looked at that could be asked for again.
const renewEvery = time.Hour

// trustAD: what the servers say of signatures counts.
func trustAD(c config.DNS) bool {
	return c.TrustAD == config.TrustADAlways || c.TrustAD == config.TrustADLoopback && dns.OnThisMachine(c.Servers)
}

// openTLS makes those who know what TLS with other hosts must be and has been.
func (d *Daemon) openTLS() {
	c := d.o.Config
	d.tlsBook = tlsbook.New(tlsbook.Options{Side: d.keepers.side, Logger: d.part(logx.PartReports), Now: d.o.Now, Every: d.o.ReportsEvery})
	d.policies = tlspolicy.New(tlspolicy.Options{
		Resolver: d.resolver, Cache: d.tlsBook, Now: d.o.Now, Port: c.Remote.Port, HTTP: tlspolicy.NewHTTP(d.resolver, allowedBy(c)),
	})
	d.fell = d.metrics.Counter("remote_tls_downgrades_total", "Connections to hosts that offered verified TLS for weeks, and offer none now.")
}

// allowedBy: policies and reports go to where mail may go.
func allowedBy(c *config.Config) func(netip.Addr) bool {
	return func(a netip.Addr) bool {
		a = a.Unmap()
		return tlspolicy.Public(a) || c.Remote.AllowLoopback && a.IsLoopback() || c.Remote.AllowPrivate && a.IsPrivate()
	}
}

// renewPolicies asks for STS policies again before they end.
func (d *Daemon) renewPolicies(ctx context.Context) {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		domains, err := d.tlsBook.Domains(ctx)
		if err != nil {
			d.log.WarnContext(ctx, logx.TLSBookFailed, "key", "policies", "error", err)
		}
		d.policies.Renew(ctx, domains)
	}
}

// sendTLSReports sends once a day what was seen of the TLS of domains that want to know (RFC 8460).
func (d *Daemon) sendTLSReports(ctx context.Context) {
	c := d.o.Config
	if !c.Remote.TLSReports {
		return
	}
	report.NewTLSSender(report.TLSOptions{
		Book: d.tlsBook, Resolver: d.resolver, HTTP: tlspolicy.NewHTTP(d.resolver, allowedBy(c)), Organization: c.Hostname,
		From: d.reportSender, Logger: d.part(logx.PartReports), Now: d.o.Now, Submit: d.submitReport, Every: d.o.ReportsEvery,
	}).Run(ctx)
}

// submitReport sends a report signed; nobody waits for a bounce of it.
func (d *Daemon) submitReport(ctx context.Context, from mail.Address, to []mail.Address, text []byte) error {
	_, err := d.desk.Load().Local(ctx, submission.LocalMessage{From: from, Null: true, House: true, Recipients: to, User: "posthouse"}, bytes.NewReader(text))
	return err
}

// sawTLS counts for TLS reports and compares with what the host showed before.
func (d *Daemon) sawTLS(ctx context.Context, s remote.Sighting) remote.Opinion {
	session := tlsbook.Session{Domain: string(s.Domain), Verdict: s.Verdict}
	if f := s.Failure; f != nil {
		session.Failure = &tlsbook.Failure{Type: f.Type, Host: s.Host, Address: s.Address.String(), Reason: f.Reason}
	}
	if !s.Report { // else each report would be followed by one about its own way, for ever
		d.tlsBook.Count(session)
	}
	mode := d.o.Config.Remote.TLSMemory
	if mode == config.TLSMemoryOff || s.Given {
		return remote.Opinion{}
	}
	if s.TLS != nil {
		trusted := s.Verdict.Verify != nil && s.Failure == nil
		if trusted || s.Verdict.Trusted != nil && s.Verdict.Trusted(*s.TLS) == nil {
			d.tlsBook.Verified(s.Host)
		}
		return remote.Opinion{}
	}
	was, fell, first := d.tlsBook.Fell(s.Host)
	if !fell {
		return remote.Opinion{}
	}
	d.fell.Inc()
	until := was.LastSeen().Format("2 January 2006")
	waits := mode == config.TLSMemoryRefuse
	if first {
		d.log.WarnContext(ctx, logx.RemoteFell, "host", s.Host, "address", s.Address, "domain", s.Domain, "until", until, "waits", waits)
	}
	return remote.Opinion{Note: "it offered verified TLS until " + until + ", and offers none now", Delay: waits}
}
