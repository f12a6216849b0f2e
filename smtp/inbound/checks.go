package inbound

import (
	"bytes"
	"errors"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
)

// Policy is what is done when a domain asks to refuse or to set aside mail that is not proven to be its own (DMARC).
type Policy string

const (
	Enforce    Policy = "enforce"    // as the domain asks
	Quarantine Policy = "quarantine" // it goes to Junk, never refused
	Note       Policy = "note"       // the header says so, and nothing else happens
)

// intake is where a message goes: into the store, and its body through the checks.
type intake struct {
	*store.Writer
	check   *mailauth.Check  // nil: nobody checks
	seal    *mailauth.Sealer // nil: it goes to nobody outside
	sight   *spam.Sight      // nil: nobody judges
	signals []spam.Signal    // what others found (scanners)
	unsure  bool             // one of them would have its sender come again
	scan    *waiting         // nil: nobody else looks at it, and it goes into the store at once
	aside   bool             // others want it in Junk
	author  mailauth.DMARC   // what the check found out of him
	body    bool
}

func (w *intake) Write(p []byte) (int, error) {
	if w.body && w.check != nil {
		w.check.Write(p)
	}
	if w.body && w.sight != nil {
		w.sight.Write(p)
	}
	if w.body && w.scan != nil {
		return w.scan.body.Write(p)
	}
	return w.keep(p)
}

// keep is for what goes into the store.
func (w *intake) keep(p []byte) (int, error) {
	if w.body && w.seal != nil {
		w.seal.Write(p)
	}
	return w.Writer.Write(p)
}

// check starts the checks of a message. Nothing is known of where mail comes from that another program hands over (LMTP).
func (s *session) check() *mailauth.Check {
	if s.d.o.Checks == nil || s.peer.LMTP {
		return nil
	}
	return s.d.o.Checks.Begin(s.ctx, mailauth.Session{Remote: s.peer.Remote.Addr(), Hello: s.peer.Hello, From: s.Envelope.From})
}

// withoutForged drops results that claim to be ours (RFC 8601 section 5), and verdicts, where we say them ourselves; those of helpers
// are none.
func (s *session) withoutForged(header []byte, helpers []string) []byte {
	kept := make([]byte, 0, len(header))
	for f := range message.Fields(header) {
		if !mailauth.Ours(f, s.d.o.Hostname) && (s.d.o.Judge == nil || !forgedVerdict(f) || theirs(f, helpers)) {
			kept = append(kept, f.Raw...)
		}
	}
	return kept
}

// seal begins the seal of a message that goes on to somebody outside: who gets it there sees what we found out, and that nobody has
// changed it since (RFC 8617). header is what the message will have below our results.
func (s *session) seal(in *intake, header []byte) {
	if in.check == nil || s.d.o.SealKey == nil {
		return
	}
	for _, to := range s.To {
		if len(to.Route.Remote) == 0 {
			continue
		}
		keys, err := s.d.o.SealKey(s.ctx, to.Address.Domain)
		if err != nil { // an unsealed message is better than none
			s.d.o.Logger.ErrorContext(s.ctx, logx.MailUnsigned, "domain", to.Address.Domain, "error", err)
		}
		if len(keys) > 0 {
			in.seal = mailauth.NewSealer(bytes.Clone(header), s.d.o.Now(), keys[0])
			return
		}
	}
}

// results ends the checks: the fields that tell of them, and whether the message is taken, and where to.
func (s *session) results(in *intake) ([]byte, error) {
	if in.check == nil {
		if err := s.scan(in, &mailauth.Report{}); err != nil {
			return nil, s.listRefused(in, &mailauth.Report{}, err)
		}
		return s.judge(in, &mailauth.Report{}, in.aside)
	}
	r := in.check.Finish()
	in.author = r.DMARC
	s.d.count.report(&r)
	s.learned(&r)
	fields, err := s.outcome(in, &r)
	if s.Taken = nil; !comesAgain(err) { // who comes again is counted then
		s.tellReports(&r)
	}
	return fields, err
}

// comesAgain tells whether the sender of a message is to send it once more.
func comesAgain(err error) bool {
	if err == nil {
		return false
	}
	said, ok := errors.AsType[*gosmtp.SMTPError](err)
	return !ok || said.Temporary()
}

// outcome is what becomes of a message with these results.
func (s *session) outcome(in *intake, r *mailauth.Report) ([]byte, error) {
	if s.Envelope.Unproven = !r.ProvesPath(s.Envelope.From.Domain); !s.Envelope.Unproven {
		s.d.o.Suppressed.Arrived(s.ctx, s.Envelope.From) // who writes exists
	}
	if err := s.obey(r); err != nil {
		return nil, s.listRefused(in, r, err)
	}
	if err := s.scan(in, r); err != nil {
		return nil, s.listRefused(in, r, err)
	}
	verdict, err := s.judge(in, r, in.aside || s.action(r) == actionJunk)
	if err != nil {
		return nil, err
	}
	fields := append(verdict, r.Field(s.d.o.Hostname)...)
	if in.seal == nil {
		return fields, nil
	}
	set, err := in.seal.Seal(s.d.o.Hostname, r.Results(), r.ARC.Result)
	return append(fields, set...), err
}

// obey does what the author's domain asks for mail that is not proven (RFC 7489 section 6.7).
func (s *session) obey(r *mailauth.Report) error {
	d := r.DMARC
	action := s.action(r)
	if action != "" {
		s.d.o.Logger.InfoContext(s.ctx, logx.MailUnproven, "connection", s.peer.ID, "author", d.Domain, "from", s.Envelope.From.String(), "action", action, "reason", d.Reason)
	}
	switch action {
	case actionLater:
		return smtp.Refuse(451, gosmtp.EnhancedCode{4, 7, 5}, "Cannot find out now whether this mail is from "+d.Domain+" ("+d.Reason+"), try again later")
	case actionRefuse:
		return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, d.Domain+" asks to refuse mail that is not proven to be its own (DMARC): "+d.Reason)
	case actionJunk:
		s.FileAll(local.Filing{Junk: true})
	}
	return nil
}

// What obey does; the log has the words.
const (
	actionLater  = "later"
	actionRefuse = "refused"
	actionJunk   = "junk"
)

// action is what obey does; empty: nothing. What a trusted list or forwarder has found proven before it changed the message is let
// through (RFC 8617 section 7.2.1), and a postmaster hears everything.
func (s *session) action(r *mailauth.Report) string {
	d := r.DMARC
	if s.d.o.Policy == Note || s.d.o.Checks.Vouched(*r) {
		return ""
	}
	enforced := s.d.o.Policy == Enforce && !s.forPostmaster()
	switch {
	case d.Result == mailauth.TempError && d.Policy != "" && d.Policy != mailauth.PolicyNone && enforced:
		return actionLater
	case d.Disposition == mailauth.PolicyReject && enforced:
		return actionRefuse
	case d.Disposition == mailauth.PolicyReject, d.Disposition == mailauth.PolicyQuarantine:
		return actionJunk
	}
	return ""
}

// forPostmaster: only those are addressed who must hear of everything (RFC 5321 section 4.5.1, RFC 2142).
func (s *session) forPostmaster() bool {
	for _, to := range s.To {
		if !postmaster(to.Address) {
			return false
		}
	}
	return true
}
