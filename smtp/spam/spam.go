// Package spam says how likely it is that a message is junk, and why: named
// signals, each with a score and a sentence for people.
//
// Start at Judge. Begin is told who speaks and asks block lists, Sight takes the
// message while it arrives, Finish gives Findings, which all recipients share,
// and Verdict adds what one account knows: its correspondents (reputation.go),
// its classifier (bayes.go), what it let in (refusals.go). Explain is the same
// for a stored message, Learn teaches from one, Greylist is for the doubtful.
//
// What is kept stands in side.db and may be lost without harm. A failure of DNS
// or of the tables never makes mail worse. Nothing here refuses or files mail.
package spam

import (
	"context"
	"log/slog"
	"net/netip"
	"time"

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
	Tokens    int           // kept of one account's classifier; 30,000
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
	LetIn   string       // address or domain by which the account lets this sender in
	KeptOut string       // by which it shuts him out
	Line    float64      // the account's own Lines.Junk; the others move along. 0: as for all
}

// Verdict is what one account thinks of a message. Signals are sorted, those that count most first.
type Verdict struct {
	Class        Class
	Score        float64
	Signals      []Signal
	Phishing     bool // pretends to be somebody else: keyword $Phishing
	FirstContact bool // nothing of this author was ever kept here, and nobody here wrote to him
	Known        bool // a correspondent of the account, proven as far as his domain allows it: never Junk
}

// Judge judges messages. Its methods may be called concurrently.
type Judge struct {
	o Options
	memory
}

// Run checks the lists and forgets what is too old, until ctx ends.
func (j *Judge) Run(ctx context.Context) { <-ctx.Done() }
