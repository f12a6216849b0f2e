package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/cert"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/inbound"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/remote"
	"github.com/posthouse-mail/posthouse/smtp/submission"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

// temporary is the folder for messages on their way in: on the disk of the data, since /tmp of a small machine may be its memory.
func temporary(data string) string { return filepath.Join(data, "tmp") }

// emptyTemporary makes the folder and removes what a house left there that did not end by itself.
func (d *Daemon) emptyTemporary(context.Context) error {
	folder := temporary(d.o.Config.Data)
	if err := os.RemoveAll(folder); err != nil {
		return err
	}
	return os.Mkdir(folder, 0o700)
}

// openResolver makes the resolver of the whole house.
func (d *Daemon) openResolver(context.Context) error {
	c := d.o.Config.DNS
	r, err := dns.New(dns.Options{Servers: c.Servers, Timeout: c.Timeout.Duration, TrustAD: trustAD(c), Metrics: d.metrics})
	if err != nil {
		return fmt.Errorf("dns: %w", err)
	}
	d.opened(r.Close)
	d.resolver = r
	return nil
}

// openCarriers makes those who take mail out of the queue.
func (d *Daemon) openCarriers(context.Context) error {
	c := d.o.Config
	d.lists = d.newLists(c)
	d.local = local.New(local.Options{
		Lists: d.lists.Take, Masked: d.masked(),
		Logger: d.part(logx.PartQueue), Metrics: d.metrics, Store: d.keepers.store, Directory: d.keepers.directory, Queue: d.keepers.queue,
		Across: c.Route.Across == config.AcrossMX, Story: d.keepers.story, Forwarding: local.NewForwarding(d.keepers.db.Secret(), nil),
		Limits: d.keepers.limits, Suppressed: d.keepers.suppressed,
		Junked: d.junked(),
	})
	smart, err := smartHosts(d.o.Config.Remote.SmartHosts)
	if err != nil {
		return err
	}
	d.openTLS()
	d.remote, err = remote.New(remote.Options{
		Policy: d.policies.For, Seen: d.sawTLS, IPv6: c.Remote.IPv6,
		Logger: d.part(logx.PartQueue), Metrics: d.metrics, Resolver: d.resolver, Hostname: c.Hostname, Port: c.Remote.Port, IPv6First: c.Remote.IPv6First,
		AllowLoopback: c.Remote.AllowLoopback, AllowPrivate: c.Remote.AllowPrivate, SmartHosts: smart, PerHost: c.Queue.PerHost,
	})
	if err != nil {
		return fmt.Errorf("remote: %w", err)
	}
	d.opened(func() error { d.remote.Close(); return nil })
	d.opened(func() error { d.scanners.Load().Close(); return nil })
	return nil
}

// smartHosts reads passwords and authorities; the files are read at the start only.
func smartHosts(list []config.SmartHost) ([]remote.SmartHost, error) {
	var all []remote.SmartHost
	for _, h := range list {
		password, err := secretOf(h.PasswordFile)
		if err != nil {
			return nil, fmt.Errorf("remote.smart_hosts.password_file: %w", err)
		}
		s := remote.SmartHost{Host: h.Host, Port: h.Port, TLS: h.TLS, User: h.User, Password: password, After: h.After}
		if h.CAFile != "" {
			if s.Roots, err = cert.Roots(h.CAFile); err != nil {
				return nil, fmt.Errorf("remote.smart_hosts.ca_file: %w", err)
			}
		}
		for _, d := range h.Senders {
			s.Senders = append(s.Senders, d.Domain)
		}
		all = append(all, s)
	}
	return all, nil
}

// mailHandlers makes the servers that take mail.
func (d *Daemon) mailHandlers(c *config.Config, h handlers) error {
	if err := d.openScanners(c); err != nil {
		return err
	}
	strangers := inbound.New(inbound.Options{
		Logger: d.part(logx.PartSMTP), Metrics: d.metrics, Hostname: c.Hostname, Directory: d.keepers.directory, Store: d.keepers.store,
		Queue: d.keepers.queue, Local: d.local, Lists: d.lists, MaxSize: int64(c.Limits.MessageSize),
		Suppressed: d.keepers.suppressed, Checks: d.checks(c), SealKey: d.signingKeys, Policy: inbound.Policy(c.Checks.DMARC), Reports: d.reportHooks(c),
		Scan: d.scanners.Load(), Temp: temporary(c.Data),
		Judge: d.judge(), Wishes: d.keepers.wishes(), Greylist: c.Junk.GreylistDelay.Duration > 0, Loopback: c.Junk.Loopback,
	})
	users := d.submissionDesk(c)
	d.desk.Store(users)
	options := smtp.Options{
		Logger: d.part(logx.PartSMTP), Metrics: d.metrics, Desk: strangers, Hostname: c.Hostname, MaxSize: int64(c.Limits.MessageSize),
		MaxRecipients: c.Limits.Recipients, CommandWait: c.Limits.SMTPCommand.Duration, DataWait: c.Limits.SMTPData.Duration,
	}
	lmtp := options
	lmtp.LMTP = true
	h[serviceLMTP] = smtp.NewServer(lmtp).Handle

	port25 := options
	if d.certs != nil {
		port25.TLS = d.certs.ForHosts()
	}
	h[serviceSMTP] = smtp.NewServer(port25).Handle

	submissions := options
	submissions.Desk, submissions.TLS, submissions.Auth, submissions.FixLF = users, d.clientTLS(serviceSubmission), true, true
	submissions.FutureRelease = c.Submission.Schedule.Duration
	server := smtp.NewServer(submissions)
	h[serviceSubmission], h[serviceSubmissions] = server.Handle, server.Handle
	return nil
}

// checks is who asks where mail from outside comes from; nil: nobody.
func (d *Daemon) checks(c *config.Config) *mailauth.Checker {
	if c.Checks.DMARC == config.DMARCOff {
		return nil
	}
	return mailauth.New(mailauth.Options{Resolver: d.resolver, Hostname: c.Hostname, Trusted: trustedSealers(c)})
}

func trustedSealers(c *config.Config) func(domain string) bool {
	trusted := map[string]bool{}
	for _, s := range c.Checks.TrustedSealers {
		trusted[s.String()] = true
	}
	return func(domain string) bool { return trusted[domain] }
}

// signingKeys are the keys that sign mail of a domain.
func (d *Daemon) signingKeys(ctx context.Context, domain mail.Domain) ([]mailauth.SigningKey, error) {
	all, err := d.keepers.directory.Keys(ctx, domain)
	var out []mailauth.SigningKey
	for _, k := range all {
		if k.State == auth.KeyActive {
			out = append(out, mailauth.SigningKey{Domain: string(k.Domain), Selector: k.Selector, Private: k.Private})
		}
	}
	return out, err
}

func (d *Daemon) submissionDesk(c *config.Config) *submission.Desk {
	o := submission.Options{
		Keys:   d.signingKeys,
		Limits: d.keepers.limits, Suppressed: d.keepers.suppressed, Suspend: d.house.Suspend,
		Logger: d.part(logx.PartSMTP), Metrics: d.metrics, Hostname: c.Hostname, Directory: d.keepers.directory, Store: d.keepers.store,
		Queue: d.keepers.queue, Local: d.local, Lists: d.lists, Across: c.Route.Across == config.AcrossMX, MaxSize: int64(c.Limits.MessageSize),
		Temp: temporary(c.Data), Scan: d.scanners.Load(), Wrote: d.wrote(), Hold: c.Submission.Hold.Duration, SentCopy: c.Submission.SentCopy,
	}
	for _, t := range c.Submission.Trusted {
		one := submission.Trusted{Networks: t.Networks}
		for _, a := range t.Senders {
			one.Senders = append(one.Senders, a.Address)
		}
		o.Trusted = append(o.Trusted, one)
	}
	return submission.New(o)
}

// submit takes a message of a program of this machine.
func (d *Daemon) submit(ctx context.Context, m api.Message, body io.Reader) (string, error) {
	local := submission.LocalMessage{FromHeader: m.FromHeader, Name: m.Name, User: m.User, Null: m.From == "<>"}
	from := m.From
	if from == "" || local.Null {
		from = m.User
	}
	var err error
	if local.From, err = d.qualified(from); err != nil {
		return "", err
	}
	for _, r := range m.Recipients {
		a, err := d.recipient(ctx, r)
		if err != nil {
			return "", err
		}
		local.Recipients = append(local.Recipients, a)
	}
	limit := d.settings.Load().Limits.MessageSize
	bounded := &bounded{r: body, left: int64(limit)}
	receipt, err := d.desk.Load().Local(ctx, local, bounded)
	var refused *gosmtp.SMTPError
	switch {
	case err == nil:
		return receipt, nil
	case bounded.left < 0:
		return "", &admin.Error{Class: admin.Conflict, Message: "the message is larger than " + limit.String()}
	case errors.As(err, &refused) && refused.Temporary():
		return "", &admin.Error{Class: admin.Unavailable, Message: refused.Message}
	case errors.As(err, &refused):
		return "", &admin.Error{Class: admin.Conflict, Message: refused.Message}
	}
	return "", err
}

// bounded fails when more than left octets come: cut off, a message would be another one.
type bounded struct {
	r    io.Reader
	left int64 // below 0: too many came
}

var errTooLarge = errors.New("message too large")

func (b *bounded) Read(p []byte) (int, error) {
	n, err := b.r.Read(p)
	if b.left -= int64(n); b.left < 0 {
		return 0, errTooLarge
	}
	return n, err
}

// qualified reads an address. A bare name, as cron writes it, gets the default domain, else the host's name.
func (d *Daemon) qualified(text string) (mail.Address, error) {
	text = strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(text), "<"), ">")
	if strings.Contains(text, "@") {
		a, err := mail.ParseAddress(text)
		if err != nil {
			return a, &admin.Error{Class: admin.Invalid, Message: err.Error()}
		}
		return a, nil
	}
	a, err := mail.ParseLocal(text)
	if err != nil {
		return a, &admin.Error{Class: admin.Invalid, Message: err.Error()}
	}
	c := d.settings.Load()
	if a.Domain = c.Auth.DefaultDomain.Domain; a.Domain == "" {
		a.Domain, err = mail.ParseDomain(c.Hostname)
	}
	return a, err
}

// recipient is qualified for one who gets mail: where the bare name would be at this host and the host's name is no
// domain of ours, the postmaster gets it.
func (d *Daemon) recipient(ctx context.Context, text string) (mail.Address, error) {
	a, err := d.qualified(text)
	if err != nil || strings.Contains(text, "@") {
		return a, err
	}
	ours, err := d.keepers.directory.IsLocal(ctx, a.Domain)
	if err == nil && !ours {
		a = mail.Address{Local: "postmaster"}
	}
	return a, err
}
