// Package submission is the desk of our own users: of the submission ports, of
// the sendmail command and of the web.
//
// Desk makes a session for each EHLO; login.go is AUTH, envelope.go who may send
// and to whom, data.go takes the message, header.go checks and completes its header,
// sign.go signs it.
package submission

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/list"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/scan"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/story"
)

// Trusted is devices that know no passwords (printer, NAS): these networks may submit as these senders, and as nobody else.
type Trusted struct {
	Networks []netip.Prefix
	Senders  []mail.Address
}

// Options of a Desk.
type Options struct {
	Logger    *slog.Logger
	Metrics   *metrics.Set
	Now       func() time.Time
	Hostname  string
	Directory *auth.Directory
	Store     *store.Store
	Queue     *queue.Queue
	Local     *local.Carrier
	Lists     *list.Lists // nil: there are none
	Trusted   []Trusted
	Scan      *scan.Panel // programs that look at messages; nil: none
	// Keys are what signs mail of a domain (DKIM); nil: nothing is signed.
	Keys       func(ctx context.Context, domain mail.Domain) ([]mailauth.SigningKey, error)
	Limits     *limit.Book // how much may be sent; nil: no limit
	Suppressed *limit.List // addresses outside that do not exist; nil: nobody knows
	// Suspend keeps an account from sending, for a reason; nil: only the message is refused.
	Suspend func(ctx context.Context, id mail.AccountID, reason string) error
	// Wrote hears whom an account has written to, once its message is taken; it must not wait. nil: nobody wants to know.
	Wrote      func(ctx context.Context, account mail.AccountID, messageID string, recipients []mail.Address)
	Hold       time.Duration // each message of an account waits so long in its sender's Outbox; the account's own setting comes first
	SentCopy   bool          // what an account sends is put into its Sent; likewise
	Across     bool          // mail between two domains of ours leaves through queue and MX lookup
	HideClient bool          // Received does not tell the client's name and address
	MaxSize    int64         // reserved for a message whose size was not announced; as in smtp.Options
	MaxHops    int           // 100
	Temp       string        // folder for large messages that leave the house, while they arrive; the system's when empty
}

// Desk is a smtp.Desk.
type Desk struct{ o Options }

// New returns a Desk.
func New(o Options) *Desk {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.MaxSize <= 0 {
		o.MaxSize = 50 << 20
	}
	if o.MaxHops <= 0 {
		o.MaxHops = 100
	}
	return &Desk{o: o}
}

// NewSession is called at each EHLO and HELO.
func (d *Desk) NewSession(ctx context.Context, p smtp.Peer) (gosmtp.Session, error) {
	s := d.session(ctx, p)
	for _, t := range d.o.Trusted {
		if len(t.Senders) > 0 && contains(t.Networks, p.Remote.Addr()) {
			s.who = sender{name: "This device", main: t.Senders[0], may: listed(t.Senders)}
			break
		}
	}
	return s, nil
}

// Session is a session of an account that proved itself elsewhere (the web).
func (d *Desk) Session(ctx context.Context, p smtp.Peer, id auth.Identity) gosmtp.Session {
	s := d.session(ctx, p)
	s.login(id)
	return s
}

func (d *Desk) session(ctx context.Context, p smtp.Peer) *session {
	s := &session{Transaction: d.o.Local.NewTransaction(d.o.MaxSize), d: d, ctx: ctx, peer: p}
	s.Peer, s.Way = p, story.Out
	return s
}

func contains(networks []netip.Prefix, a netip.Addr) bool {
	for _, n := range networks {
		if n.Contains(a) {
			return true
		}
	}
	return false
}

// sender is who submits; the zero sender may nothing.
type sender struct {
	name   string       // for replies
	main   mail.Address // completes a message without From
	may    func(ctx context.Context, a mail.Address) (bool, error)
	authed bool
	id     mail.AccountID              // 0: no account, a device
	stands func(context.Context) error // an error once the login counts no more; nil: it cannot end
}

// listed allows some addresses.
func listed(all []mail.Address) func(context.Context, mail.Address) (bool, error) {
	return func(_ context.Context, a mail.Address) (bool, error) {
		for _, b := range all {
			if a.Key() == b.Key() {
				return true, nil
			}
		}
		return false, nil
	}
}

// session is one client between two EHLO.
type session struct {
	local.Transaction
	d        *Desk
	ctx      context.Context
	peer     smtp.Peer
	who      sender
	head     smtp.Head
	spool    smtp.Spool
	message  draft
	copy     twin
	budget   *limit.Draft
	rcptFrom bool // recipients come from the header (sendmail -t)
	fullName string
}
