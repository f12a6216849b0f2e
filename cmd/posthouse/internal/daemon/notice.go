package daemon

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/store"
)

// notice is a message of the house itself to somebody here. It goes into the mailbox at once, past quota and full disk, because it
// says what is to be done about them.
type notice struct {
	from    mail.Address // zero: the postmaster of this host
	to      mail.Address // domain empty: the postmaster of this host
	subject string
	text    string // lines end with \n
}

// sendNotice delivers it; route nil: where the address leads.
func (d *Daemon) sendNotice(ctx context.Context, n notice, route *auth.Route) (err error) {
	defer func() {
		d.countNotice(err)
		if err != nil {
			d.log.ErrorContext(ctx, logx.NoticeError, "to", n.to.String(), "subject", n.subject, "error", err)
			return
		}
		d.log.InfoContext(ctx, logx.NoticeSent, "to", n.to.String(), "subject", n.subject)
	}()
	if route == nil {
		r, err := d.keepers.directory.Resolve(ctx, n.to)
		if err != nil {
			return err
		}
		route = &r
	}
	raw, err := d.writeNotice(n)
	if err != nil {
		return err
	}
	w, err := d.keepers.store.NewMessage(ctx, int64(len(raw)))
	if err != nil {
		return err
	}
	if _, err := w.Write(raw); err != nil {
		w.Discard()
		return err
	}
	a, err := w.Finish()
	if err != nil {
		return err
	}
	_, err = d.local.Deliver(ctx, local.Message{
		ID: d.keepers.queue.NewID(), Arrival: a, To: []local.Recipient{{Recipient: mail.Recipient{Address: n.to, Notify: mail.NotifyNever}, Route: *route}},
	})
	return err
}

func (d *Daemon) writeNotice(n notice) ([]byte, error) {
	host, err := mail.ParseDomain(d.o.Config.Hostname)
	if err != nil {
		return nil, err
	}
	from := cmp.Or(n.from, mail.Address{Local: "postmaster", Domain: host})
	to := n.to
	if to.Domain == "" {
		to.Domain = host
	}
	var h message.HeaderWriter
	h.Field("Return-Path", "<>") // RFC 5321 section 4.5.5: nobody answers a machine
	h.Field("From", "Mail server <"+from.String()+">")
	h.Field("To", "<"+to.String()+">")
	h.Text("Subject", n.subject)
	h.Field("Date", message.FormatDate(d.o.Now()))
	h.Field("Message-ID", message.NewMessageID(string(host)))
	h.Field("Auto-Submitted", "auto-generated") // RFC 3834 section 5
	h.Field("MIME-Version", "1.0")
	h.Field("Content-Type", "text/plain; charset=utf-8")
	h.Field("Content-Transfer-Encoding", "8bit")
	var b bytes.Buffer
	b.Write(h.Bytes())
	b.WriteString("\r\n" + strings.ReplaceAll(n.text, "\n", "\r\n"))
	return b.Bytes(), nil
}

// watchQuotas tells the owners of quotas that are nearly used up, until ctx ends. Who was not told, because the house fell down, is
// told at the next start.
func (d *Daemon) watchQuotas(ctx context.Context) {
	for {
		d.warnOwners(ctx)
		select {
		case <-ctx.Done():
			return
		case <-d.keepers.store.Warnings():
		}
	}
}

func (d *Daemon) warnOwners(ctx context.Context) {
	list, err := d.keepers.store.NearlyFull(ctx)
	if err != nil {
		if ctx.Err() == nil {
			d.log.ErrorContext(ctx, logx.NoticeError, "error", err)
		}
		return
	}
	for _, n := range list {
		if err := d.warnOwner(ctx, n); err != nil {
			continue // it is in the log; the next start or crossing tries again
		}
		if err := d.keepers.store.Told(ctx, n); err != nil && ctx.Err() == nil {
			d.log.ErrorContext(ctx, logx.NoticeError, "error", err)
		}
	}
}

func (d *Daemon) warnOwner(ctx context.Context, n store.NearlyFull) error {
	holds := usageText(n.Usage)
	if n.Account == 0 {
		domain := mail.Domain(n.Pool)
		return d.sendNotice(ctx, notice{
			to:      mail.Address{Local: "postmaster", Domain: domain},
			subject: fmt.Sprintf("The mailboxes of %s are %d %% full", domain, percent(n.Usage)),
			text: "The accounts of " + n.Pool + " together hold " + holds + ".\n\n" +
				"When that is used up, new mail for all of them is refused: its senders are told that\nthe mailbox is full, and most servers try again for some days.\n\n" +
				"To give them more room:\n\n    posthouse domain quota " + n.Pool + " --size SIZE\n\n" +
				"To see who holds how much:\n\n    posthouse account list\n",
		}, nil)
	}
	a, err := d.keepers.directory.Account(ctx, n.Account)
	if errors.Is(err, auth.ErrNoAccount) || err == nil && len(a.Addresses) == 0 {
		return nil // removed meanwhile
	}
	if err != nil {
		return err
	}
	return d.sendNotice(ctx, notice{
		to:      a.Addresses[0],
		subject: fmt.Sprintf("Your mailbox is %d %% full", percent(n.Usage)),
		text: "Your mailbox " + a.Addresses[0].String() + " holds " + holds + ".\n\n" +
			"When it is full, new mail is refused: its senders are told so, and most servers try\nagain for some days.\n\n" +
			"To make room, delete what you do not need any more, large attachments first, and empty\nTrash and Junk. What is deleted for good does not count any more, and can be taken back\n" +
			"for some time. If you need more room, ask the postmaster: postmaster@" + string(a.Addresses[0].Domain) + "\n",
	}, &auth.Route{Local: []auth.Destination{{Account: n.Account, Address: a.Addresses[0]}}})
}

// usageText says for people what is held of what.
func usageText(u store.Usage) string {
	var parts []string
	if u.Limit.Bytes > 0 {
		parts = append(parts, fmt.Sprintf("%s of the %s that it may hold", people(u.Bytes), people(u.Limit.Bytes)))
	}
	if u.Limit.Messages > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d messages", u.Messages, u.Limit.Messages))
	}
	return strings.Join(parts, ", ")
}

// percent is how much of the limit that is nearer is used.
func percent(u store.Usage) uint64 {
	share := func(used, limit uint64) uint64 {
		if limit == 0 {
			return 0
		}
		return uint64(float64(used) / float64(limit) * 100)
	}
	return max(share(u.Bytes, u.Limit.Bytes), share(u.Messages, u.Limit.Messages))
}

// people is a number of octets for people.
func people(n uint64) string {
	units := []string{"B", "KiB", "MiB", "GiB", "TiB"}
	v, i := float64(n), 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	if i == 0 || v >= 100 {
		return fmt.Sprintf("%.0f %s", v, units[i])
	}
	return fmt.Sprintf("%.1f %s", v, units[i])
}

// folderSize is what a file or folder takes; what cannot be read takes nothing.
func folderSize(path string) (n uint64) {
	err := filepath.WalkDir(path, func(_ string, e fs.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it was removed meanwhile
		}
		if info, err := e.Info(); err == nil && e.Type().IsRegular() {
			n += uint64(info.Size())
		}
		return nil
	})
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	return n
}
