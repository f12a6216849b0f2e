// Package store keeps mailboxes and messages. It knows no protocol.
//
// Start at Store: accounts have mailboxes, mailboxes have messages, every change
// has a ModSeq, and a Bell rings after the commit.
//
// Mail comes in through the log (deliver.go, append.go): a message is durable when
// its record is, and gets its uid when the record is applied. Every other change
// is one kv.Update or a few (flags.go, expunge.go, copy.go, mailboxes.go). What is
// expunged stays in the account's bin for a while (bin.go, prune.go). What stands
// in the tables is told by tables.go and page.go; check.go knows every rule that holds between them. Limits and usage of an account are one row of table h,
// written in the transaction that changes a mailbox (quota.go).
package store

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

var (
	ErrNoAccount = errors.New("store: no such account")
	ErrNoMailbox = errors.New("store: no such mailbox")
	ErrExists    = errors.New("store: mailbox exists")
	ErrBadName   = errors.New("store: mailbox name not allowed") // wrapped with the reason
	ErrReserved  = errors.New("store: INBOX cannot be deleted")
	ErrReadOnly  = errors.New("store: deleted mail can only be taken back")
	ErrNoMessage = errors.New("store: message is gone")
	ErrWaiting   = errors.New("store: messages in the mailbox wait to be sent")
	ErrOverQuota = errors.New("store: over quota")
	ErrLimit     = errors.New("store: limit reached") // keywords, messages of one COPY, mailboxes
	ErrUseTaken  = errors.New("store: special use is taken")
	ErrKeyword   = errors.New("store: keyword not allowed") // wrapped with the keyword
	ErrUID       = errors.New("store: uid cannot be kept")  // wrapped with the reason
	ErrTooBig    = errors.New("store: message is larger than 4 GiB")
	ErrDamaged   = kv.ErrDamaged // posthouse check store says more
)

// MailboxID is global and never given twice (MAILBOXID, RFC 8474).
type MailboxID uint32

// UID, ModSeq: RFC 9051 section 2.3.1.1, RFC 7162 section 3.1.
type UID = uint32
type ModSeq = uint64

// UIDRange is First..Last, both included.
type UIDRange struct{ First, Last UID }

// SpecialUse is a bit set (RFC 6154).
type SpecialUse uint16

const (
	UseAll SpecialUse = 1 << iota
	UseArchive
	UseDrafts
	UseFlagged
	UseJunk
	UseSent
	UseTrash
	UseImportant
)

// Flags is what a message carries: system flags and well-known keywords in the first eight bits, the
// mailbox's own keywords behind them (bit 8+i is Keywords[i] of the mailbox).
type Flags uint64

const (
	Seen Flags = 1 << iota
	Answered
	Flagged
	Deleted
	Draft
	Forwarded // $Forwarded
	Junk      // $Junk
	NotJunk   // $NotJunk
)

// State is a mailbox in numbers.
type State struct {
	UIDValidity   uint32
	UIDNext       UID
	HighestModSeq ModSeq
	Exists        uint32
	Unseen        uint32
	Deleted       uint32 // messages with Deleted set
	Bytes         uint64
	FirstUnseen   UID  // 0: none; a hint that is exact when asked through State
	Bin           bool // it is what the account has expunged (Store.Bin)
}

// Mailbox is one mailbox of an account. ID 0 with Subscribed: a subscription whose mailbox is gone.
type Mailbox struct {
	ID         MailboxID
	Account    mail.AccountID
	Name       string // INBOX, or NFC text with "/" between levels
	Use        SpecialUse
	Subscribed bool
}

// Message is one row of a mailbox. It is a value; it does not change when the mailbox does.
type Message struct {
	UID      UID
	Mailbox  MailboxID // whose row it is: Open looks there when the body has moved; 0: it is made up
	Flags    Flags
	ModSeq   ModSeq
	ID       uint64 // EMAILID: given at birth, kept by copy and move (show it outside through Store.ObjectID)
	Place    blob.LSN
	Size     uint32
	Received time.Time // INTERNALDATE
	Saved    time.Time
	Thread   uint64
}

// Options of a Store.
type Options struct {
	Logger  *slog.Logger
	Metrics *metrics.Set
	Now     func() time.Time
	Keep    time.Duration // how long expunged mail can come back (bin.go); 0: not at all
	Warn    int           // percent of its quota at which an account gets a warning (warn.go); 0: never
}

// Store is the keeper of mail.
type Store struct {
	db      *kv.DB
	log     *slog.Logger
	now     func() time.Time
	orphan  Orphan
	outbox  Outbox
	keys    func() *keys
	met     storeMetrics
	bells   bells
	pending ledger
	routes  routes
	deltas  deltas
	tickets atomic.Uint64
	names   nameHints
	due     chan struct{} // room for one: somebody is to be warned
	purge   chan struct{} // room for one: pages of dropped mailboxes wait, or bins hold too much
	mend    mending       // at repair
	tails   sync.Pool     // of *[pageMax]byte: pages that rows are being added to

	keepTime  atomic.Int64 // time.Duration
	keptSince atomic.Int64 // octets that went into bins since all of them were looked at
	warnAt    atomic.Int64 // percent
	full      atomic.Bool  // no new mail, for want of disk space (room.go)
	watch     stopwatch    // the store's own time (age.go)
	pruning   sync.Mutex   // one at a time looks at the bins and gives up: two would give up twice

	mu      sync.Mutex
	waiting map[uint64]ticket // guarded by mu: logged by this process and not applied
}

// New registers the store's part kind with db; before db.Start. The caller starts Run after db.Start.
func New(db *kv.DB, o Options) (*Store, error) {
	s := &Store{
		db: db, log: o.Logger, now: o.Now,
		purge: make(chan struct{}, 1), due: make(chan struct{}, 1), waiting: map[uint64]ticket{},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	s.keys = sync.OnceValue(func() *keys { return newKeys(db.Secret()) })
	s.tickets.Store(rand.Uint64()) // a ticket of an earlier run, met in a replay, must find nobody waiting
	s.tails.New = func() any { return new([pageMax]byte) }
	s.keepTime.Store(int64(o.Keep))
	s.warnAt.Store(int64(o.Warn))
	s.bells.init()
	s.pending.held, s.pending.landed = map[mail.AccountID]Quota{}, map[mail.AccountID]Quota{}
	s.met = newMetrics(s, o.Metrics)
	db.Register(partMail, kv.Kind{Apply: s.applyMail, Aside: s.asideMail})
	db.Refer(tabMail, mailPlaces)
	s.note()
	return s, nil
}

// Orphan takes a message whose account was removed between its 250 and the tables, inside the transaction that applies it.
type Orphan func(tx *kv.Tx, body kv.Entry, account mail.AccountID) error

// SetOrphan names who bounces such messages; before db.Start. Without it they are logged and dropped.
func (s *Store) SetOrphan(take Orphan) { s.orphan = take }

// Run removes in the background what was deleted in the foreground and what was kept for long enough, until ctx ends.
func (s *Store) Run(ctx context.Context) error {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		var retry <-chan time.Time
		err := s.purgeAll(ctx)
		if err == nil {
			err = s.Prune(ctx)
		}
		if err == nil {
			err = s.forgetSent(ctx)
		}
		if err != nil {
			if ctx.Err() != nil || errors.Is(err, kv.ErrClosed) {
				return nil
			}
			s.log.ErrorContext(ctx, logx.StorePurgeFailed, "error", err)
			retry = time.After(purgeRetry) // a full disk, say
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.purge:
		case <-tick.C:
		case <-retry:
		}
	}
}
