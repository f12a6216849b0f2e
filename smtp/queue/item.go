package queue

import (
	"context"
	"errors"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// ErrPass is what a Transport's Route returns for a stream that is another Transport's.
var ErrPass = errors.New("queue: not a stream of this transport")

// Verdict says what happens to a recipient after an attempt.
type Verdict uint8

const (
	Done  Verdict = iota + 1 // somebody else has the duty now, or it lies in its mailbox
	Later                    // temporary: another attempt
	Never                    // permanent: the sender hears of it
)

// Handoff says of a Done recipient who owes the report that NOTIFY=SUCCESS asks for (RFC 3461 section 5.2.2).
type Handoff uint8

const (
	Passed    Handoff = iota // the next host offered DSN and took the parameters over: it reports
	Relayed                  // the next host does not know DSN: we report "relayed"
	Delivered                // it lies in a mailbox here: we report "delivered"
	Expanded                 // it went to the members of an alias: we report "expanded" (section 5.2.7.3 c)
	Posted                   // a list has taken it: we report "delivered" (section 5.2.7.1)
)

// HostState is what an attempt tells about the host, beside what it tells about the message.
type HostState uint8

const (
	HostWell HostState = iota
	HostSlow           // it asked us to come slower (421, 4.7.x): its other items wait with it
	HostDown           // it did not answer at all: its other items count this attempt as theirs
)

// Result is what an attempt came to for one recipient. It is an error when its Verdict is Later or Never, so that
// a Route can refuse with it.
type Result struct {
	Verdict Verdict
	Code    int       // SMTP reply code; 0 when nobody replied
	Status  string    // enhanced status code (RFC 3463): "5.1.1"
	Text    string    // what happened, one line or several; the whole answer when somebody replied
	Remote  string    // who answered: host name; empty when it was us
	Detail  string    // address, TLS version: for the log and `queue show`
	Handoff Handoff   // of Done
	Host    HostState // for the scheduler; not stored
}

// Error makes a refusing Result an error.
func (r Result) Error() string {
	var b strings.Builder
	if r.Remote != "" {
		b.WriteString(r.Remote)
		if r.Detail != "" {
			b.WriteString(" (" + r.Detail + ")")
		}
		b.WriteString(": ")
	}
	if r.Code != 0 {
		b.WriteString(strconv.Itoa(r.Code) + " ")
	}
	if r.Status != "" {
		b.WriteString(r.Status + " ")
	}
	b.WriteString(r.Text)
	return b.String()
}

// bounded is the Result with its texts cut to what is kept of them.
func (r Result) bounded() Result {
	cut := func(s string, n int) string {
		if len(s) <= n {
			return s
		}
		return strings.ToValidUTF8(s[:n], "")
	}
	r.Status, r.Text, r.Remote, r.Detail = cut(r.Status, 16), cut(r.Text, maxText), cut(r.Remote, 255), cut(r.Detail, 255)
	return r
}

// Stream is what a Route may depend on: items of one stream go the same way.
type Stream struct {
	From  mail.Domain // the sender's; empty for <>
	To    mail.Domain // the recipients'
	Tries int         // attempts so far, counted up to Options.DirectTries
}

// Route is the way of a stream for the next minutes.
type Route struct {
	Host  string        // streams with the same Host share concurrency, pace and backoff
	Limit int           // attempts at once; 0: Options.PerHost
	Pace  time.Duration // least time between the starts of two attempts
	Way   any           // what the carrier resolved, for its Deliver
}

// Transport carries items out of the queue.
type Transport interface {
	// Route finds the way of a stream. ErrPass: ask the next transport. A Result as error settles the stream's items with it;
	// any other error is a temporary one.
	Route(ctx context.Context, s Stream) (Route, error)
	// Deliver makes one attempt. It returns within bounded time, and soon after ctx ended.
	Deliver(ctx context.Context, r Route, a Attempt) Outcome
}

// Attempt is one item to be delivered now.
type Attempt struct {
	Item
	Content *io.SectionReader // the message as logged
}

// Outcome is what came of an attempt: one result for each recipient of the item, in order.
type Outcome struct {
	Results []Result
	// Apply, when not nil, runs in the transaction that settles the item: it may run more than once, and its error
	// settles nothing (local delivery: the message is placed as its row goes).
	Apply func(tx *kv.Tx) error
}

// Fail is the Outcome of an attempt that went the same way for all n recipients.
func Fail(n int, r Result) Outcome {
	results := make([]Result, n)
	for i := range results {
		results[i] = r
	}
	return Outcome{Results: results}
}

// Item is one entry: a message for recipients of one domain. It is a value; it does not change when the entry does.
type Item struct {
	ID       string // the transaction's, as in the receipt and the logs; entries of several domains share it
	Number   uint64 // the entry's own
	Domain   mail.Domain
	Envelope mail.Envelope // with the recipients that still wait
	Place    blob.LSN      // the body
	Size     int64
	Created  time.Time
	Due      time.Time // next attempt
	Last     time.Time // last attempt; zero: none yet
	Attempts int
	Held     bool
	Waits    bool     // in its sender's Outbox, for its release (Envelope.Release): it can be taken back
	Results  []Result // last result of each waiting recipient; zero Verdict: none yet
}

// Expires is when the item is given up.
func (q *Queue) Expires(it Item) time.Time { return lifeOf(it).Add(q.o.lifeFrom(it.Envelope.From)) }
