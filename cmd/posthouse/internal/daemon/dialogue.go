package daemon

import (
	"context"

	"github.com/posthouse-mail/posthouse/internal/dialogue"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

// spoken is the language of a door; 0: nobody listens there.
func spoken(service string) dialogue.Protocol {
	switch service {
	case serviceSMTP, serviceSubmission, serviceSubmissions, serviceLMTP:
		return dialogue.SMTP
	case serviceIMAP, serviceIMAPS:
		return dialogue.IMAP
	case servicePOP3, servicePOP3S:
		return dialogue.POP3
	}
	return 0
}

// listenTo lends an ear to a new connection that somebody asked for.
func (d *Daemon) listenTo(c *serve.Conn) (wire.Listener, func()) {
	l := d.talks.Watch(dialogue.Conn{ID: c.ID, Service: c.Service, Protocol: spoken(c.Service), Remote: c.Remote.Addr()})
	if l == nil {
		return nil, nil
	}
	return l, l.Closed
}

// heardOf tells those who look at connections whose one is.
func (d *Daemon) heardOf(ctx context.Context, account mail.AccountID) {
	conn := logx.Carried(ctx, "conn")
	d.talks.LoggedIn(conn, uint32(account))
	d.nameConnection(ctx, conn, account)
}
