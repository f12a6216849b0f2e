package inbound

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store/story"
)

// Keywords that a delivery may carry. $Phishing is registered (RFC 5788); nobody has registered one for mail of somebody who has never
// written before, so ours has no $, which is kept for those that are.
const (
	Phishing     = "$Phishing"
	FirstContact = "FirstContact"
)

// opinion is what one of those who are to get the message thinks of it.
type opinion struct {
	to      spam.Recipient
	rcpt    mail.Address // the recipient that leads there
	judged  bool         // false: the account wants its mail left alone
	duty    bool         // it is a postmaster's, who must hear of everything
	verdict spam.Verdict
}

// hearing is one message before the judge.
type hearing struct {
	findings *spam.Findings
	accounts []opinion
	outside  *opinion // for those to whom mail goes on outside; nil: there are none
	disowned bool     // the author's domain asks to set it aside
	taken    bool     // somebody takes it whatever it is: who gets a report on mail that we forwarded, or cannot be asked
}

// sight begins to look at a message. What another program hands over (LMTP) was judged there, and a program of this machine is no
// stranger: nothing of what proves a host could prove it.
func (s *session) sight() *spam.Sight {
	if s.d.o.Judge == nil || s.peer.LMTP || s.peer.Remote.Addr().Unmap().IsLoopback() && !s.d.o.Loopback {
		return nil
	}
	return s.d.o.Judge.Begin(s.ctx, spam.Facts{Remote: s.peer.Remote.Addr().Unmap(), Hello: s.peer.Hello, From: s.Envelope.From})
}

// judge says what becomes of the message: where each account's copy goes, whether it is refused or has to come again, and the fields
// that tell of it. disowned: its author's domain asks to set it aside.
func (s *session) judge(in *intake, r *mailauth.Report, disowned bool) ([]byte, error) {
	s.hearing = nil
	if in.sight == nil {
		return nil, nil
	}
	h := &hearing{findings: in.sight.Finish(*r), disowned: disowned}
	h.findings.Add(in.signals...)
	s.hear(h, SendersOf(h.findings.Author(), s.Envelope.From, r))
	if in.unsure {
		h.doubt()
	}
	h.setAside()
	if err := s.turnAway(h); err != nil {
		return nil, err
	}
	s.file(h)
	s.hearing = h
	return s.fields(h), nil
}

// hear asks each account, and for those outside.
func (s *session) hear(h *hearing, senders Senders) {
	seen := map[mail.AccountID]bool{}
	for i := range s.To {
		to := &s.To[i]
		accounts := to.Route.Local
		for _, f := range to.Route.Forwards {
			accounts = append(accounts[:len(accounts):len(accounts)], f.From)
		}
		for _, d := range accounts {
			if seen[d.Account] {
				continue
			}
			seen[d.Account] = true
			o := opinion{rcpt: to.Address, duty: postmaster(to.Address)}
			if o.to, o.judged = s.d.o.Wishes.Of(s.ctx, d.Account, to.Address, senders); o.judged {
				o.verdict = s.d.o.Judge.Verdict(s.ctx, h.findings, o.to)
			}
			h.accounts = append(h.accounts, o)
		}
		goesOn := s.goesOn(to)
		h.taken = h.taken || len(accounts) == 0 && !goesOn || s.waitsForRoom(to)
		if h.outside == nil && goesOn {
			h.outside = &opinion{judged: true, rcpt: to.Address, to: spam.Recipient{Address: to.Address}}
			h.outside.verdict = s.d.o.Judge.Verdict(s.ctx, h.findings, h.outside.to)
		}
	}
}

// goesOn tells whether a recipient leads to somebody outside for whom no account speaks: members of an alias or of a list. A report on
// mail that we had forwarded is no mail of strangers' choice.
func (s *session) goesOn(to *local.Recipient) bool {
	return !to.Back && (posted(to) || len(s.strangers(to)) > 0)
}

// waitsForRoom tells whether one of ours gets his copy through the queue, because his mailbox is full at the moment: he is not asked now.
func (s *session) waitsForRoom(to *local.Recipient) bool {
	return len(to.Route.Remote) > len(s.strangers(to))+len(to.Route.Forwards)
}

// posted tells whether the message is for the members of a list, and not for the list itself.
func posted(to *local.Recipient) bool {
	return slices.ContainsFunc(to.Route.Lists, isPost)
}

func isPost(l auth.ListMail) bool { return l.Role == auth.ListPost }

// strangers are the addresses outside that a recipient leads to and no account does. One of ours stands there when its mailbox is full
// at the moment.
func (s *session) strangers(to *local.Recipient) []mail.Address {
	var out []mail.Address
	for _, a := range to.Route.Remote {
		if slices.ContainsFunc(to.Route.Forwards, func(f auth.Forward) bool { return f.To.Key() == a.Key() }) {
			continue
		}
		if ours, err := s.d.o.Directory.IsLocal(s.ctx, a.Domain); err != nil || !ours {
			out = append(out, a)
		}
	}
	return out
}

// setAside is what the author's domain asks for, whatever an account thinks of the message (RFC 7489 section 6.3).
func (h *hearing) setAside() {
	if !h.disowned {
		return
	}
	for _, o := range h.all() {
		o.verdict.Class = max(o.verdict.Class, spam.Junk)
	}
}

// doubt is what a helper asks for. Whom an account knows, or lets in, does not wait for a helper's doubts.
func (h *hearing) doubt() {
	for _, o := range h.all() {
		if o.judged && o.verdict.Class == spam.Good && !o.verdict.Known && o.to.LetIn == "" {
			o.verdict.Class = spam.Doubtful
		}
	}
}

// turnAway refuses a message that nobody wants, and has one come again that all are in doubt about. A message that one of them takes is
// taken for all: those who would refuse it have it in Junk.
func (s *session) turnAway(h *hearing) error {
	if h.taken {
		return nil
	}
	worst, doubted := true, []*opinion(nil) // worst: nobody wants it even in Junk
	for _, o := range h.all() {
		switch {
		case !o.judged, o.duty, o.verdict.Class == spam.Good:
			return nil
		case o.verdict.Class == spam.Doubtful:
			doubted = append(doubted, o)
		case o.verdict.Class == spam.Junk && o != h.outside: // junk does not go on: its sender hears so where nobody here has it either
			worst = false
		}
	}
	if len(doubted) == 0 {
		if worst {
			return s.refuse(h)
		}
		return nil
	}
	if !s.d.o.Greylist {
		return nil
	}
	wait := time.Duration(0)
	for _, o := range doubted {
		w := s.d.o.Judge.Greylist(s.ctx, h.findings, o.to)
		if w.Pass {
			return nil
		}
		wait = max(wait, w.For)
	}
	return s.later(h, wait)
}

func (h *hearing) all() []*opinion {
	all := make([]*opinion, 0, len(h.accounts)+1)
	for i := range h.accounts {
		all = append(all, &h.accounts[i])
	}
	if h.outside != nil {
		all = append(all, h.outside)
	}
	return all
}

// refuse says no. The reasons are those that everybody would see: what an account has learned is its own.
func (s *session) refuse(h *hearing) error {
	s.noteRefused(h, "refused")
	why := "It looks like junk"
	if v := s.d.o.Judge.Verdict(s.ctx, h.findings, spam.Recipient{}); len(v.Signals) > 0 {
		why += " (" + texts(v.Signals, 2) + ")"
	}
	return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, why+". If it is none, ask the recipient to let you in")
}

func (s *session) later(h *hearing, wait time.Duration) error {
	s.noteRefused(h, "later")
	minutes := max(1, int((wait+time.Minute-1)/time.Minute))
	return smtp.Refuse(451, gosmtp.EnhancedCode{4, 7, 1}, fmt.Sprintf("This sender is not known here yet: send the message again in %d minutes, and it will be taken (greylisting)", minutes))
}

func (s *session) noteRefused(h *hearing, action string) {
	s.d.count.turned.WithLabelValues(action).Inc()
	s.tellScores(h)
	for i := range h.accounts {
		o := &h.accounts[i]
		s.d.o.Judge.Refused(s.ctx, h.findings, o.to, o.verdict)
	}
	s.d.o.Logger.InfoContext(s.ctx, logx.MailJunk, "connection", s.peer.ID, "from", s.Envelope.From.String(), "author", h.findings.Author().String(), "action", action)
}

// listRefused notes for each account what was refused before the judge was asked: who misses a message looks in one list for all
// reasons. It returns the refusal.
func (s *session) listRefused(in *intake, r *mailauth.Report, refusal error) error {
	said, ok := errors.AsType[*gosmtp.SMTPError](refusal)
	if in.sight == nil || !ok || said.Temporary() {
		return refusal
	}
	f := in.sight.Finish(*r)
	const beyond = 100 // all lines
	v := spam.Verdict{Class: spam.Refuse, Score: beyond, Signals: []spam.Signal{{Name: "refused", Score: beyond, Text: said.Message}}}
	for i := range s.To {
		for _, d := range s.To[i].Route.Local {
			s.d.o.Judge.Refused(s.ctx, f, spam.Recipient{Account: d.Account, Address: s.To[i].Address}, v)
		}
	}
	return refusal
}

// file says where each copy goes.
func (s *session) file(h *hearing) {
	for i := range h.accounts {
		o := &h.accounts[i]
		f := local.Filing{Junk: o.verdict.Class >= spam.Junk}
		if o.verdict.Phishing && f.Junk {
			f.Keywords = append(f.Keywords, Phishing)
		}
		if o.verdict.FirstContact {
			f.Keywords = append(f.Keywords, FirstContact)
		}
		s.File(o.to.Account, f)
		if o.judged {
			s.d.count.verdicts.WithLabelValues(o.verdict.Class.String()).Inc()
		}
	}
	s.tellScores(h)
	s.keepForwards(h)
	if h.outside != nil && h.outside.verdict.Class >= spam.Junk {
		s.keepBack()
	}
}

// keepForwards has what is junk for an account not go on to where it forwards its mail, but into its Junk here.
func (s *session) keepForwards(h *hearing) {
	for i := range s.To {
		to := &s.To[i]
		if !slices.ContainsFunc(to.Route.Forwards, func(f auth.Forward) bool { return h.junkFor(f.From.Account) }) {
			continue
		}
		var forwards []auth.Forward
		var gone []mail.Address
		for _, f := range to.Route.Forwards {
			if !h.junkFor(f.From.Account) {
				forwards = append(forwards, f)
				continue
			}
			gone = append(gone, f.To)
			if !slices.ContainsFunc(to.Route.Local, func(d auth.Destination) bool { return d.Account == f.From.Account }) {
				to.Route.Local = append(slices.Clone(to.Route.Local), f.From)
			}
		}
		to.Route.Forwards = forwards
		to.Route.Remote = without(to.Route.Remote, gone)
		s.tellKept(to, gone)
	}
}

func (h *hearing) junkFor(account mail.AccountID) bool {
	return slices.ContainsFunc(h.accounts, func(o opinion) bool { return o.to.Account == account && o.verdict.Class >= spam.Junk })
}

// keepBack has junk go on to nobody outside: it would be ours there, and cost the good name of this host. Whoever an alias leads to
// here has it in Junk; where that is nobody, the postmaster does, because it was taken and must not be lost.
func (s *session) keepBack() {
	for i := range s.To {
		to := &s.To[i]
		if !s.goesOn(to) {
			continue
		}
		gone := s.strangers(to)
		left := without(to.Route.Remote, gone)
		lists := slices.DeleteFunc(slices.Clone(to.Route.Lists), isPost)
		if len(left)+len(lists)+len(to.Route.Local) == 0 {
			route, err := s.d.o.Local.Resolve(s.ctx, mail.Address{Local: "postmaster", Domain: to.Address.Domain})
			if err != nil || len(route.Local) == 0 {
				continue // nobody is there: better there than nowhere
			}
			to.Route.Local = route.Local[:1:1]
			if _, ok := s.Filed[route.Local[0].Account]; !ok {
				s.File(route.Local[0].Account, local.Filing{Junk: true})
			}
		}
		to.Route.Remote, to.Route.Lists = left, lists
		s.tellKept(to, gone)
	}
}

// tellKept is what the story says of a copy that does not go on.
func (s *session) tellKept(to *local.Recipient, gone []mail.Address) {
	text := "junk: it does not go on to the members"
	if len(gone) > 0 {
		text = "junk: it does not go on to " + listed(gone)
	}
	s.Learned(story.Event{At: s.d.o.Now(), Step: story.Scored, Who: to.Address.String(), Text: text})
}

func without(all, gone []mail.Address) []mail.Address {
	var left []mail.Address
	for _, a := range all {
		if !contains(gone, a) {
			left = append(left, a)
		}
	}
	return left
}

func contains(all []mail.Address, a mail.Address) bool {
	for _, b := range all {
		if a.Key() == b.Key() {
			return true
		}
	}
	return false
}

func listed(all []mail.Address) string {
	var b []string
	for _, a := range all {
		b = append(b, a.String())
	}
	return strings.Join(b, ", ")
}

// delivered tells the judge what has been filed.
func (s *session) delivered() {
	if s.hearing == nil {
		return
	}
	for i := range s.hearing.accounts {
		if o := &s.hearing.accounts[i]; o.judged {
			s.d.o.Judge.Delivered(s.ctx, s.hearing.findings, o.to, o.verdict)
		}
	}
	s.hearing = nil
}

// tellScores is the line of the message's story for each account, and for those outside.
func (s *session) tellScores(h *hearing) {
	for _, o := range h.all() {
		text := "not judged: the account wants it so"
		if o.judged {
			text = scored(&o.verdict)
		}
		s.Learned(story.Event{At: s.d.o.Now(), Step: story.Scored, Who: o.rcpt.String(), Text: text})
	}
}

// scored is a verdict as a person reads it.
func scored(v *spam.Verdict) string {
	text := fmt.Sprintf("%s, %.1f", v.Class, v.Score)
	for i, g := range v.Signals {
		sep := "; "
		if i == 0 {
			sep = ": "
		}
		text += fmt.Sprintf("%s%s (%+.1f)", sep, g.Text, g.Score)
	}
	return text
}

func texts(signals []spam.Signal, most int) string {
	var out []string
	for _, g := range signals[:min(most, len(signals))] {
		if g.Score > 0 {
			out = append(out, g.Text)
		}
	}
	return strings.Join(out, "; ")
}

// fields are the verdict for mail programs and filters. They stand in the one text that all share: for more than one they tell only what
// all may know, because an account's own signals say whom it knows and what it has learned.
func (s *session) fields(h *hearing) []byte {
	all := h.all()
	all = slices.DeleteFunc(all, func(o *opinion) bool { return !o.judged })
	if len(all) == 0 {
		return nil
	}
	v := all[0].verdict
	if len(h.all()) > 1 || len(s.To) > 1 {
		v = s.d.o.Judge.Verdict(s.ctx, h.findings, spam.Recipient{})
		if h.disowned {
			v.Class = max(v.Class, spam.Junk)
		}
	}
	junk := v.Class >= spam.Junk
	var w message.HeaderWriter
	if junk {
		w.Field("X-Spam-Flag", "YES")
	}
	w.Field("X-Spam-Status", status(&v, junk))
	return w.Bytes()
}

// status is a verdict in the form that SpamAssassin made common.
func status(v *spam.Verdict, junk bool) string {
	word := "No"
	if junk {
		word = "Yes"
	}
	tests := make([]string, 0, len(v.Signals))
	for _, g := range v.Signals {
		tests = append(tests, fmt.Sprintf("%s=%.1f", g.Name, g.Score))
	}
	if len(tests) == 0 {
		tests = append(tests, "none")
	}
	return fmt.Sprintf("%s, score=%.1f class=%s tests=%s", word, v.Score, v.Class, strings.Join(tests, ", "))
}

// forgedVerdict reports a field that claims to be a verdict on the message: on mail from outside it is a stranger's word, and mail
// programs believe it.
func forgedVerdict(f message.Field) bool {
	const prefix = "x-spam"
	return len(f.Name) >= len(prefix) && strings.EqualFold(string(f.Name[:len(prefix)]), prefix)
}
