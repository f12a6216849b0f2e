// Package inbound is the desk of port 25 and of LMTP: mail from strangers for the
// domains of this house, and for no other under any spelling.
//
// Desk makes a session for each EHLO; recipients are judged in rcpt.go, messages in data.go,
// where they come from in checks.go, whether they are junk in judge.go, what helpers think of them in scan.go.
package inbound

import (
	"context"
	"log/slog"
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
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/story"
)

// Options of a Desk.
type Options struct {
	Logger     *slog.Logger
	Metrics    *metrics.Set
	Now        func() time.Time
	Hostname   string
	Directory  *auth.Directory
	Store      *store.Store
	Queue      *queue.Queue
	Local      *local.Carrier
	Lists      *list.Lists       // nil: there are none
	Checks     *mailauth.Checker // where mail comes from; nil: nobody asks
	Suppressed *limit.List       // hears from whom proven mail came; nil: nobody wants to know
	// SealKey is what seals mail that goes on from an alias of the domain (ARC); nil: nothing is sealed.
	SealKey func(ctx context.Context, domain mail.Domain) ([]mailauth.SigningKey, error)
	Reports Reports
	Judge   *spam.Judge // whether it is junk; nil: nobody asks
	Wishes  Wishes      // of the accounts, for the judge
	// Greylist has doubtful senders come again; without, their mail is taken.
	Greylist bool
	Loopback bool        // programs of this machine are judged too, as in tests
	Scan     *scan.Panel // programs that look at messages; nil: none
	Temp     string      // folder for large messages while those look at them; the system's when empty
	Policy   Policy      // what becomes of mail that is not proven; Enforce when empty
	MaxSize  int64       // reserved for a message whose size was not announced; as in smtp.Options
	MaxHops  int         // Received fields before a message is a loop; 100 (RFC 5321 section 6.3)
}

// Desk is a smtp.Desk.
type Desk struct {
	o     Options
	count counters
}

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
	if o.Policy == "" {
		o.Policy = Enforce
	}
	return &Desk{o: o, count: newCounters(o.Metrics)}
}

// NewSession is called at each EHLO, HELO and LHLO.
func (d *Desk) NewSession(ctx context.Context, p smtp.Peer) (gosmtp.Session, error) {
	s := &session{Transaction: d.o.Local.NewTransaction(d.o.MaxSize), d: d, ctx: ctx, peer: p}
	s.Peer, s.Way = p, story.In
	return s, nil
}

// session is one client between two EHLO.
type session struct {
	local.Transaction
	d    *Desk
	ctx  context.Context
	peer smtp.Peer
	head smtp.Head // its memory is used again
	body waiting   // its memory, too

	hearing *hearing // of the message in hand, once it is to be taken

	carriesReport bool // the message of now looks like it
}

// Mail begins a transaction.
func (s *session) Mail(from string, o *gosmtp.MailOptions) error {
	e, err := smtp.NewEnvelope(from, o)
	if err != nil {
		return err
	}
	return s.Begin(e, o)
}
