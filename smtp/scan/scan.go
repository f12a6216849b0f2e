// Package scan shows messages to programs of others that judge them: rspamd over
// HTTP, and milters (virus scanners, OpenDKIM).
//
// Start at Panel: Scan asks the helpers in turn and gives one Verdict. helper.go
// is what all helpers have in common (time, number, what happens while one is
// down), rspamd.go and milter.go speak to them, edit.go changes the header.
//
// A helper is not trusted with time or memory: everything it says is bounded, and
// it holds a message no longer than its timeout. Nothing here knows the house's
// own judgement; the desks put both together.
package scan

import (
	"context"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
)

// Way is which way a message goes.
type Way string

const (
	Inbound    Way = "inbound"    // from strangers
	Submission Way = "submission" // from users of ours
)

// Kind is the language of a helper.
type Kind string

const (
	Rspamd Kind = "rspamd" // HTTP, /checkv2
	Milter Kind = "milter" // the filter protocol of Sendmail and Postfix, version 6
)

// Failure is what becomes of a message when a helper gives no answer.
type Failure string

const (
	FailAccept Failure = "accept"   // it is taken as if there were no helper
	FailLater  Failure = "tempfail" // its sender is asked to come again
	FailJunk   Failure = "junk"     // it is taken, into Junk
)

// Obey is how much of rspamd's opinion is a command.
type Obey string

const (
	ObeyReject Obey = "reject" // what it would refuse is refused; the rest are points
	ObeyAll    Obey = "all"    // what it would mark goes to Junk, too
	ObeyNone   Obey = "none"   // all are points
)

// Helper is one program that is asked. The zero value of a number, time or choice means its default.
type Helper struct {
	Name        string // for logs, metrics and stories; Kind
	Kind        Kind
	Address     string        // "unix:/path" or "host:port"
	On          []Way         // Inbound
	Timeout     time.Duration // for one message, from the wait for a turn to the last octet of the answer; 10 s
	Failure     Failure       // FailAccept
	Obey        Obey          // ObeyReject; rspamd only
	Weight      float64       // what a point of rspamd is worth in ours; 1
	MaxSize     int64         // larger messages are not shown; 8 MiB
	Connections int           // messages shown at the same time; 16
	Password    string        // rspamd only
	TLS         bool          // rspamd only
	Roots       *x509.CertPool
	Dial        func(ctx context.Context, network, address string) (net.Conn, error) // net.Dialer
}

// Options of a Panel.
type Options struct {
	Logger   *slog.Logger
	Metrics  *metrics.Set
	Now      func() time.Time // time.Now
	Hostname string           // ours
	Helpers  []Helper         // in the order in which they are asked
}

// Message is what helpers are shown.
type Message struct {
	ID      string
	Remote  netip.AddrPort // the zero value for programs of this machine
	Name    string         // of Remote, that leads back to it; empty: none
	Hello   string
	TLS     string // version, as in "TLSv1.3"; empty: none
	Cipher  string
	Account string // who is logged in
	From    mail.Address
	To      []mail.Address
	Header  []byte // with its line ends, without the empty line
	Body    io.ReaderAt
	Size    int64 // of Body
}

// Action is what a verdict asks for, the milder first.
type Action uint8

const (
	Pass   Action = iota
	Junk          // it belongs there
	Later         // the sender is to come again
	Refuse        // the sender is told no
)

func (a Action) String() string { return [...]string{"pass", "junk", "later", "refuse"}[a] }

// Signal is a reason with its points, in the house's measure: above 0 speaks for junk.
type Signal struct {
	Name  string
	Score float64
	Text  string
}

// Verdict is what all helpers together say.
type Verdict struct {
	Action   Action
	By       string // the helper that asked for Action
	Code     int    // of the reply, for Later and Refuse
	Enhanced [3]int
	Text     string
	Signals  []Signal
	Opinion  bool     // Refuse is about junk, not about harm
	Doubtful bool     // a helper would greylist it
	Header   []byte   // the message's, as the helpers want it
	Added    []string // fields of Header that are the helpers', with their line ends
	Told     []string // for the message's story, a line for each helper
}

// answer is what one helper says of a message.
type answer struct {
	action   Action
	code     int
	enhanced [3]int
	text     string
	signals  []Signal
	opinion  bool
	doubtful bool
	edits    []edit
	told     string
}

// scanner speaks one language.
type scanner interface {
	scan(ctx context.Context, m *Message) (answer, error)
}

// Panel asks helpers. The nil Panel has none.
type Panel struct {
	o       Options
	helpers []*helper
	count   counters
}

// New returns a Panel. The programs need not run yet.
func New(o Options) (*Panel, error) {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	p := &Panel{o: o, count: newCounters(o.Metrics)}
	for _, h := range o.Helpers {
		one, err := p.helper(h)
		if err != nil {
			return nil, err
		}
		p.helpers = append(p.helpers, one)
	}
	return p, nil
}

// Close gives up connections that wait for the next message.
func (p *Panel) Close() {
	if p == nil {
		return
	}
	for _, h := range p.helpers {
		if c, ok := h.scanner.(interface{ close() }); ok {
			c.close()
		}
	}
}

// Wanted tells whether anybody looks at messages that go this way.
func (p *Panel) Wanted(w Way) bool {
	if p == nil {
		return false
	}
	for _, h := range p.helpers {
		if h.looksAt(w) {
			return true
		}
	}
	return false
}

// Scan shows the message to the helpers, one after the other, until one of them does not want it taken. Each sees the header as those
// before it have left it. The message is only read.
func (p *Panel) Scan(ctx context.Context, w Way, m *Message) Verdict {
	v := Verdict{Header: m.Header}
	if p == nil {
		return v
	}
	shown := *m
	for _, h := range p.helpers {
		if !h.looksAt(w) {
			continue
		}
		a := h.ask(ctx, &shown)
		v.add(h.o.Name, a)
		if v.Action >= Later {
			break
		}
		shown.Header = apply(shown.Header, a.edits)
		for _, e := range a.edits {
			v.Added = append(v.Added, string(e.raw()))
		}
	}
	v.Header = shown.Header
	return v
}

func (v *Verdict) add(name string, a answer) {
	if a.action > v.Action {
		v.Action, v.By, v.Code, v.Enhanced, v.Text, v.Opinion = a.action, name, a.code, a.enhanced, a.text, a.opinion
	}
	v.Signals = append(v.Signals, a.signals...)
	v.Doubtful = v.Doubtful || a.doubtful
	if a.told != "" {
		v.Told = append(v.Told, name+": "+a.told)
	}
}
