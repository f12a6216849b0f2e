package daemon

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/submission"
	"github.com/posthouse-mail/posthouse/web/api"
)

// maxReturned is how much of a refused message's header its sender gets back.
const maxReturned = 32 << 10

// reject moves a spooled message aside that the house refused, then tells its sender with a report (RFC 3464): in this order a
// folder that cannot be written costs one report at most. The report carries the header only, since what was refused may be too
// large, or no message at all; the file has the rest.
func (d *Daemon) reject(ctx context.Context, path string, refused error) (err error) {
	kept, err := api.Reject(path)
	if err != nil {
		return err
	}
	s, err := api.OpenSpooled(kept)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	if s.From == "<>" {
		return nil // RFC 5321 section 4.5.5: nobody is told
	}
	sender := s.From
	if sender == "" {
		sender = s.User
	}
	to, err := d.hears(ctx, sender, s.User)
	if err != nil {
		return err
	}
	header, err := io.ReadAll(io.LimitReader(s.Body, maxReturned))
	if err != nil {
		return err
	}
	host, err := mail.ParseDomain(d.o.Config.Hostname)
	if err != nil {
		return err
	}
	from := mail.Address{Local: "MAILER-DAEMON", Domain: host}
	b := spoolReport{from: from, to: to, recipients: s.Recipients, reason: refused.Error(), header: header,
		kept: kept, date: d.o.Now()}
	_, err = d.desk.Load().Local(ctx, submission.LocalMessage{
		From: from, Null: true, Recipients: []mail.Address{to}, User: "posthouse", House: true,
	}, bytes.NewReader(b.bytes()))
	return err
}

// hears is who is told of a message that a program handed in: its sender when that is one of ours, else the user of this machine who
// handed it in, else the postmaster. A program may claim any sender, and a report to a stranger would be junk.
func (d *Daemon) hears(ctx context.Context, sender, user string) (mail.Address, error) {
	for _, text := range []string{sender, user} {
		to, err := d.recipient(ctx, text)
		if err != nil {
			continue
		}
		if _, err = d.keepers.directory.Resolve(ctx, to); err == nil {
			return to, nil
		} else if !errors.Is(err, auth.ErrNotLocal) && !errors.Is(err, auth.ErrNoAddress) {
			return to, err
		}
	}
	return mail.Address{Local: "postmaster"}, nil
}

// spoolReport is the report before it is written.
type spoolReport struct {
	from, to   mail.Address
	recipients []string
	reason     string
	kept       string
	header     []byte // of the refused message, and perhaps more
	date       time.Time
}

func (r spoolReport) bytes() []byte {
	boundary := rand.Text()
	var h message.HeaderWriter
	h.Field("From", "Mail Delivery System <"+r.from.String()+">")
	to := r.to
	if to.Domain == "" { // the postmaster of this host
		to.Domain = r.from.Domain
	}
	h.Field("To", "<"+to.String()+">")
	h.Text("Subject", "Not sent: your message was refused")
	h.Field("Date", message.FormatDate(r.date))
	h.Field("Auto-Submitted", "auto-replied") // RFC 3834 section 5
	h.Field("MIME-Version", "1.0")
	h.Field("Content-Type", `multipart/report; report-type=delivery-status; boundary="`+boundary+`"`)
	var b bytes.Buffer
	b.Write(h.Bytes())
	reason := strings.Join(strings.Fields(r.reason), " ")
	fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n", boundary)
	fmt.Fprintf(&b, "Your message was handed in while the mail server did not run.\r\nNow it runs, and refused the message for all recipients:\r\n\r\n  %s\r\n\r\n", reason)
	fmt.Fprintf(&b, "Correct that and send it again. Who runs the server finds the message in\r\n%s.\r\n", r.kept)
	fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; %s\r\n", boundary, r.from.Domain)
	for _, to := range r.recipients {
		fmt.Fprintf(&b, "\r\nFinal-Recipient: rfc822; %s\r\nAction: failed\r\nStatus: 5.0.0\r\n", strings.Join(strings.Fields(to), ""))
	}
	if len(r.recipients) == 0 { // the header names them (-t): RFC 3464 section 2.3 wants one group at least
		fmt.Fprintf(&b, "\r\nFinal-Recipient: rfc822; unknown\r\nAction: failed\r\nStatus: 5.0.0\r\n")
	}
	fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: text/rfc822-headers; charset=utf-8\r\n\r\n", boundary)
	text := strings.ReplaceAll(string(r.header), "\r", "")
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\n")
		if line == "" {
			break
		}
		b.WriteString(line[:min(len(line), 900)] + "\r\n") // RFC 5321 section 4.5.3.1.6
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes()
}
