package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/inbound"
	"github.com/posthouse-mail/posthouse/smtp/junkbook"
	"github.com/posthouse-mail/posthouse/smtp/learn"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Junk is who judges mail from outside.
type Junk struct {
	Judge   *spam.Judge // nil: nobody, not even for questions
	Book    *junkbook.Book
	Teacher *learn.Teacher
	Enabled bool
	Line    float64 // of accounts that have none of their own
}

// SpamSettings is how an account's mail is judged.
type SpamSettings struct {
	Off     bool    `json:"off"`
	Line    float64 `json:"line"`              // score from which it goes to Junk
	Own     bool    `json:"own_line"`          // the line is the account's own
	Enabled bool    `json:"enabled_for_house"` // else nobody's mail is judged
}

// SpamChange is what SetSpam changes; nil stays as it is. Line 0: the house's.
type SpamChange struct {
	Off  *bool    `json:"off,omitempty"`
	Line *float64 `json:"line,omitempty"`
}

// Refusal is a sender whose mail was refused for an account, or had to come again.
type Refusal struct {
	Sender  string    `json:"sender"`
	Subject string    `json:"subject,omitempty"` // of the last one
	Remote  string    `json:"remote,omitempty"`
	Reason  string    `json:"reason"`
	Score   float64   `json:"score"`
	First   time.Time `json:"first"`
	Last    time.Time `json:"last"`
	Count   int       `json:"count"`
	LetIn   bool      `json:"let_in,omitempty"` // the next one is taken
}

// SpamSender is an address or a domain that an account lets in or shuts out.
type SpamSender struct {
	Sender  string    `json:"sender"`
	Blocked bool      `json:"blocked,omitempty"` // else let in
	Made    time.Time `json:"made"`
}

// SpamTrained is what training found.
type SpamTrained struct {
	Good  int           `json:"good"` // messages
	Junk  int           `json:"junk"`
	State SpamKnowledge `json:"state"`
}

// SpamKnowledge is what the judge has learned of an account.
type SpamKnowledge struct {
	Good   int `json:"good"` // messages
	Junk   int `json:"junk"`
	Tokens int `json:"tokens"`
	Known  int `json:"known"` // addresses, domains and networks
}

// SpamAccount is one account in SpamStats.
type SpamAccount struct {
	Account string `json:"account"`
	SpamSettings
	SpamKnowledge
	LetIn   int `json:"let_in"`
	Blocked int `json:"blocked"`
	Refused int `json:"refused"` // senders, in the last days
}

// SpamList is a list of the DNS.
type SpamList struct {
	Name   string `json:"name"`
	Zone   string `json:"zone"`
	On     bool   `json:"on"`
	Reason string `json:"reason,omitempty"` // why it is not
}

// SpamStats is how the judge does.
type SpamStats struct {
	Enabled  bool          `json:"enabled"`
	Accounts []SpamAccount `json:"accounts"`
	Lists    []SpamList    `json:"lists"`
}

// judge refuses a verb where nobody judges.
func (h *House) judge() (*spam.Judge, error) {
	if h.o.Junk.Judge == nil || h.o.Junk.Book == nil {
		return nil, &Error{Class: Unavailable, Message: "nobody judges mail here now"}
	}
	return h.o.Junk.Judge, nil
}

func (h *House) wishes() inbound.Wishes {
	return inbound.Wishes{Book: h.o.Junk.Book, Directory: h.o.Directory}
}

// spamAccount finds the account of a verb.
func (h *House) spamAccount(ctx context.Context, user string) (*spam.Judge, auth.Account, error) {
	j, err := h.judge()
	if err != nil {
		return nil, auth.Account{}, err
	}
	a, err := h.o.Directory.FindAccount(ctx, user)
	return j, a, translate(user, err)
}

// SpamRefused lists who was refused for the account in the last days, or had to come again, the last first.
func (h *House) SpamRefused(ctx context.Context, user string) ([]Refusal, error) {
	j, a, err := h.spamAccount(ctx, user)
	if err != nil {
		return nil, err
	}
	list, err := j.Refusals(ctx, a.ID)
	if err != nil {
		return nil, translate(user, err)
	}
	out := make([]Refusal, 0, len(list))
	for _, r := range list {
		s := Refusal{Sender: r.Sender, Subject: r.Subject, Reason: r.Reason, Score: r.Score, First: r.First, Last: r.Last, Count: r.Count}
		if r.Remote.IsValid() {
			s.Remote = r.Remote.String()
		}
		if sender, err := mail.ParseAddress(r.Sender); err == nil {
			e, ok, err := h.o.Junk.Book.Find(ctx, a.ID, sender)
			if err != nil {
				return nil, translate(user, err)
			}
			s.LetIn = ok && !e.Block
		}
		out = append(out, s)
	}
	return out, nil
}

// SpamSenders lists whom the account lets in and shuts out.
func (h *House) SpamSenders(ctx context.Context, user string) ([]SpamSender, error) {
	_, a, err := h.spamAccount(ctx, user)
	if err != nil {
		return nil, err
	}
	list, err := h.o.Junk.Book.Entries(ctx, a.ID)
	out := make([]SpamSender, 0, len(list))
	for _, e := range list {
		out = append(out, SpamSender{Sender: e.Sender, Blocked: e.Block, Made: e.Made})
	}
	return out, translate(user, err)
}

// SetSpamSender has the account let in a sender, an address or a domain, or shut him out.
func (h *House) SetSpamSender(ctx context.Context, user string, s SpamSender) (SpamSender, error) {
	_, a, err := h.spamAccount(ctx, user)
	if err != nil {
		return SpamSender{}, err
	}
	var e junkbook.Entry
	verb := "spam allow"
	if s.Blocked {
		verb = "spam block"
	}
	err = h.change(ctx, &alteration{verb: verb, on: h.aSender(a, s.Sender), do: func(tx *kv.Tx) error {
		still := func(*auth.AccountSettings) error { return nil }
		if err := h.o.Directory.Configure(tx, a.ID, still); err != nil { // it was removed meanwhile
			return err
		}
		made, err := h.o.Junk.Book.Put(tx, a.ID, s.Sender, s.Blocked)
		e = made
		return err
	}})
	if err != nil {
		return SpamSender{}, spamError(s.Sender, err)
	}
	h.done(ctx, verb, user+" "+e.Sender)
	return SpamSender{Sender: e.Sender, Blocked: e.Block, Made: e.Made}, nil
}

// RemoveSpamSender forgets what the account said of a sender.
func (h *House) RemoveSpamSender(ctx context.Context, user, sender string) error {
	_, a, err := h.spamAccount(ctx, user)
	if err != nil {
		return err
	}
	err = h.change(ctx, &alteration{verb: "spam forget", on: h.aSender(a, sender), do: func(tx *kv.Tx) error { return h.o.Junk.Book.Remove(tx, a.ID, sender) }})
	if err != nil {
		return spamError(sender, err)
	}
	h.done(ctx, "spam forget", user+" "+sender)
	return nil
}

// aSender is what an account says of a sender.
func (h *House) aSender(a auth.Account, sender string) subject {
	object := sender
	if text, err := junkbook.Canonical(sender); err == nil {
		object = text
	}
	return subject{kind: OfSender, object: a.Addresses[0].String() + " " + object, account: a.ID, read: func(tx *kv.Tx) (any, error) {
		e, err := h.o.Junk.Book.In(tx, a.ID, sender)
		if errors.Is(err, junkbook.ErrNoEntry) || errors.Is(err, junkbook.ErrNoSender) {
			return nil, auth.ErrNoAddress
		}
		return senderState{e.Block}, err
	}}
}

func spamError(what string, err error) error {
	switch {
	case errors.Is(err, junkbook.ErrNoSender):
		return &Error{Invalid, fmt.Sprintf("%q is neither an address nor a domain", what), err}
	case errors.Is(err, junkbook.ErrNoEntry):
		return &Error{Missing, "nothing is said of " + what, err}
	case errors.Is(err, junkbook.ErrLimit):
		return &Error{Conflict, "10,000 senders are written down for the account: remove some", err}
	}
	return translate(what, err)
}

// SpamSettings shows how the account's mail is judged.
func (h *House) SpamSettings(ctx context.Context, user string) (SpamSettings, error) {
	_, a, err := h.spamAccount(ctx, user)
	if err != nil {
		return SpamSettings{}, err
	}
	return h.spamSettings(ctx, a.ID)
}

func (h *House) spamSettings(ctx context.Context, id mail.AccountID) (SpamSettings, error) {
	set, err := h.o.Directory.Settings(ctx, id)
	if err != nil {
		return SpamSettings{}, translate("account", err)
	}
	s := SpamSettings{Off: set.JunkOff, Line: h.o.Junk.Line, Enabled: h.o.Junk.Enabled}
	if set.JunkLine != 0 {
		s.Line, s.Own = float64(set.JunkLine)/10, true
	}
	return s, nil
}

// SetSpam changes how the account's mail is judged.
func (h *House) SetSpam(ctx context.Context, user string, c SpamChange) (SpamSettings, error) {
	_, a, err := h.spamAccount(ctx, user)
	if err != nil {
		return SpamSettings{}, err
	}
	if c.Line != nil && *c.Line != 0 && (*c.Line < 1 || *c.Line > 100) {
		return SpamSettings{}, invalid("a line is a score from 1 to 100; 0 is the line of the house")
	}
	err = h.change(ctx, &alteration{verb: "spam set", on: h.anAccount(a.ID, a.Addresses[0].String()), do: func(tx *kv.Tx) error {
		return h.o.Directory.Configure(tx, a.ID, func(s *auth.AccountSettings) error {
			if c.Off != nil {
				s.JunkOff = *c.Off
			}
			if c.Line != nil {
				s.JunkLine = int32(*c.Line*10 + 0.5)
			}
			return nil
		})
	}})
	if err != nil {
		return SpamSettings{}, translate(user, err)
	}
	h.done(ctx, "spam set", user)
	return h.spamSettings(ctx, a.ID)
}

func (h *House) spamKnowledge(ctx context.Context, id mail.AccountID) (SpamKnowledge, error) {
	t, err := h.o.Junk.Judge.Training(ctx, id)
	return SpamKnowledge{Good: t.Good, Junk: t.Junk, Tokens: t.Tokens, Known: t.Known}, err
}

// SpamLists tells how the lists of the DNS do, and whether mail is judged at all.
func (h *House) SpamLists(context.Context) (lists []SpamList, judged bool, err error) {
	j, err := h.judge()
	if err != nil {
		return nil, false, err
	}
	for _, l := range j.ListStates() {
		lists = append(lists, SpamList{Name: l.Name, Zone: l.Zone, On: l.On, Reason: l.Reason})
	}
	return lists, h.o.Junk.Enabled, nil
}

// SpamStats tells how the judge does for each account, and how the lists do.
func (h *House) SpamStats(ctx context.Context) (SpamStats, error) {
	j, err := h.judge()
	if err != nil {
		return SpamStats{}, err
	}
	out := SpamStats{Enabled: h.o.Junk.Enabled, Accounts: []SpamAccount{}, Lists: []SpamList{}}
	for _, l := range j.ListStates() {
		out.Lists = append(out.Lists, SpamList{Name: l.Name, Zone: l.Zone, On: l.On, Reason: l.Reason})
	}
	accounts, err := h.o.Directory.Accounts(ctx)
	for _, a := range accounts {
		if err != nil {
			break
		}
		one := SpamAccount{Account: a.Addresses[0].String()}
		one.SpamSettings, err = h.spamSettings(ctx, a.ID)
		if err == nil {
			one.SpamKnowledge, err = h.spamKnowledge(ctx, a.ID)
		}
		if err == nil {
			err = h.countSenders(ctx, a.ID, &one)
		}
		out.Accounts = append(out.Accounts, one)
	}
	return out, translate("accounts", err)
}

func (h *House) countSenders(ctx context.Context, id mail.AccountID, out *SpamAccount) error {
	list, err := h.o.Junk.Book.Entries(ctx, id)
	if err != nil {
		return err
	}
	for _, e := range list {
		if e.Block {
			out.Blocked++
		} else {
			out.LetIn++
		}
	}
	refused, err := h.o.Junk.Judge.Refusals(ctx, id)
	out.Refused = len(refused)
	return err
}

// forgetJunk drops what the judge knows of an account that is gone.
func (h *House) forgetJunk(ctx context.Context, id mail.AccountID) {
	if h.o.Junk.Judge == nil {
		return
	}
	h.lessons.forget(id)
	err := h.o.Junk.Judge.Forget(ctx, id)
	if h.o.Junk.Teacher != nil {
		err = errors.Join(err, h.o.Junk.Teacher.Forget(ctx, id))
	}
	if err != nil { // it stands beside the mail, and will go with its age
		h.o.Logger.WarnContext(ctx, logx.LearnFailed, "account", id, "error", err)
	}
}

// checkJunk looks at what users wrote down.
func (h *House) checkJunk(ctx context.Context) ([]Finding, error) {
	if h.o.Junk.Book == nil {
		return nil, nil
	}
	accounts, err := h.o.Directory.Accounts(ctx)
	if err != nil {
		return nil, err
	}
	problems, err := h.o.Junk.Book.Check(ctx, func(id mail.AccountID) bool {
		return slices.ContainsFunc(accounts, func(a auth.Account) bool { return a.ID == id })
	})
	var out []Finding
	for _, text := range problems {
		out = append(out, Finding{Problem: text, Advice: "the rest works; say it anew with posthouse spam allow or posthouse spam block"})
	}
	return out, err
}
