// Package story keeps what happened to each message, in and out, for some days:
// where it came from, what was found out about it, where it went, every attempt
// with what the other side said, who read it.
//
// A Book is told events (Begin, Tell, Read) and forgets them again (Run); Find and
// List give Stories. It stands in side.db: telling never waits and never fails mail.
// What is told is written one behind the other (chunk.go, entry.go) and put together
// only when somebody asks (find.go): mail comes often, questions seldom.
package story

import (
	"log/slog"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// Direction is which way a message went.
type Direction string

const (
	In  Direction = "in"  // from outside
	Out Direction = "out" // handed in by one of us
)

// Message is what a story is about.
type Message struct {
	ID         string    `json:"id"` // of the transaction, as in receipts, Received and logs
	At         time.Time `json:"at"`
	Direction  Direction `json:"direction"`
	From       string    `json:"from"` // envelope sender; empty: <>
	To         []string  `json:"to"`   // envelope recipients
	Author     string    `json:"author,omitempty"`
	MessageID  string    `json:"message_id,omitempty"` // with its angle brackets
	Subject    string    `json:"subject,omitempty"`
	Size       int64     `json:"size,omitempty"`
	Client     string    `json:"client,omitempty"` // name and address of who handed it over
	TLS        string    `json:"tls,omitempty"`
	Account    string    `json:"account,omitempty"`    // who was logged in
	Recipients int       `json:"recipients,omitempty"` // in all; To has the first hundred
	Places     []uint64  `json:"places,omitempty"`     // log records of its deliveries
	Owners     []uint32  `json:"owners,omitempty"`     // accounts here that it is from or for
}

// Step is the kind of an event.
type Step string

const (
	Received   Step = "received"
	Checked    Step = "checked" // SPF, DKIM, DMARC, ARC, iprev
	Scored     Step = "scored"  // junk, with reasons
	Signed     Step = "signed"
	Refused    Step = "refused"
	Delivered  Step = "delivered" // into a mailbox here
	Queued     Step = "queued"
	Attempted  Step = "attempted"  // another host was tried
	Relayed    Step = "relayed"    // another host took it
	Expanded   Step = "expanded"   // an alias led to others
	Failed     Step = "failed"     // given up
	Delayed    Step = "delayed"    // the sender was told
	Bounced    Step = "bounced"    // the sender was told that it was given up
	Reported   Step = "reported"   // the sender was told of success
	Unreported Step = "unreported" // the sender was not told: nothing proves that it sent the message
	Held       Step = "held"       // kept back by the operator
	Released   Step = "released"
	Cancelled  Step = "cancelled"
	Scheduled  Step = "scheduled" // waits for its time (Next), in its sender's Outbox
	LetGo      Step = "let go"    // its time has come
	TakenBack  Step = "taken back"
	Opened     Step = "read"
)

// Event is one line of a story.
type Event struct {
	At      time.Time  `json:"at"`
	Step    Step       `json:"step"`
	Who     string     `json:"who,omitempty"`  // recipient or account that it concerns; empty: all
	Text    string     `json:"text,omitempty"` // in words; the whole answer when somebody replied
	Code    int        `json:"code,omitempty"` // SMTP reply
	Status  string     `json:"status,omitempty"`
	Host    string     `json:"host,omitempty"`
	Address string     `json:"address,omitempty"`
	TLS     string     `json:"tls,omitempty"`
	Mailbox string     `json:"mailbox,omitempty"`
	Client  string     `json:"client,omitempty"`
	Advice  string     `json:"advice,omitempty"` // what to do
	Next    *time.Time `json:"next,omitempty"`   // the next attempt
}

// Story is a message with its events, in order.
type Story struct {
	Message
	Events []Event `json:"events"`
}

// Options of a Book. The zero value of a duration or size means its default.
type Options struct {
	Side   *kv.Side
	Logger *slog.Logger
	Now    func() time.Time
	Keep   time.Duration // 14 days
	Limit  int64         // octets in all; the oldest go first; 64 MB
}

// What one story may hold: what comes from strangers must not fill the disk.
const (
	maxText   = 1000
	maxTo     = 100
	maxEvents = 500
	maxFound  = 1000
	maxReads  = 3000 // in a minute, of all: a program that fetches everything must not push the stories out
)
