package submission

import (
	"context"
	"errors"
	"fmt"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/store"
)

// mayBegin begins to count a message, and refuses one of an account that may not send (550: only the postmaster can lift that) or has
// sent too much (452: there is room again later, and a program that tries again by itself is not wrong).
func (s *session) mayBegin() error {
	who := limit.Sender{Name: s.who.name, Client: s.peer.Remote.Addr()}
	if s.who.id == 0 {
		who.Program = s.who.program()
		if who.Name == "This device" {
			who.Name = s.who.main.String()
		}
		s.budget = s.d.o.Limits.Begin(who)
		return tooMuch(s.budget.Ask(s.ctx))
	}
	set, err := s.d.o.Directory.Settings(s.ctx, s.who.id)
	if err != nil {
		return err
	}
	if set.SendOff != "" {
		return sendOff(s.who.main, set)
	}
	domain, err := s.d.o.Directory.DomainSettings(s.ctx, s.who.main.Domain)
	if err != nil && !errors.Is(err, auth.ErrNoDomain) {
		return err
	}
	who.Account, who.Own = s.who.id, limit.Limits(set.Limits)
	who.Domain, who.Shared = s.who.main.Domain, limit.Limits(domain.Limits)
	s.budget = s.d.o.Limits.Begin(who)
	return tooMuch(s.budget.Ask(s.ctx))
}

// program is what a sender without account is counted as.
func (w *sender) program() string {
	if w.name == "This device" {
		return "device " + w.main.Key()
	}
	return "user " + w.name
}

func tooMuch(err error) error {
	if err == nil {
		return nil
	}
	return smtp.Refuse(452, gosmtp.EnhancedCode{4, 7, 1}, "Too much: "+err.Error())
}

func sendOff(main mail.Address, set auth.AccountSettings) error {
	since := time.Unix(set.SendOffSince, 0).UTC().Format("2 January 2006 15:04 MST")
	return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, fmt.Sprintf("%s may not send since %s: %s. Ask postmaster@%s, who can lift that", main, since, set.SendOff, main.Domain))
}

// outside looks whether mail may leave for an address: it has not turned out not to exist, and there is room for one more.
func (s *session) outside(a mail.Address) error {
	if e, no := s.d.o.Suppressed.Refuses(s.ctx, a, s.Envelope.From); no {
		return suppressed(a, e)
	}
	return tooMuch(s.budget.Recipient(s.ctx, a))
}

// suppressed tells what is known of an address, and who can mend it.
func suppressed(a mail.Address, e limit.Entry) error {
	if e.Manual {
		text := "The postmaster here lets no mail go to " + a.String()
		if e.Note != "" {
			text += ": " + e.Note
		}
		return smtp.Refuse(550, gosmtp.EnhancedCode{5, 7, 1}, text)
	}
	said := e.Text
	if said == "" {
		said = fmt.Sprint(e.Code, " ", e.Status)
	}
	const form = "2 January 2006"
	return smtp.Refuse(550, gosmtp.EnhancedCode{5, 1, 1}, fmt.Sprintf("%s did not exist when it was tried on %s (%s said: %s). It is not tried again before %s; if it exists now, the postmaster here takes it off: posthouse suppression remove %s",
		a, e.Last.UTC().Format(form), e.Host, said, e.Until.UTC().Format(form), a))
}

// deliver counts the message and takes it. One that looks as if somebody else had the password keeps its account from sending.
func (s *session) deliver(id string, arrival *store.Arrival) error {
	if err := s.stillOn(); err != nil {
		arrival.Discard()
		return err
	}
	if err := s.budget.Take(s.ctx); err != nil {
		arrival.Discard()
		if stolen, ok := errors.AsType[*limit.Suspicion](err); ok {
			return s.suspend(stolen)
		}
		return tooMuch(err)
	}
	err := s.Deliver(s.ctx, id, arrival)
	if err != nil {
		s.budget.Return(s.ctx)
		return err
	}
	s.budget.Keep(s.ctx)
	return nil
}

// stillOn looks once more whether the account may send: a session that was open before it was kept from sending may have come as far as
// DATA, and a thief opens many.
func (s *session) stillOn() error {
	if s.who.id == 0 {
		return nil
	}
	set, err := s.d.o.Directory.Settings(s.ctx, s.who.id)
	if err == nil && set.SendOff != "" {
		err = sendOff(s.who.main, set)
	}
	return err
}

// suspend keeps the account from sending, before the client is told: the next message must not slip through.
func (s *session) suspend(stolen *limit.Suspicion) error {
	now := s.d.o.Now()
	set := auth.AccountSettings{SendOff: stolen.Error(), SendOffSince: now.Unix()}
	if s.d.o.Suspend == nil {
		return sendOff(s.who.main, set)
	}
	if err := s.d.o.Suspend(context.WithoutCancel(s.ctx), s.who.id, set.SendOff); err != nil {
		return err
	}
	return sendOff(s.who.main, set)
}
