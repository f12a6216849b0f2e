package admin

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/inbound"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/story"
)

// SpamQuestion names a message: one of an account's by the id of its transaction, its Message-ID or "MAILBOX/UID", or the text itself.
type SpamQuestion struct {
	Account string `json:"account,omitempty"` // empty: whose the message is; with a text, nobody's
	Message string `json:"message,omitempty"`
	Text    []byte `json:"text,omitempty"` // begin of the message
}

// SpamSignal is one reason.
type SpamSignal struct {
	Name  string  `json:"name"`
	Score float64 `json:"score"`
	Text  string  `json:"text"`
}

// SpamToken is a word that the account's classifier knows.
type SpamToken struct {
	Text   string  `json:"text"`
	Good   int     `json:"good"` // messages it was in
	Junk   int     `json:"junk"`
	Chance float64 `json:"chance"` // that a message with it is junk
}

// SpamExplained is a verdict with all that led to it, as it would be today.
type SpamExplained struct {
	Account      string        `json:"account,omitempty"`
	Mailbox      string        `json:"mailbox,omitempty"`
	UID          uint32        `json:"uid,omitempty"`
	Author       string        `json:"author"`
	Subject      string        `json:"subject"`
	Class        string        `json:"class"` // good, doubtful, junk, refuse
	Score        float64       `json:"score"`
	Line         float64       `json:"line"`
	Off          bool          `json:"off,omitempty"`        // the account's mail is not judged
	Unjudged     string        `json:"not_judged,omitempty"` // why it was not judged when it came
	Phishing     bool          `json:"phishing,omitempty"`
	FirstContact bool          `json:"first_contact,omitempty"`
	Known        bool          `json:"known,omitempty"`
	LetIn        string        `json:"let_in,omitempty"`
	KeptOut      string        `json:"kept_out,omitempty"`
	Signals      []SpamSignal  `json:"signals"`
	Chance       float64       `json:"chance"` // that it is junk, by the classifier alone
	Tokens       []SpamToken   `json:"tokens"`
	Knowledge    SpamKnowledge `json:"knowledge"`
	Learned      string        `json:"learned,omitempty"` // good or junk: what was learned from it
}

// ExplainSpam judges a message again and tells every reason.
func (h *House) ExplainSpam(ctx context.Context, q SpamQuestion) (SpamExplained, error) {
	j, err := h.judge()
	if err != nil {
		return SpamExplained{}, err
	}
	f, err := h.findAsked(ctx, q)
	if err != nil {
		return SpamExplained{}, err
	}
	defer f.close()
	to, judged := h.wishes().Of(ctx, f.account, f.address, f.senders(j))
	e, err := j.Explain(ctx, to, f.text())
	if err != nil {
		return SpamExplained{}, translate(q.Message, err)
	}
	out := explained(&e)
	out.Mailbox, out.UID, out.Off = f.mailbox, uint32(f.uid), !judged
	out.Unjudged = unjudged(f.header(), h.o.Site.Hostname)
	out.LetIn, out.KeptOut, out.Line = to.LetIn, to.KeptOut, h.o.Junk.Line
	if f.account != 0 {
		out.Account = h.nameOf(ctx, f.account)
		if to.Line != 0 {
			out.Line = to.Line
		}
	}
	return out, nil
}

func explained(e *spam.Explanation) SpamExplained {
	out := SpamExplained{
		Author: e.Author.String(), Subject: e.Subject, Class: e.Verdict.Class.String(), Score: e.Verdict.Score,
		Phishing: e.Verdict.Phishing, FirstContact: e.Verdict.FirstContact, Known: e.Verdict.Known,
		Signals: []SpamSignal{}, Chance: e.Chance, Tokens: []SpamToken{}, Learned: e.Learned,
		Knowledge: SpamKnowledge{Good: e.Training.Good, Junk: e.Training.Junk, Tokens: e.Training.Tokens, Known: e.Training.Known},
	}
	for _, s := range e.Verdict.Signals {
		out.Signals = append(out.Signals, SpamSignal{Name: s.Name, Score: s.Score, Text: s.Text})
	}
	for _, t := range e.Tokens {
		out.Tokens = append(out.Tokens, SpamToken{Text: t.Text, Good: t.Good, Junk: t.Junk, Chance: t.Chance})
	}
	return out
}

// asked is the message of a question.
type asked struct {
	account mail.AccountID // 0: nobody's
	address mail.Address
	mailbox string
	uid     store.UID
	body    *store.Body // nil: raw
	raw     []byte
}

func (a *asked) close() {
	if a.body != nil {
		a.body.Close()
	}
}

func (a *asked) text() io.Reader {
	if a.body != nil {
		return io.NewSectionReader(a.body, 0, a.body.Size())
	}
	return bytes.NewReader(a.raw)
}

// header is the message's, as far as it can be read.
func (a *asked) header() []byte {
	head := make([]byte, 64<<10)
	n, _ := io.ReadFull(a.text(), head)
	head = head[:n]
	if i := bytes.Index(head, []byte("\r\n\r\n")); i >= 0 {
		head = head[:i+2]
	}
	return head
}

// unjudged tells of mail that did not come from a stranger: the newest Received field is ours, and names a login, another program, or
// this machine.
func unjudged(header []byte, hostname string) string {
	for f := range message.Fields(header) {
		if !f.Is("Received") {
			continue
		}
		from, rest, ok := strings.Cut(f.Unfolded(), "by "+hostname+" (posthouse) with ")
		if !ok {
			return ""
		}
		protocol, _, _ := strings.Cut(rest, " ")
		_, address, _ := strings.Cut(from, "([")
		address, _, known := strings.Cut(strings.TrimPrefix(address, "IPv6:"), "]")
		remote, err := netip.ParseAddr(address)
		switch {
		case strings.HasSuffix(protocol, "A"):
			return "somebody of this house has handed it in"
		case strings.Contains(protocol, "LMTP"):
			return "another program has handed it over (LMTP)"
		case !known || err != nil || remote.IsLoopback():
			return "a program of this machine has handed it in"
		}
		return ""
	}
	return ""
}

// senders are the author and the return path, as they were when the message came.
func (a *asked) senders(j *spam.Judge) inbound.Senders {
	head := a.header()
	facts, report := j.Came(head)
	var author, path mail.Address
	for f := range message.Fields(head) {
		switch {
		case f.Is("From") && author.IsNull():
			author = firstAddress(f)
		case f.Is("Return-Path") && path.IsNull():
			path = firstAddress(f)
		}
	}
	if !facts.From.IsNull() {
		path = facts.From
	}
	return inbound.SendersOf(author, path, &report)
}

func firstAddress(f message.Field) mail.Address {
	for _, x := range message.ParseAddresses(f.Unfolded()) {
		if one, err := mail.ParseAddress(x.Mailbox + "@" + x.Host); err == nil {
			return one
		}
	}
	return mail.Address{}
}

func (h *House) findAsked(ctx context.Context, q SpamQuestion) (*asked, error) {
	a := &asked{raw: q.Text}
	if q.Account != "" {
		found, err := h.o.Directory.FindAccount(ctx, q.Account)
		if err != nil {
			return nil, translate(q.Account, err)
		}
		a.account, a.address = found.ID, found.Addresses[0]
	}
	if len(q.Text) > 0 {
		return a, nil
	}
	if q.Message == "" {
		return nil, invalid("name a message: the id of its transaction, its Message-ID, MAILBOX/UID with an account, or a file")
	}
	m, err := h.findMessage(ctx, a, q.Message)
	if err != nil {
		return nil, err
	}
	a.uid = m.UID
	if a.body, err = h.o.Store.Open(ctx, m); err != nil {
		return nil, translate(q.Message, err)
	}
	return a, nil
}

// findMessage finds one by its place in a mailbox, or through its story.
func (h *House) findMessage(ctx context.Context, a *asked, name string) (store.Message, error) {
	if i := strings.LastIndexByte(name, '/'); i > 0 && a.account != 0 {
		if uid, err := strconv.ParseUint(name[i+1:], 10, 32); err == nil {
			return h.messageAt(ctx, a, name[:i], store.UID(uid))
		}
	}
	if h.o.Story == nil {
		return store.Message{}, &Error{Class: Unavailable, Message: "nothing is written down of messages (story.keep is 0s): name it by --account and MAILBOX/UID"}
	}
	found, err := h.o.Story.Find(ctx, name, maxTraced)
	if err != nil && !errors.Is(err, story.ErrUnknown) {
		return store.Message{}, translate(name, err)
	}
	var places []uint64
	for _, s := range found {
		places = append(places, s.Places...)
	}
	accounts := []mail.AccountID{a.account}
	if a.account == 0 {
		if accounts, err = h.allAccounts(ctx); err != nil {
			return store.Message{}, err
		}
	}
	for _, id := range accounts {
		m, ok, err := h.messageOf(ctx, id, places, a)
		if err != nil || ok {
			return m, translate(name, err)
		}
	}
	return store.Message{}, missing(name + ": no such message is here now; name it by --account and MAILBOX/UID, or give its text as a file")
}

func (h *House) allAccounts(ctx context.Context) ([]mail.AccountID, error) {
	list, err := h.o.Directory.Accounts(ctx)
	var out []mail.AccountID
	for _, a := range list {
		out = append(out, a.ID)
	}
	return out, translate("accounts", err)
}

func (h *House) messageAt(ctx context.Context, a *asked, mailbox string, uid store.UID) (store.Message, error) {
	b, err := h.o.Store.Mailbox(ctx, a.account, mailbox)
	if errors.Is(err, store.ErrNoMailbox) {
		return store.Message{}, &Error{Missing, "the account has no mailbox " + mailbox, err}
	}
	if err == nil {
		_, err = h.o.Store.State(ctx, b.ID) // what was acknowledged a moment ago is in the tables now
	}
	if err != nil {
		return store.Message{}, translate(mailbox, err)
	}
	a.mailbox = b.Name
	for page, err := range h.o.Store.Messages(ctx, b.ID, []store.UIDRange{{First: uid, Last: uid}}) {
		if err != nil {
			return store.Message{}, translate(mailbox, err)
		}
		if len(page) > 0 {
			return page[0], nil
		}
	}
	return store.Message{}, missing(fmt.Sprintf("%s has no message with the uid %d", b.Name, uid))
}

// messageOf looks for a message that was born at one of the places of the log.
func (h *House) messageOf(ctx context.Context, id mail.AccountID, places []uint64, a *asked) (store.Message, bool, error) {
	if len(places) == 0 {
		return store.Message{}, false, nil
	}
	boxes, err := h.o.Store.Mailboxes(ctx, id)
	if err != nil {
		return store.Message{}, false, err
	}
	for _, b := range boxes {
		if b.ID == 0 {
			continue
		}
		for page, err := range h.o.Store.Messages(ctx, b.ID, []store.UIDRange{{First: 1, Last: 0xffffffff}}) {
			if errors.Is(err, store.ErrNoMailbox) {
				break
			}
			if err != nil {
				return store.Message{}, false, err
			}
			for _, m := range page {
				if !slices.Contains(places, m.ID) {
					continue
				}
				a.account, a.mailbox = id, b.Name
				if found, err := h.o.Directory.Account(ctx, id); err == nil {
					a.address = found.Addresses[0]
				}
				return m, true, nil
			}
		}
	}
	return store.Message{}, false, nil
}
