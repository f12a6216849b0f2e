package spam

import (
	"context"
	"io"
	"net/netip"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

type memory struct{}

// New returns a Judge.
func New(o Options) *Judge {
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Judge{o: o}
}

// Begin starts with a message: it asks the lists about the address, the name in EHLO and MAIL FROM while the message is still on its
// way. ctx bounds all of it. End it with Finish or Discard.
func (j *Judge) Begin(ctx context.Context, f Facts) *Sight { return &Sight{} }

// Sight looks at one message while it passes: an io.Writer that takes the whole message as it came, header first, in pieces of any
// size. It holds at most 128 KB, and never fails.
type Sight struct{}

// Write takes the next octets of the message.
func (s *Sight) Write(p []byte) (int, error) { return len(p), nil }

// Finish ends the message. r is the zero Report when nothing was checked.
func (s *Sight) Finish(r mailauth.Report) *Findings { return &Findings{} }

// Discard gives the message up; after Finish it does nothing.
func (s *Sight) Discard() {}

// Findings are what was found in a message, the same for all its recipients. Not for concurrent use.
type Findings struct{}

// Add adds signals of others (scanners); they count in every Verdict.
func (f *Findings) Add(s ...Signal) {}

// Author is the address in From; zero when there is none that can be read.
func (f *Findings) Author() mail.Address { return mail.Address{} }

// Subject is the subject as text, bounded and printable.
func (f *Findings) Subject() string { return "" }

// Verdict is what the account of a recipient thinks of the message.
func (j *Judge) Verdict(ctx context.Context, f *Findings, to Recipient) Verdict { return Verdict{} }

// Delivered notes that a message was filed for the account as the verdict said: the author, his domain and network are no strangers
// any more, and a message of a known correspondent teaches the classifier what good mail looks like.
func (j *Judge) Delivered(ctx context.Context, f *Findings, to Recipient, v Verdict) {}

// Wrote notes that the account wrote to the recipients: they are its correspondents from now on. messageID is the message's
// Message-ID, so that answers are known by it; it may be empty. For submission; it never waits.
func (j *Judge) Wrote(ctx context.Context, account mail.AccountID, messageID string, recipients []mail.Address) {
}

// Learn teaches the account's classifier and reputations that a stored message is Good or Junk. changed is false when it was learned
// so before; a message that was learned as the other class is unlearned first.
func (j *Judge) Learn(ctx context.Context, account mail.AccountID, m io.Reader, c Class) (changed bool, err error) {
	return false, nil
}

// Unlearn takes back what Learn or Delivered taught by a message: the counts are as they were. changed is false when it was never
// learned.
func (j *Judge) Unlearn(ctx context.Context, account mail.AccountID, m io.Reader) (changed bool, err error) {
	return false, nil
}

// Training is what an account's classifier was taught.
type Training struct {
	Good, Junk int // messages
	Tokens     int
	Known      int // addresses, domains, networks
}

// Training tells how far the account's classifier is.
func (j *Judge) Training(ctx context.Context, account mail.AccountID) (Training, error) {
	return Training{}, nil
}

// Forget drops all that is kept of an account: it was removed, or wants to begin anew.
func (j *Judge) Forget(ctx context.Context, account mail.AccountID) error { return nil }

// Token is a word of a message as the account's classifier knows it.
type Token struct {
	Text       string
	Good, Junk int     // messages it was in
	Chance     float64 // that a message with it is junk
}

// Explanation is a verdict with all that led to it.
type Explanation struct {
	Verdict  Verdict
	Facts    Facts
	Report   mailauth.Report
	Author   mail.Address
	Subject  string
	Training Training
	Chance   float64 // that it is junk, by the classifier alone
	Tokens   []Token // that counted, the most decisive first
	Learned  string  // "good", "junk" or "": what the classifier was taught about this message
}

// Explain judges a stored message again, from what its header says of how it came (only what this house wrote is believed) and from
// what the lists, the classifier and the account's history say today.
func (j *Judge) Explain(ctx context.Context, to Recipient, m io.Reader) (Explanation, error) {
	return Explanation{}, nil
}

// Wait is what Greylist says.
type Wait struct {
	Pass bool
	For  time.Duration // how long the sender should wait; 0 when Pass
}

// Greylist says whether a doubtful message may come in now, or must come again. It answers Pass when the tables cannot be used.
func (j *Judge) Greylist(ctx context.Context, f *Findings, to Recipient) Wait {
	return Wait{Pass: true}
}

// Refusal is a sender whose mail was refused for an account.
type Refusal struct {
	Sender  string // author's address, or that of MAIL FROM; what LetIn takes
	Subject string // of the last one
	Remote  netip.Addr
	Reason  string // a sentence for people
	Score   float64
	First   time.Time
	Last    time.Time
	Count   int
	LetIn   bool // the next one is let in
}

// Refused notes in the account's book that a message was refused. It never waits.
func (j *Judge) Refused(ctx context.Context, f *Findings, to Recipient, v Verdict) {}

// Refusals lists the book of an account, the last one first.
func (j *Judge) Refusals(ctx context.Context, account mail.AccountID) ([]Refusal, error) {
	return nil, nil
}

// LetIn has the account's mail of a sender (an address, or @domain) taken from now on: it is not Junk and not refused, for 90 days
// or for good once mail of the sender was kept.
func (j *Judge) LetIn(ctx context.Context, account mail.AccountID, sender string) error { return nil }

// KeepOut takes LetIn back.
func (j *Judge) KeepOut(ctx context.Context, account mail.AccountID, sender string) error { return nil }

// Allowed lists whom LetIn named.
func (j *Judge) Allowed(ctx context.Context, account mail.AccountID) ([]string, error) {
	return nil, nil
}

// List is a block list or allow list of the DNS (RFC 5782).
type List struct {
	Name  string // for people and signals: "spamhaus_zen"
	Zone  string // "zen.spamhaus.org"
	Kind  ListKind
	Codes []Code // documented answers; every other answer is an error of the list and never a listing
}

// ListKind is what a list is asked about.
type ListKind uint8

// Kinds of lists.
const (
	OfAddresses ListKind = iota // the client's address
	OfDomains                   // domains in EHLO, MAIL FROM, From, signatures and links
)

// Code is the meaning of an answer.
type Code struct {
	Answer   netip.Prefix // answers that mean it; with Mask it is matched by bits instead
	Mask     byte         // when not 0: bits of the last octet of an answer in 127.0.0.0/24
	Score    float64
	Text     string // what is listed: "hosts that send junk"
	Phishing bool
}

// Preset is a well-known list with its documented codes: see PresetNames.
func Preset(name string) (List, bool) { return List{}, false }

// PresetNames are the lists that Preset knows.
func PresetNames() []string { return nil }

// ParseList reads a list as settings write it: the name of a preset; or "NAME address|domain ZONE CODE=SCORE ...", where CODE is
// an address or prefix ("127.0.0.2", "127.0.0.0/28") or "bit8" for a bit of the last octet.
func ParseList(text string) (List, error) { return List{}, nil }

// ListState is how a list does.
type ListState struct {
	Name, Zone string
	On         bool
	Reason     string // why it is off
	Checked    time.Time
}

// ListStates tells of each list whether it is used.
func (j *Judge) ListStates() []ListState { return nil }
