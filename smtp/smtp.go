// Package smtp is mail in motion: the protocol of RFC 5321 with its extensions,
// both ends, and LMTP (RFC 2033). It decides nothing: desks do.
//
// The server: server.go (connection, command loop), command.go (the table), then
// one file per family: hello.go, envelope.go with param.go, data.go, bdat.go,
// auth.go, small.go; answer.go is where errors become replies.
// The client: client.go, send.go, reply.go.
package smtp

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/netip"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
)

// Peer is who speaks to us, as it stands at EHLO (and again after STARTTLS).
type Peer struct {
	ID       string // connection id
	Service  string // "smtp", "submission", "submissions", "lmtp", ...
	Remote   netip.AddrPort
	Local    netip.AddrPort
	Hello    string // argument of EHLO, HELO or LHLO
	Extended bool   // EHLO or LHLO
	LMTP     bool
	TLS      *tls.ConnectionState // nil: in clear
}

// Desk decides what the protocol asks: who may send, which recipient is taken, what becomes of the message.
// NewSession is called at each EHLO or HELO; the session before it is logged out first. Errors are *gosmtp.SMTPError,
// anything else becomes 451 4.3.0 and is logged. A session may also be gosmtp.AuthSession, gosmtp.LMTPSession, Extra and Holder.
// ctx lives as long as the connection; a shutdown of the house does not end it, because what is in flight is finished.
// Addresses come to the session in canonical form (mail.Address.String), "" for <>, "Postmaster" without domain as it was written.
type Desk interface {
	NewSession(ctx context.Context, p Peer) (gosmtp.Session, error)
}

// Greeter is a Desk that may refuse a client before it says anything (554, 421).
type Greeter interface {
	Greet(ctx context.Context, p Peer) error
}

// Extra is what go-smtp's options cannot say.
type Extra interface {
	// Receipt is the text behind the 250 of the last message: "queued as 1a2b".
	Receipt() string
}

// Holder is a session that can keep a message until a time (FUTURERELEASE, RFC 4865), which go-smtp's options cannot say either.
type Holder interface {
	// Hold follows each Mail that went well; the zero Release asks for nothing.
	Hold(r mail.Release)
}

// Options of a Server. The zero value of a limit or time means its default.
type Options struct {
	Logger        *slog.Logger
	Metrics       *metrics.Set
	Now           func() time.Time
	Desk          Desk
	Hostname      string      // our name in greeting and EHLO
	TLS           *tls.Config // for STARTTLS; nil: not offered. On port 25 without session tickets: Microsoft's senders abort otherwise
	LMTP          bool
	Auth          bool          // AUTH may be offered (never on port 25)
	FixLF         bool          // a bare LF becomes CRLF (submission); else 550 5.6.0
	MaxSize       int64         // 50 MB
	MaxRecipients int           // in one transaction; 1,000
	MaxMails      int           // in one connection; 10,000
	FutureRelease time.Duration // how long a sender may have a message wait (RFC 4865); 0: not offered. For submission only
	MaxErrors     int           // commands in vain before 421; 20
	CommandWait   time.Duration // 5 min (RFC 5321 section 4.5.3.2)
	DataWait      time.Duration // 3 min for the next block
}

func (o Options) withDefaults() Options {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	o.FutureRelease = min(o.FutureRelease, maxFuture).Truncate(time.Second)
	if o.MaxSize <= 0 {
		o.MaxSize = 50 << 20
	}
	if o.MaxRecipients <= 0 {
		o.MaxRecipients = 1000
	}
	if o.MaxMails <= 0 {
		o.MaxMails = 10000
	}
	if o.MaxErrors <= 0 {
		o.MaxErrors = 20
	}
	if o.CommandWait <= 0 {
		o.CommandWait = 5 * time.Minute
	}
	if o.DataWait <= 0 {
		o.DataWait = 3 * time.Minute
	}
	return o
}
