package daemon

import (
	"context"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/dmarcbook"
	"github.com/posthouse-mail/posthouse/smtp/inbound"
	"github.com/posthouse-mail/posthouse/smtp/report"
	"github.com/posthouse-mail/posthouse/smtp/tlsbook"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/hook"
)

// reports is what the house tells others of their mail, and hears of its own.
type reports struct {
	dmarc  *dmarcbook.Book
	reader *report.Reader
	sender *report.DMARCSender
}

// openReports makes those who count, send and read reports.
func (d *Daemon) openReports(context.Context) error {
	c := d.o.Config
	r := &reports{dmarc: dmarcbook.New(dmarcbook.Options{Side: d.keepers.side, Logger: d.part(logx.PartReports), Metrics: d.metrics, Now: d.o.Now, Every: d.o.ReportsEvery})}
	r.reader = report.NewReader(report.ReaderOptions{
		Complained: d.complained,
		DMARC:      r.dmarc, TLS: d.tlsBook, Resolver: d.resolver, Ours: d.keepers.directory.IsLocal, Logger: d.part(logx.PartReports), Now: d.o.Now,
		Open: func(ctx context.Context, at blob.LSN) (io.ReadCloser, error) {
			b, err := d.keepers.store.OpenAt(ctx, at)
			if err != nil {
				return nil, err
			}
			return struct {
				io.Reader
				io.Closer
			}{io.NewSectionReader(b, 0, b.Size()), b}, nil
		},
	})
	r.sender = report.NewDMARCSender(report.DMARCOptions{
		Book: r.dmarc, Resolver: d.resolver, Submit: d.submitReport, Ours: d.keepers.directory.IsLocal, Hostname: c.Hostname,
		Organization: c.Reports.Organization, From: d.reportSender, Program: strings.TrimSpace("posthouse " + d.o.Version),
		Logger: d.part(logx.PartReports), Metrics: d.metrics, Now: d.o.Now, Every: d.o.ReportsEvery,
	})
	d.reports = r
	return nil
}

// runReports counts, sends and reads until ctx ends.
func (d *Daemon) runReports(ctx context.Context) {
	var running sync.WaitGroup
	running.Go(func() { d.reports.dmarc.Run(ctx) })
	running.Go(func() { d.reports.reader.Run(ctx) })
	running.Go(func() { d.sendTLSReports(ctx) })
	running.Go(func() { d.writeLetters(ctx) })
	if d.o.Config.Reports.DMARC {
		running.Go(func() { d.reports.sender.Run(ctx) })
	}
	running.Wait()
}

// reportHooks is what the desk of port 25 tells those who count and read.
func (d *Daemon) reportHooks(c *config.Config) inbound.Reports {
	h := inbound.Reports{
		Carried: report.Carried,
		Taken: func(t inbound.TakenReport) {
			w := dmarcbook.Waiting{At: t.At, ID: t.ID, Sender: t.Sender}
			for _, to := range t.To {
				w.To = append(w.To, to.String())
			}
			d.reports.reader.Take(w)
		},
	}
	if c.Reports.DMARC {
		h.Seen = func(s inbound.Sighting) {
			d.reports.dmarc.Count(dmarcbook.Message{Report: s.Report, To: string(s.To), Disposition: s.Disposition, Override: s.Override, Comment: s.Comment})
		}
	}
	return h
}

// reportSender is whose address reports come from: its domain must sign them, or nobody believes them (RFC 7489 section 7.2.1.1, RFC 8460
// section 3).
func (d *Daemon) reportSender(ctx context.Context) (mail.Address, error) {
	c := d.settings.Load()
	if !c.Reports.Contact.IsNull() {
		return c.Reports.Contact.Address, nil
	}
	if domain := c.Auth.DefaultDomain.Domain; domain != "" {
		return mail.Address{Local: "postmaster", Domain: domain}, nil
	}
	host, err := mail.ParseDomain(c.Hostname)
	if err != nil {
		return mail.Address{}, err
	}
	all, err := d.keepers.directory.Domains(ctx)
	if err != nil {
		return mail.Address{}, err
	}
	best := host
	for _, x := range all {
		keys, err := d.signingKeys(ctx, x.Name)
		if err != nil {
			return mail.Address{}, err
		}
		if len(keys) > 0 && (best == host || strings.HasSuffix(string(host), "."+string(x.Name))) {
			best = x.Name
		}
	}
	return mail.Address{Local: "postmaster", Domain: best}, nil
}

// domains are those that mail is for, without aliases of others.
func (d *Daemon) domains(ctx context.Context) (all []auth.Domain, err error) {
	list, err := d.keepers.directory.Domains(ctx)
	for _, x := range list {
		if x.AliasOf == "" {
			all = append(all, x)
		}
	}
	return all, err
}

// reportBooks is where received reports are kept, for the operator's verbs.
func (k *keepers) reportBooks() admin.Reports {
	return admin.Reports{DMARC: dmarcbook.New(dmarcbook.Options{Side: k.side}), TLS: tlsbook.New(tlsbook.Options{Side: k.side})}
}

// errNotOurs refuses a complaint that anybody can make up.
var errNotOurs = errors.New("report: it is a complaint about no message that this house knows it has sent")

// complained tells webhooks of a complaint. Who sends one is proven, what he writes is not, and programs stop mail because of it: it has
// to name a message that the story knows, and all that is told of that message is the story's.
func (d *Daemon) complained(ctx context.Context, c report.Complaint, sender string) error {
	id := "<" + strings.Trim(c.MessageID, "<> ") + ">"
	found, err := d.keepers.story.Find(ctx, id, 50)
	if errors.Is(err, story.ErrUnknown) || id == "<>" {
		return errNotOurs
	}
	if err != nil {
		return err
	}
	i := slices.IndexFunc(found, func(s story.Story) bool { return s.Direction == story.Out && s.MessageID == id })
	if i < 0 {
		return errNotOurs
	}
	m := &found[i].Message
	data := hook.Data{
		ID: m.ID, MessageID: m.MessageID, Direction: string(m.Direction), From: m.From, Account: m.Account, Size: m.Size,
		To: complainer(m, c.To), Status: c.Type, Host: sender, Text: c.Agent,
	}
	d.keepers.hooks.Tell(hook.Event{Type: hook.Complaint, At: d.o.Now(), Data: data})
	return nil
}

// complainer is the recipient who called a message junk: providers often hide him, and none is believed whom the message was not for.
func complainer(m *story.Message, said string) string {
	for _, to := range m.To {
		if strings.EqualFold(to, said) || m.Recipients <= 1 {
			return to
		}
	}
	return ""
}
