// Package pull brings the mail of an account on another IMAP server into one of
// ours: folders, flags, dates, subscriptions, and uids where that is possible.
//
// Start at Run. A server is read with a reader of its own (response.go), which
// passes over what it does not know. folders.go decides what goes where,
// folder.go brings one folder up to date: it lists the folder window by window,
// fetches what is not here (fetch.go) and carries flag changes over (flags.go).
// What was brought is in the store's ledger, in the same transaction as the
// message (ledger.go): a run that is cut short at any point is simply run again.
package pull

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Security is how the connection is made safe.
type Security uint8

const (
	Implicit Security = iota // TLS from the first octet
	StartTLS                 // TLS after STARTTLS, or nothing
	Clear                    // none
)

// UniqueID is a message of the same INBOX as POP3 names it, in POP3's order.
type UniqueID struct {
	ID   string
	Size int64
}

// UniqueIDs asks the POP3 side of the server.
type UniqueIDs interface {
	// List gives all messages.
	List(ctx context.Context) ([]UniqueID, error)
	// Headers gives the header of each message of List, in order.
	Headers(ctx context.Context, yield func(i int, header []byte)) error
}

// Options of a Run.
type Options struct {
	Store   *store.Store
	Account mail.AccountID
	Logger  *slog.Logger

	Address  string // host:port
	Security Security
	TLS      *tls.Config // for Implicit and StartTLS
	User     string
	Password string
	Token    string // OAuth; instead of a password

	Folders   []string          // patterns of the folders to bring, with * and %; "!" first leaves out; none: all
	Map       map[string]string // folder there (levels parted by "/") to mailbox here
	Mirror    bool              // what was expunged there is expunged here
	UniqueIDs UniqueIDs         // where the POP3 unique-ids of INBOX come from; nil: they are not kept
	Progress  func(Progress)    // told now and then

	Dial     func(ctx context.Context, network, address string) (net.Conn, error) // nil: the network's
	Timeout  time.Duration                                                        // the server may be silent for so long; 5 min
	Patience time.Duration                                                        // how long to try again without getting on; 30 min
}

// Progress is how far a Run is.
type Progress struct {
	Folder      string // that is being brought
	Folders     int
	FoldersDone int
	Messages    int // in all folders, as far as known
	Done        int // of them looked at
	Pulled      int
	Bytes       int64  // of what was pulled
	Note        string // what it waits for
}

// Report is what a Run came to.
type Report struct {
	Folders  []Folder `json:"folders"`
	Pulled   int      `json:"pulled"`
	Bytes    int64    `json:"bytes"`
	Skipped  []Skip   `json:"skipped,omitempty"`  // the first thousand
	Skips    int      `json:"skips"`              // all of them
	Warnings []string `json:"warnings,omitempty"` // the first hundred
}

// Folder is what became of one folder.
type Folder struct {
	From     string `json:"from"`           // its name there, levels parted by "/"
	To       string `json:"to,omitempty"`   // the mailbox here; empty: not brought
	Why      string `json:"why,omitempty"`  // not
	There    int    `json:"there"`          // messages
	Pulled   int    `json:"pulled"`         // by this run
	Copied   int    `json:"copied"`         // that another folder had brought
	Matched  int    `json:"matched"`        // that were here already, without the ledger knowing it
	Flagged  int    `json:"flagged"`        // whose flags were changed
	Expunged int    `json:"expunged"`       // here, because they are gone there
	KeptUIDs bool   `json:"kept_uids"`      // clients download nothing again
	NewUIDs  int    `json:"new_uids"`       // messages that have other uids than there
	Note     string `json:"note,omitempty"` // why uids were not kept
}

// Skip is a message that was not brought, and why.
type Skip struct {
	Folder string `json:"folder"`
	UID    uint32 `json:"uid"`
	Reason string `json:"reason"`
}

const (
	maxSkips    = 1000
	maxWarnings = 100
	firstWait   = time.Second
	longestWait = 5 * time.Minute
)

// puller is one Run.
type puller struct {
	o       Options
	report  Report
	shown   Progress
	c       *client
	folders []*folder
	listed  bool
	met     bool // it has let us in once
	gotOn   bool // something was brought or looked at since the last connection
	bodies  map[uint64]place
	before  int // messages of the folders that are done
}

// place is where a message stands in our mailboxes.
type place struct {
	mailbox store.MailboxID
	uid     store.UID
}

// Run brings what is there and not yet here. It returns what was done even with an error; running it again goes on.
func Run(ctx context.Context, o Options) (Report, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Timeout == 0 {
		o.Timeout = 5 * time.Minute
	}
	if o.Patience == 0 {
		o.Patience = 30 * time.Minute
	}
	p := &puller{o: o, bodies: map[uint64]place{}}
	err := p.run(ctx)
	if p.c != nil {
		p.c.close()
	}
	for _, f := range p.folders {
		p.report.Folders = append(p.report.Folders, f.report)
	}
	return p.report, err
}

// run connects as often as it takes. Every connection that gets on gives it new patience.
func (p *puller) run(ctx context.Context) error {
	wait, waited := firstWait, time.Duration(0)
	for {
		p.gotOn = false
		err := p.session(ctx)
		if err == nil {
			return nil
		}
		if p.c != nil {
			p.c.close()
			p.c = nil
		}
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		if permanent(err) || !p.met && unreachable(err) {
			return err
		}
		if p.gotOn {
			wait, waited = firstWait, 0
		}
		if waited >= p.o.Patience {
			return fmt.Errorf("given up after %s without getting on: %w", waited.Round(time.Second), err)
		}
		p.o.Logger.InfoContext(ctx, logx.PullWaits, "account", uint32(p.o.Account), "server", p.o.Address, "wait", wait, "error", err)
		p.shown.Note = "waiting " + wait.Round(time.Second).String() + ": " + err.Error()
		p.tell()
		if err := sleep(ctx, wait/2+rand.N(wait)); err != nil {
			return err
		}
		waited += wait
		wait = min(2*wait, longestWait)
		p.shown.Note = ""
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// unreachable reports an address where nothing answers as it should: before the first login it is rather wrong than down.
func unreachable(err error) bool {
	op, isOp := errors.AsType[*net.OpError](err)
	record, _ := errors.AsType[tls.RecordHeaderError](err)
	return isOp && op.Op == "dial" || record.Msg != ""
}

// permanent reports errors that waiting does not heal.
func permanent(err error) bool {
	if login, ok := errors.AsType[*loginRefused](err); ok {
		return !login.later()
	}
	if no, ok := errors.AsType[*refusal](err); ok {
		return !no.later() && no.name != "BYE"
	}
	var wrong *tls.CertificateVerificationError
	var dns *net.DNSError
	switch {
	case errors.As(err, &wrong):
		return true
	case errors.As(err, &dns):
		return dns.IsNotFound
	}
	for _, ours := range []error{store.ErrOverQuota, store.ErrNoAccount, store.ErrLimit, store.ErrDamaged, kv.ErrFull, kv.ErrClosed, errPlan} {
		if errors.Is(err, ours) {
			return true
		}
	}
	return false
}

// errPlan: what was asked for cannot be done.
var errPlan = errors.New("pull")

// session is one connection: it goes on with the first folder that is not done.
func (p *puller) session(ctx context.Context) error {
	c, err := dial(ctx, &p.o, p.warn)
	if err != nil {
		return err
	}
	p.c, p.met = c, true
	if !p.listed {
		if err := p.plan(ctx); err != nil {
			return err
		}
		p.listed = true
	}
	for _, f := range p.folders {
		if f.done || f.report.To == "" {
			continue
		}
		p.shown.Folder = f.report.From
		p.tell()
		err := f.bring(ctx)
		if no, ok := errors.AsType[*refusal](err); ok && no.name != "BYE" && !no.later() {
			p.warn(f.report.From + ": " + err.Error())
			f.report.Why, err = err.Error(), nil // the other folders can still be brought
		}
		if err != nil {
			return err
		}
		f.done = true
		p.before += f.expected
		p.shown.Done = p.before
		p.shown.FoldersDone++
		p.tell()
	}
	p.c = nil
	c.logout()
	return nil
}

func (p *puller) tell() {
	if p.o.Progress != nil {
		p.o.Progress(p.shown)
	}
}

func (p *puller) warn(text string) {
	if len(p.report.Warnings) < maxWarnings {
		p.report.Warnings = append(p.report.Warnings, text)
	}
}

func (p *puller) skip(f *folder, uid uint32, reason string) {
	p.report.Skips++
	if len(p.report.Skipped) < maxSkips {
		p.report.Skipped = append(p.report.Skipped, Skip{Folder: f.report.From, UID: uid, Reason: reason})
	}
}
