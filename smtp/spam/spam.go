// Package spam says how likely it is that a message is junk, and why: named
// signals, each with a score and a sentence for people.
//
// Start at Judge. Begin is told who speaks and asks block lists, Sight takes the
// message while it arrives, Finish gives Findings, which all recipients share,
// and Verdict adds what one account knows: its correspondents (reputation.go),
// its classifier (bayes.go). Explain is the same
// for a stored message, Learn teaches from one, Greylist is for the doubtful.
//
// What is kept stands in side.db and may be lost without harm. A failure of DNS
// or of the tables never makes mail worse. Nothing here refuses or files mail.
package spam

import (
	"cmp"
	"context"
	"log/slog"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The tables of this package in side.db; each key begins with the account (u32) but in tabGrey.
const (
	tabBayes kv.Table = "B" // bayes.go
	tabKnown kv.Table = "R" // reputation.go
	tabGrey  kv.Table = "G" // greylist.go
	tabBook  kv.Table = "F" // refusals.go
)

// Options of a Judge. The zero value of a number or duration means its default.
type Options struct {
	Logger   *slog.Logger
	Metrics  *metrics.Set
	Now      func() time.Time // time.Now
	Side     *kv.Side         // nil: nothing is remembered
	Resolver dns.Resolver     // nil: nothing is asked
	Hostname string           // ours: in EHLO of a stranger it is a lie; in Received it marks the fields that Explain believes

	Local   func(mail.Domain) bool     // domains of this house; nil: none
	Vouched func(mailauth.Report) bool // mailauth.Checker.Vouched; nil: nobody is trusted

	Lists        []List        // asked for each message; see Preset
	ListWait     time.Duration // for all questions of one message together; 3 s
	AskOfPrivate bool          // ask lists about messages of loopback and private addresses too

	Lines     Lines
	Greylist  Greylisting
	Tokens    int           // kept of one account's classifier; 50,000, about 600 KB
	Known     int           // addresses, domains and networks remembered of one account; 10,000
	Refusals  int           // senders kept in one account's book of refusals; 500
	Remembers time.Duration // how long refusals are listed; 14 days
}

// Lines are the scores from which a message is of a class.
type Lines struct {
	Doubtful float64 // 4
	Junk     float64 // 6
	Refuse   float64 // 15
}

// Greylisting says how the doubtful wait.
type Greylisting struct {
	Delay  time.Duration // what a sender has to wait before he is let in; 4 minutes
	Window time.Duration // within which he has to come again; 36 hours
	Keep   time.Duration // how long a pass is remembered; 36 days
	Rows   int           // kept in all; with more, everybody is let in; 100,000
}

// Class is what a message is taken for, from the best to the worst.
type Class uint8

// Classes. Learn takes Good and Junk only.
const (
	Good     Class = iota
	Doubtful       // good enough for the inbox, once the sender has come again (Greylist)
	Junk           // to be filed in Junk
	Refuse         // far above the line: not wanted even there
)

// String is the class in a word: good, doubtful, junk, refuse.
func (c Class) String() string {
	switch c {
	case Good:
		return "good"
	case Doubtful:
		return "doubtful"
	case Junk:
		return "junk"
	}
	return "refuse"
}

// Signal is one reason of a verdict.
type Signal struct {
	Name     string  // lower case with underscores: "dmarc_fail"; stable, stands in header fields
	Score    float64 // above zero speaks for junk
	Text     string  // a sentence for people; printable, on one line, may hold words of strangers
	Phishing bool    // speaks for somebody who pretends to be another
}

// Facts are what the connection knows of a message.
type Facts struct {
	Remote netip.Addr   // invalid: unknown (LMTP)
	Hello  string       // argument of EHLO
	From   mail.Address // MAIL FROM; zero: <>
}

// Recipient is who is to get a message.
type Recipient struct {
	Account mail.AccountID
	Address mail.Address // as it was addressed; zero: unknown
	LetIn   string       // entry by which the account lets this sender in: never Junk, as far as he is believable
	Sent    bool         // LetIn is for who is proven to have sent it (MAIL FROM), whoever the author is
	KeptOut string       // by which it shuts him out: always Junk, or worse
	Line    float64      // the account's own Lines.Junk; the others move along. 0: as for all
}

// Judge judges messages. Its methods may be called concurrently.
type Judge struct {
	o         Options
	lists     *lists
	scratches scratches
	verdicts  *prometheus.CounterVec
	grey      greyBook
	swept     []byte // where forgetRefusals goes on; of the writer of side.db alone
}

// New returns a Judge.
func New(o Options) *Judge {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	o.ListWait = cmp.Or(o.ListWait, 3*time.Second)
	o.Lines = Lines{Doubtful: cmp.Or(o.Lines.Doubtful, 4), Junk: cmp.Or(o.Lines.Junk, 6), Refuse: cmp.Or(o.Lines.Refuse, 15)}
	o.Greylist.Delay = cmp.Or(o.Greylist.Delay, 4*time.Minute)
	o.Greylist.Window = cmp.Or(o.Greylist.Window, 36*time.Hour)
	o.Greylist.Keep = cmp.Or(o.Greylist.Keep, 36*24*time.Hour)
	o.Greylist.Rows = cmp.Or(o.Greylist.Rows, 100_000)
	o.Tokens = cmp.Or(o.Tokens, 50_000)
	o.Known = cmp.Or(o.Known, 10_000)
	o.Refusals = cmp.Or(o.Refusals, 500)
	o.Remembers = cmp.Or(o.Remembers, 14*24*time.Hour)
	j := &Judge{o: o, lists: newLists(o)}
	j.verdicts = o.Metrics.Counters("spam_verdicts_total", "Verdicts about messages and accounts, by class: good, doubtful, junk, refuse.", "class")
	return j
}

// Run checks the lists and forgets what is too old, until ctx ends.
func (j *Judge) Run(ctx context.Context) {
	tick := time.NewTicker(checkSoon)
	defer tick.Stop()
	for n := 0; ; n++ {
		j.lists.checkAll(ctx)
		if n%60 == 0 {
			j.forget()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// forget drops what is too old.
func (j *Judge) forget() {
	if j.o.Side == nil {
		return
	}
	j.o.Side.Later(func(tx *kv.Tx) error {
		j.forgetGrey(tx)
		j.forgetRefusals(tx)
		return nil
	})
}
