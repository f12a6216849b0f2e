// Package queue is the durable waiting room of mail that leaves: what waits, when to try, bounces.
//
// Start at Queue: Part puts an envelope into a log record, Run hands due items to the transports and settles what
// came of them, List and the verbs are the operator's view. schedule.go is the order of work in memory, table.go
// the rows, settle.go and report.go what becomes of a result.
package queue

import (
	"cmp"
	"crypto/rand"
	"encoding/binary"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

// PartKind is the queue's part of a log record: one envelope, its body the record's.
const PartKind byte = 'w'

// Options of a Queue; the zero value of a duration or count means its default.
type Options struct {
	Logger      *slog.Logger
	Metrics     *metrics.Set
	Now         func() time.Time
	Hostname    string          // reporting MTA of our DSNs
	Lifetime    time.Duration   // 5 days (RFC 5321 section 4.5.4.1)
	NullLife    time.Duration   // of mail from <>, of which nobody hears: a day, at most Lifetime
	Retry       []time.Duration // DefaultRetry
	DelayAfter  time.Duration   // age at which the sender is told of a delay: 4 h; negative: never
	Workers     int             // attempts at once: 200
	PerHost     int             // attempts at once to one host: 10
	DirectTries int             // Stream.Tries counts up to it (for a smart host that takes over); 0: always 0
	ReturnMax   int64           // octets of the message that RET=FULL gives back at most: 256 KiB; else its header
	Story       *story.Book     // what happens to each message; nil: nothing is told
	// Failed hears of each recipient whom another host refused for good; it must not wait. nil: nobody wants to know.
	Failed func(to, from mail.Address, r Result)
	Grace  time.Duration // attempts in flight may take this long when Run ends: 15 s
}

func (o *Options) defaults() {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if len(o.Retry) == 0 {
		o.Retry = DefaultRetry()
	}
	o.Hostname = cmp.Or(o.Hostname, "localhost")
	o.Lifetime = cmp.Or(o.Lifetime, 5*24*time.Hour)
	o.NullLife = min(cmp.Or(o.NullLife, 24*time.Hour), o.Lifetime)
	o.DelayAfter = max(cmp.Or(o.DelayAfter, 4*time.Hour), 0)
	o.Workers = cmp.Or(o.Workers, 200)
	o.PerHost = cmp.Or(o.PerHost, 10)
	o.ReturnMax = cmp.Or(o.ReturnMax, 256<<10)
	o.Grace = cmp.Or(o.Grace, 15*time.Second)
}

// Queue is the waiting room.
type Queue struct {
	db    *kv.DB
	store *store.Store
	o     Options
	log   *slog.Logger
	count counters

	unproven postmaster // what he was told of mail whose sender is not

	ids  atomic.Uint64 // low bits of the next id
	wake chan struct{} // room for one: the schedule has changed

	transports []Transport // set by Run before its first job

	mu      sync.Mutex
	sched   *schedule
	loading bool     // Run reads the table: commits are gathered in early
	early   []change // guarded by mu
	running bool
	broken  error // guarded by mu: the database has ended
}

// New registers the queue's part kind; before db.Start.
func New(db *kv.DB, s *store.Store, o Options) (*Queue, error) {
	o.defaults()
	q := &Queue{db: db, store: s, o: o, log: o.Logger, wake: make(chan struct{}, 1)}
	var seed [8]byte
	rand.Read(seed[:]) // never fails (crypto/rand)
	q.ids.Store(binary.BigEndian.Uint64(seed[:]))
	q.sched = newSchedule(limits{
		workers: o.Workers, perHost: o.PerHost, askers: 100, directTries: o.DirectTries,
		routeFor: (5 * time.Minute).Milliseconds(), delayAfter: o.DelayAfter.Milliseconds(), lifetime: o.Lifetime.Milliseconds(), nullLife: o.NullLife.Milliseconds(),
	})
	q.count = newCounters(q)
	db.Register(PartKind, kv.Kind{Apply: q.apply})
	db.Outline(kv.Outline{Rows: func(tx *kv.Tx, yield func(t kv.Table, key, value []byte) error) error {
		if last := tx.Get(dues, numberKey(0)); last != nil {
			return yield(dues, numberKey(0), last) // a number is never given twice
		}
		return nil
	}})
	db.Refer(rows, bodyPlaces)
	s.SetOrphan(q.Orphan)
	s.SetOutbox(store.Outbox{Bind: q.bind, Cancel: q.takenBack})
	return q, nil
}

// idLetters are digits and consonants without look-alikes; no vowels, so that no id is a word.
const idLetters = "0123456789bcdfghjkmnpqrstvwxyz"

// NewID makes a queue id: short, unique, without look-alikes. Ids of one process sort by time.
func (q *Queue) NewID() string {
	n := uint64(q.o.Now().UnixMilli())<<20 | q.ids.Add(1)&(1<<20-1)
	var b [13]byte
	for i := len(b) - 1; i >= 0; i-- {
		b[i] = idLetters[n%uint64(len(idLetters))]
		n /= uint64(len(idLetters))
	}
	return string(b[:])
}

// Part puts an envelope into the queue when the record that carries it is applied: one entry for each recipient domain.
// id is the transaction's name in logs, replies and Received, made by NewID.
func (q *Queue) Part(id string, e mail.Envelope) kv.Part {
	return q.part(id, e, func(r mail.Recipient) recipient { return recipient{Recipient: r} })
}

// SuccessPart is for recipients whom the same record serves for good, by mailboxes here (Delivered) or as an alias
// (Expanded): the queue sends the report to the sender, where NOTIFY=SUCCESS asks for it. ok is false when nobody did.
func (q *Queue) SuccessPart(id string, e mail.Envelope, h Handoff) (part kv.Part, ok bool) {
	var asked []mail.Recipient
	for _, r := range e.Recipients {
		if r.Notify&mail.NotifySuccess != 0 {
			asked = append(asked, r)
		}
	}
	if len(asked) == 0 || e.From.IsNull() || e.Unproven {
		return kv.Part{}, false
	}
	e.Recipients = asked
	done := Result{Verdict: Done, Status: "2.1.5", Text: "delivered to the mailbox", Handoff: h}
	if h == Expanded {
		done.Text = "passed on to the members of the alias"
	}
	return q.part(id, e, func(r mail.Recipient) recipient {
		return recipient{Recipient: r, state: owedSuccess, result: done}
	}), true
}

// part splits the envelope by domain, in the order in which the domains come.
func (q *Queue) part(id string, e mail.Envelope, make func(mail.Recipient) recipient) kv.Part {
	var entries []*entry
	byDomain := map[mail.Domain]*entry{}
	for _, r := range e.Recipients {
		x := byDomain[r.Address.Domain]
		if x == nil {
			x = &entry{id: id, domain: r.Address.Domain, from: e.From, body: e.Body, utf8: e.UTF8, ret: e.Return, envid: e.EnvelopeID,
				requireTLS: e.RequireTLS, unproven: e.Unproven, front: e.Front, created: q.o.Now().UnixMilli(), timing: timingOf(e.Release)}
			byDomain[r.Address.Domain] = x
			entries = append(entries, x)
		}
		x.recipients = append(x.recipients, make(r))
	}
	data := []byte{partEntries}
	for _, x := range entries {
		data = appendString(data, appendEntry(nil, x))
	}
	return kv.Part{Kind: PartKind, Data: data}
}

// Parts is Part for several envelopes of one message: copies of a list, each with a sender of its own.
func (q *Queue) Parts(id string, all []mail.Envelope) kv.Part {
	data := []byte{partEntries}
	for _, e := range all {
		data = append(data, q.Part(id, e).Data[1:]...)
	}
	return kv.Part{Kind: PartKind, Data: data}
}
