package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/story"
)

// OwnQuery asks for the messages of one account; what is empty fits all.
type OwnQuery struct {
	With    string    `json:"with,omitempty"`    // a part of a correspondent's address, in any case
	Subject string    `json:"subject,omitempty"` // a part of it, in any case
	Since   time.Time `json:"since,omitzero"`
	Before  time.Time `json:"before,omitzero"`
	From    string    `json:"from,omitempty"` // OwnStories.Next of the page before
	Limit   int       `json:"limit,omitempty"`
}

// OwnStories is a page of them, the newest first.
type OwnStories struct {
	Messages []OwnMessage `json:"messages"`
	Next     string       `json:"next,omitempty"` // From of the next page; empty: there is none
}

// OwnMessage is a message as its sender or one of its recipients may see it.
type OwnMessage struct {
	story.Message
	Sent bool `json:"sent"` // the account has sent it; else it was for the account
}

// OwnTraced is what happened to it, as far as the account may know.
type OwnTraced struct {
	OwnMessage
	Events  []story.Event     `json:"events"`
	Outcome []TracedRecipient `json:"outcome"`
}

// eyes is whose side of a story is shown: his own addresses, and what leads to him.
type eyes struct {
	account  uint32
	since    time.Time // the account is there
	main     string
	own      map[string]bool // keys of addresses that are his alone
	shared   map[string]bool // of aliases that lead to him
	forwards map[string]bool // where his mail goes on to
	names    []string        // of all, as stories have them

	separator string
}

func (h *House) eyesOf(ctx context.Context, user string) (*eyes, error) {
	if h.o.Story == nil {
		return nil, &Error{Class: Unavailable, Message: "nothing is written down of messages here: the setting story.keep is 0s"}
	}
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return nil, translate(user, err)
	}
	n, err := h.o.Directory.NamesOf(ctx, a.ID)
	if err != nil {
		return nil, translate(user, err)
	}
	e := &eyes{account: uint32(a.ID), since: a.Created, main: a.Addresses[0].String(), separator: h.o.Directory.Separator(), own: map[string]bool{}, shared: map[string]bool{}, forwards: map[string]bool{}}
	add := func(m map[string]bool, x mail.Address) {
		m[x.Key()] = true
		e.names = append(e.names, x.String())
	}
	for _, x := range n.Own {
		add(e.own, x)
		for _, d := range n.Domains {
			if d.Of == x.Domain {
				add(e.own, mail.Address{Local: x.Local, Domain: d.Name})
			}
		}
	}
	for _, x := range n.Masks {
		add(e.own, x.Address)
	}
	for _, x := range n.Aliases {
		add(e.shared, x.Address)
	}
	for _, x := range a.Settings.Forward {
		e.forwards[x.Key()] = true
	}
	return e, nil
}

// is tells whether an address is one of m, with or without what stands behind the separator.
func (e *eyes) is(m map[string]bool, text string) bool {
	a, err := mail.ParseAddress(text)
	if err != nil {
		return false
	}
	if m[a.Key()] {
		return true
	}
	base, _, ok := strings.Cut(a.Local, e.separator)
	return ok && base != "" && m[(mail.Address{Local: base, Domain: a.Domain}).Key()]
}

// sent tells whether the account has sent a message. Whoever has, stands first among its owners; the name alone may have been another's
// then.
func (e *eyes) sent(m *story.Message) bool {
	if m.Direction != story.Out || m.Account == "" {
		return false
	}
	if len(m.Owners) > 0 {
		return m.Owners[0] == e.account
	}
	return !m.At.Before(e.since) && (strings.EqualFold(m.Account, e.main) || e.is(e.own, m.Account))
}

// mine tells whether a message is from or for the account. Where it is written whom a message was for, that counts: an address may have
// been another's then. Of who was refused at the door it is not written, and what came before the account was there was not for it.
func (e *eyes) mine(m *story.Message) bool {
	if e.sent(m) || slices.Contains(m.Owners, e.account) {
		return true
	}
	return len(m.Owners) == 0 && !m.At.Before(e.since) && slices.ContainsFunc(m.To, func(to string) bool { return e.is(e.own, to) })
}

// message is what the account may see of one.
func (e *eyes) message(m story.Message) OwnMessage {
	o := OwnMessage{Message: m, Sent: e.sent(&m)}
	o.Places, o.Owners, o.Account = nil, nil, ""
	if o.Sent {
		return o
	}
	// Whom else it went to is in its header, or was not to be seen (Bcc); and from where one of us has sent it is his.
	o.To = slices.DeleteFunc(slices.Clone(m.To), func(to string) bool { return !e.is(e.own, to) && !e.is(e.shared, to) })
	o.Recipients = len(o.To)
	if m.Direction == story.Out {
		o.Client, o.TLS = "", ""
	}
	return o
}

// events are those that concern the account.
func (e *eyes) events(o *OwnMessage, all []story.Event) []story.Event {
	out := []story.Event{}
	for _, x := range all {
		show := e.forReader
		if o.Sent {
			show = e.forSender
		}
		if x, ok := show(o, x); ok && !slices.ContainsFunc(out, func(y story.Event) bool { return same(x, y) }) {
			out = append(out, x)
		}
	}
	return out
}

func same(a, b story.Event) bool {
	return a.Step == b.Step && a.Who == b.Who && a.Text == b.Text && a.At.Equal(b.At) && a.Host == b.Host
}

// forSender: what other hosts said, and that it arrived; not where the recipient keeps it, who else an alias or a forwarding leads to,
// and whether it was read.
func (e *eyes) forSender(o *OwnMessage, x story.Event) (story.Event, bool) {
	self := x.Who != "" && (e.is(e.own, x.Who) || e.is(e.shared, x.Who))
	named := x.Who == "" || slices.ContainsFunc(o.To, func(to string) bool { return strings.EqualFold(to, x.Who) })
	switch x.Step {
	case story.Scored, story.Opened:
		return x, self
	case story.Delivered:
		if !self || x.Text != "" {
			x.Mailbox, x.Text = "", ""
		}
		return x, named
	case story.Checked:
		return x, x.Who == ""
	case story.Delayed, story.Bounced, story.Reported, story.Unreported:
		return x, x.Who == "" || named || self
	}
	return x, named
}

// forReader: how it came, what was found out, and where his own copy went.
func (e *eyes) forReader(o *OwnMessage, x story.Event) (story.Event, bool) {
	if x.Who == "" {
		switch x.Step {
		case story.Received, story.Checked, story.Refused:
			return x, true
		}
		return x, false
	}
	through, led := strings.CutPrefix(x.Text, "of ")
	switch {
	case x.Step == story.Delivered && led:
		return x, e.is(e.own, through)
	case e.is(e.own, x.Who):
		return x, true
	case e.is(e.shared, x.Who): // of an alias, what concerns all its members
		return x, x.Step == story.Refused || x.Step == story.Expanded
	}
	forwarded := slices.Contains([]story.Step{story.Queued, story.Attempted, story.Relayed, story.Failed}, x.Step)
	return x, forwarded && e.is(e.forwards, x.Who)
}

// OwnStories lists what the account has sent and what was for it.
func (h *House) OwnStories(ctx context.Context, user string, q OwnQuery) (OwnStories, error) {
	e, err := h.eyesOf(ctx, user)
	if err != nil {
		return OwnStories{}, err
	}
	if q.Limit < 1 || q.Limit > maxTraced {
		q.Limit = maxTraced
	}
	found, err := h.o.Story.Owned(ctx, story.Own{
		Account: e.account, Addresses: e.names, Since: q.Since, Before: q.Before, From: q.From, Limit: q.Limit,
		Fits: func(m *story.Message) bool { return e.mine(m) && q.fits(e, m) },
	})
	if err != nil {
		return OwnStories{}, translate(user, err)
	}
	out := OwnStories{Messages: []OwnMessage{}, Next: found.Next}
	for _, m := range found.Messages {
		out.Messages = append(out.Messages, e.message(m))
	}
	return out, nil
}

// fits asks for what the visitor has typed, in what he may see.
func (q *OwnQuery) fits(e *eyes, m *story.Message) bool {
	if !holds(m.Subject, q.Subject) {
		return false
	}
	if q.With == "" {
		return true
	}
	o := e.message(*m)
	others := []string{o.Author, o.From}
	if o.Sent {
		others = o.To
	}
	return slices.ContainsFunc(others, func(s string) bool { return holds(s, q.With) })
}

// OwnStory tells what happened to one message of the account.
func (h *House) OwnStory(ctx context.Context, user, id string) (OwnTraced, error) {
	e, err := h.eyesOf(ctx, user)
	if err != nil {
		return OwnTraced{}, err
	}
	found, err := h.o.Story.Find(ctx, id, 1)
	if err != nil && !errors.Is(err, story.ErrUnknown) {
		return OwnTraced{}, translate(id, err)
	}
	if len(found) == 0 || found[0].ID != id || !e.mine(&found[0].Message) {
		return OwnTraced{}, &Error{Class: Missing, Message: "Nothing is known of this message: what happened is kept for some days only."}
	}
	t := OwnTraced{OwnMessage: e.message(found[0].Message)}
	t.Events = e.events(&t.OwnMessage, found[0].Events)
	t.Outcome = outcome(story.Story{Message: t.Message, Events: t.Events})
	if !t.Sent { // how it came is what it is about, and not what became of it elsewhere
		t.Outcome = nil
	}
	return t, nil
}

// MailNames is every name under which mail reaches an account.
type MailNames struct {
	Addresses []string    `json:"addresses"` // the first is the main one
	Aliases   []NameAlias `json:"aliases"`
	Domains   []string    `json:"domains"`   // other names of the domains of Addresses
	CatchAll  []string    `json:"catch_all"` // domains whose remaining addresses lead here
	Separator string      `json:"separator"` // behind it a name may go on as it likes: alice+shop@
}

// NameAlias is an alias that leads to an account.
type NameAlias struct {
	Address string `json:"address"`
	SendAs  bool   `json:"send_as"`
	Others  int    `json:"others"` // who gets it beside the account
}

// MailNames lists them.
func (h *House) MailNames(ctx context.Context, user string) (MailNames, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return MailNames{}, translate(user, err)
	}
	n, err := h.o.Directory.NamesOf(ctx, a.ID)
	if err != nil {
		return MailNames{}, translate(user, err)
	}
	out := MailNames{Addresses: texts(n.Own), Separator: h.o.Directory.Separator(), Aliases: []NameAlias{}, Domains: []string{}, CatchAll: []string{}}
	for _, x := range n.Aliases {
		out.Aliases = append(out.Aliases, NameAlias{x.Address.String(), x.SendAs, x.Others})
	}
	for _, x := range n.Domains {
		out.Domains = append(out.Domains, string(x.Name))
	}
	for _, x := range n.CatchAll {
		out.CatchAll = append(out.CatchAll, string(x))
	}
	return out, nil
}
