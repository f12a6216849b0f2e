package daemon

import (
	"context"
	"errors"
	"io"
	"net/http"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/config"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/smtp/submission"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
	"github.com/posthouse-mail/posthouse/web/page"
)

// table is what the operator's verbs are over HTTP, for the socket and for the web house.
func (d *Daemon) table() *api.Server {
	return api.New(api.Options{
		Logger: d.part(logx.PartWeb), House: d.house, Status: d.Status, Vitals: d.Vitals, Reload: d.Reload, Restart: d.Restart, Submit: d.submit, Letter: d.Letter,
		Send: d.send, MaxMessage: int64(d.o.Config.Limits.MessageSize), Side: d.keepers.side, Now: d.o.Now,
		Temp: temporary(d.o.Config.Data),
	})
}

// apiRoom is the API by token.
func (d *Daemon) apiRoom(c *config.Config) page.Room {
	from := c.Web.APIFrom
	if len(from) == 0 {
		from = c.Web.AdminFrom
	}
	return d.table().Room(api.DoorOptions{Directory: d.keepers.directory, AdminFrom: from, Now: d.o.Now})
}

// send takes a message of an account that came over the API.
func (d *Daemon) send(ctx context.Context, m api.Outgoing, text io.Reader) (api.Sent, error) {
	most := d.settings.Load().Submission.Schedule.Duration
	switch now := d.o.Now(); {
	case m.At.IsZero():
	case most == 0:
		return api.Sent{}, &admin.Error{Class: admin.Invalid, Message: "at: nothing is sent later in this house (the setting submission.schedule)"}
	case m.At.After(now.Add(most)):
		return api.Sent{}, &admin.Error{Class: admin.Invalid, Message: "at: a message waits until " + now.Add(most).UTC().Format(time.RFC3339) + " at most"}
	}
	h := submission.Handed{Identity: m.Identity, Remote: m.Remote, From: m.From, Recipients: m.Recipients, FromHeader: len(m.Recipients) == 0, At: m.At}
	id, name, err := d.desk.Load().Hand(ctx, h, text)
	var refused *gosmtp.SMTPError
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return api.Sent{ID: id, MessageID: name}, nil
	case errors.As(err, &large):
		return api.Sent{}, err
	case errors.As(err, &refused) && refused.Temporary():
		return api.Sent{}, &admin.Error{Class: admin.Unavailable, Message: refused.Message}
	case errors.As(err, &refused):
		return api.Sent{}, &admin.Error{Class: admin.Conflict, Message: refused.Message}
	}
	return api.Sent{}, err
}
