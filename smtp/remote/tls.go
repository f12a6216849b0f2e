package remote

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/netip"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
)

// Sighting is what came of TLS with a host of a domain: one for each new connection, and for each host that must not be used.
type Sighting struct {
	Domain  mail.Domain
	Host    string
	Address netip.Addr
	Verdict tlspolicy.Verdict
	TLS     *tls.ConnectionState // nil: none
	Failure *tlspolicy.Error     // what TLS, or the policy, lacked; nil: nothing
	Given   bool                 // the host was given up for it
	Report  bool                 // the mail is a report on TLS itself
}

// Opinion is what the house remembers of a host that offers no TLS now.
type Opinion struct {
	Note  string // for the log and the message's story; empty: nothing
	Delay bool   // mail for it waits rather than go in clear
}

// demand is what one connection must fulfil: the policy of the domain, and the wish of the message.
type demand struct {
	tlspolicy.Verdict
	name    string // what makes connections alike
	clear   bool   // TLS is not asked for
	smart   bool   // the handshake verifies the name that the operator wrote
	require bool   // REQUIRETLS (RFC 8689 section 4.2.1)
	relaxed bool   // TLS-Required: No (section 4.2.2): what the policy lacks is told, and stops nothing
	report  bool   // a report on TLS: nobody reports on its way
}

// binding: the policy of the domain is not only told of.
func (d *demand) binding() bool { return d.Verdict.Required && !d.Testing && !d.relaxed }

// must: no TLS, no mail.
func (d *demand) must() bool { return d.smart || d.require || d.binding() }

// verify is the check that fails the handshake; nil: any certificate is better than clear text (RFC 7435).
func (d *demand) verify() func(tls.ConnectionState) error {
	switch {
	case d.binding() && d.Verify != nil:
		return d.Verify
	case d.require && d.Kind == tlspolicy.DANE && d.Verify != nil:
		return d.Verify
	case d.require:
		return d.Trusted
	}
	return nil
}

// unmet is the refusal of a host that fails what is demanded: the next one's turn. Status 5 only where RFC 8689 section 4.2.1 is sure.
func (d *demand) unmet(to candidate, why string) queue.Result {
	r := refusal(to, "4.7.5", why)
	switch {
	case d.binding():
		r = refusal(to, "4.7.5", "TLS required by the domain's policy ("+policyName(d.Kind)+"): "+why)
		r.Host = queue.HostWell // of this domain; another one's mail may pass
	case d.smart:
		r = refusal(to, "4.7.5", "TLS: "+why)
	}
	if d.require {
		r = refusal(to, "5.7.10", "TLS required by the sender (REQUIRETLS): "+why)
		r.Host = queue.HostWell
	}
	return r
}

func policyName(k tlspolicy.Kind) string {
	switch k {
	case tlspolicy.STS:
		return "MTA-STS"
	case tlspolicy.DANE:
		return "DANE"
	}
	return string(k)
}

// demand asks what the connection must fulfil. Its error is a queue.Result.
func (c *Carrier) demand(ctx context.Context, w *way, to candidate, a queue.Attempt) (demand, error) {
	// A bounce is not lost for a host that does not know REQUIRETLS (RFC 8689 section 5).
	require := a.Envelope.RequireTLS && !a.Envelope.From.IsNull()
	switch {
	case w.smart != nil && w.smart.TLS == Clear && require:
		d := demand{require: true}
		return d, d.unmet(to, "the smart host is spoken to in clear, as the settings say")
	case w.smart != nil && w.smart.TLS == Clear:
		return demand{clear: true, name: "clear"}, nil
	case w.smart != nil:
		return demand{smart: true, require: require, name: "smart host"}, nil
	}
	d := demand{require: require, report: a.Envelope.From.IsNull() && tlsOptional(a.Content)}
	if c.o.Policy != nil {
		var err error
		d.Verdict, err = c.o.Policy(ctx, string(w.domain), to.host)
		d.relaxed = (err != nil || d.Verdict.Required || d.Refused != nil) && !a.Envelope.RequireTLS && tlsOptional(a.Content)
		if err != nil && !d.relaxed {
			return d, failure(queue.Later, "4.7.5", "the TLS policy for %s cannot be found out: %v", to.host, err)
		}
	}
	if d.Refused != nil && d.binding() {
		c.see(ctx, Sighting{Domain: w.domain, Host: to.host, Address: to.addr.Addr(), Verdict: d.Verdict, Failure: d.Refused, Given: true, Report: d.report})
		return d, d.unmet(to, d.Refused.Reason)
	}
	if d.require {
		if err := d.provable(to, w.domain); err != nil {
			return d, err
		}
	}
	d.name = string(d.Kind)
	if d.Kind != "" && d.Kind != tlspolicy.None { // a certificate may be good for one domain only
		d.name += " " + string(w.domain)
	}
	if d.relaxed || d.Testing {
		d.name += " told"
	}
	if d.require {
		d.name += " required"
	}
	return d, nil
}

// provable: a message that requires TLS goes only to a host that is proven to be the domain's (RFC 8689 section 4.2.1, step 2).
func (d *demand) provable(to candidate, domain mail.Domain) error {
	switch {
	case d.Trusted == nil:
		return d.unmet(to, "this house does not look up TLS policies, so that no host can be verified")
	case d.Signed, d.Kind == tlspolicy.STS && d.Refused == nil, to.host == string(domain):
		return nil
	}
	return d.unmet(to, "nothing proves that this host is one of "+string(domain)+": its MX records are not signed (DNSSEC), and no MTA-STS policy lists it")
}

// tlsOptional: the sender puts delivery before TLS (RFC 8689 section 3).
func tlsOptional(content *io.SectionReader) bool {
	b := make([]byte, min(content.Size(), smtp.MaxHeader))
	n, _ := content.ReadAt(b, 0) // what cannot be read is met again when it is sent
	for line := range bytes.Lines(b[:n]) {
		name, value, ok := bytes.Cut(line, []byte(":"))
		if ok && strings.EqualFold(string(name), "TLS-Required") {
			return strings.EqualFold(string(bytes.TrimSpace(value)), "No")
		}
		if len(bytes.TrimRight(line, "\r\n")) == 0 {
			break
		}
	}
	return false
}

func (c *Carrier) see(ctx context.Context, s Sighting) Opinion {
	if s.Failure != nil {
		c.count.unmet.WithLabelValues(s.Failure.Type).Inc()
	}
	if c.o.Seen == nil {
		return Opinion{}
	}
	return c.o.Seen(ctx, s)
}

// secured brings TLS to a connection as demanded and judges what came of it. The note is for results.
func (c *Carrier) secured(ctx context.Context, w *way, to candidate, d demand, k *smtp.Client) (_ *smtp.Client, note string, err error) {
	k, lack, err := c.secure(ctx, w, to, d, k)
	if err != nil {
		return nil, "", err
	}
	seen := Sighting{Domain: w.domain, Host: to.host, Address: to.addr.Addr(), Verdict: d.Verdict, Failure: lack, Report: d.report}
	if k != nil {
		seen.TLS = k.TLS()
	}
	if lack == nil && !d.smart {
		seen.Failure = d.told(seen.TLS)
	}
	seen.Given = lack != nil && d.must()
	var o Opinion
	if w.smart == nil {
		o = c.see(ctx, seen)
	}
	switch {
	case seen.Given:
		err = d.unmet(to, lack.Reason)
	case seen.TLS == nil && o.Delay && !d.relaxed:
		r := refusal(to, "4.7.5", o.Note+"; mail for it waits (remote.tls_memory)")
		r.Host = queue.HostWell
		err = r
	case d.require:
		if _, ok := k.Extension("REQUIRETLS"); !ok {
			r := d.unmet(to, "it does not offer REQUIRETLS")
			r.Status = "5.7.30"
			err = r
		}
	}
	if err != nil {
		if k != nil {
			k.Close()
		}
		return nil, "", err
	}
	return k, o.Note, nil
}

// told is what the policy lacks where nothing was stopped for it.
func (d *demand) told(state *tls.ConnectionState) *tlspolicy.Error {
	if d.Refused != nil {
		return d.Refused
	}
	if state == nil || d.Verify == nil {
		return nil
	}
	err := d.Verify(*state)
	if err == nil {
		return nil
	}
	return lacks(err)
}

// lacks is an error of TLS with its name in TLS reports.
func lacks(err error) *tlspolicy.Error {
	if f, ok := errors.AsType[*tlspolicy.Error](err); ok {
		return f
	}
	return &tlspolicy.Error{Type: tlspolicy.FailureType(err), Reason: plain(err)}
}

// secure asks for TLS where it is offered. Opportunistic TLS that fails is given up: a new connection goes on in clear
// (RFC 7435 section 3). What is demanded is never given up; then the client may be nil.
func (c *Carrier) secure(ctx context.Context, w *way, to candidate, d demand, k *smtp.Client) (*smtp.Client, *tlspolicy.Error, error) {
	if _, offered := k.Extension("STARTTLS"); !offered {
		return k, &tlspolicy.Error{Type: "starttls-not-supported", Reason: "it does not offer STARTTLS"}, nil
	}
	tlsCtx, cancel := context.WithTimeout(ctx, 2*c.o.Connect)
	defer cancel()
	err := k.StartTLS(tlsCtx, c.tlsConfig(w, to, d))
	if err == nil {
		return k, nil, nil
	}
	lack := lacks(err)
	_, said := errors.AsType[*smtp.ReplyError](err)
	if said && k.TLS() == nil { // it thought better of it; the connection could go on in clear
		return k, &tlspolicy.Error{Type: "starttls-not-supported", Reason: lack.Reason}, nil
	}
	k.Close()
	if d.must() {
		return nil, lack, nil
	}
	c.log.InfoContext(ctx, logx.RemoteNoTLS, "host", to.host, "address", to.addr.Addr(), "error", err)
	k, err = c.hello(ctx, w, to)
	return k, lack, err
}

// tlsConfig verifies a smart host's certificate against its name, an MX host's as is demanded. The name in the handshake is the
// host's, whichever policy there is (RFC 7672 section 8.1, RFC 8461 section 4.1).
func (c *Carrier) tlsConfig(w *way, to candidate, d demand) *tls.Config {
	config := &tls.Config{}
	if c.o.TLS != nil {
		config = c.o.TLS.Clone()
	}
	config.ServerName = to.host
	config.MinVersion = tls.VersionTLS12
	if w.smart != nil {
		if w.smart.Roots != nil {
			config.RootCAs = w.smart.Roots
		}
		return config
	}
	config.InsecureSkipVerify = true
	config.VerifyConnection = d.verify()
	return config
}
