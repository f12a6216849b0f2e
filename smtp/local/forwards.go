package local

import (
	"context"
	"slices"
	"strconv"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/story"
)

// forwards are the addresses outside that mail for a recipient goes on to. Reports to their sender, and copies that wait for room in a
// mailbox here, are none.
func (r *Recipient) forwards() []mail.Address {
	if r.Back || len(r.Route.Remote) == 0 {
		return nil
	}
	if len(r.waits) == 0 {
		return r.Route.Remote
	}
	return slices.DeleteFunc(slices.Clone(r.Route.Remote), func(a mail.Address) bool { return slices.Contains(r.waits, a) })
}

// mayForward looks whether mail may go on. Who does not exist is left out: the copy of an account that forwards there stays in its
// mailbox, and a recipient that leads to nobody else is refused; the other host's words name the address, and are for our own people only
// (story). What is too much now waits at its sender.
func (t *Transaction) mayForward(ctx context.Context, to *Recipient) error {
	if to.Back || len(to.Route.Remote) == 0 {
		return nil
	}
	gone := t.carrier.leaveOut(ctx, &to.Route, func(a mail.Address, e limit.Entry) {
		t.Learned(story.Event{At: t.carrier.o.Now(), Step: story.Failed, Who: a.String(), Status: "5.1.1", Text: "not tried: it is on the suppression list, " + why(e)})
	})
	if leads(to.Route) == 0 {
		return smtp.Refuse(550, gosmtp.EnhancedCode{5, 1, 1}, nowhere(to.Address, gone))
	}
	return tooMuch(t.carrier.o.Limits.Forward(to.Route.Remote...).Ask(ctx))
}

// leaveOut takes the addresses that do not exist out of a route, and returns what is known of the last of them.
func (c *Carrier) leaveOut(ctx context.Context, r *auth.Route, tell func(mail.Address, limit.Entry)) (gone limit.Entry) {
	var left []mail.Address
	for _, a := range r.Remote {
		e, no := c.o.Suppressed.Refuses(ctx, a, mail.Address{})
		if !no {
			left = append(left, a)
			continue
		}
		gone = e
		stay(r, a)
		tell(a, e)
	}
	r.Remote = left
	return gone
}

// nowhere refuses a recipient that leads to nobody any more.
func nowhere(to mail.Address, gone limit.Entry) string {
	return to.String() + " leads to an address that does not exist any more; this host tried it last on " + gone.Last.UTC().Format("2 January 2006")
}

// stay keeps the mail of accounts that forward to an address in their mailboxes here.
func stay(r *auth.Route, a mail.Address) {
	for _, f := range r.Forwards {
		has := func(d auth.Destination) bool { return d.Account == f.From.Account }
		if f.To.Key() == a.Key() && !slices.ContainsFunc(r.Local, has) {
			r.Local = append(slices.Clone(r.Local), f.From)
		}
	}
	r.Forwards = slices.DeleteFunc(slices.Clone(r.Forwards), func(f auth.Forward) bool { return f.To.Key() == a.Key() })
}

// why is an entry of the suppression list in words.
func why(e limit.Entry) string {
	if e.Manual {
		return "the postmaster put it there"
	}
	said := e.Text
	if said == "" {
		said = strconv.Itoa(e.Code) + " " + e.Status
	}
	return "tried on " + e.Last.UTC().Format("2 January 2006") + ": " + said
}

// charge counts everything that goes on; done must be told how it ended. What waits for its time is resolved and counted when that has
// come (onward).
func (t *Transaction) charge(ctx context.Context) (done func(error), err error) {
	if !t.Envelope.Release.At.IsZero() {
		return func(error) {}, nil
	}
	var all []mail.Address
	for i := range t.To {
		all = append(all, t.To[i].forwards()...)
	}
	d := t.carrier.o.Limits.Forward(all...)
	if err := d.Take(ctx); err != nil {
		return nil, tooMuch(err)
	}
	return func(err error) {
		if err != nil {
			d.Return(ctx)
		}
	}, nil
}

// tooMuch is the refusal of a limit: temporary, because there is room again.
func tooMuch(err error) error {
	if err == nil {
		return nil
	}
	return smtp.Refuse(452, gosmtp.EnhancedCode{4, 7, 1}, "Too much: "+err.Error())
}

// onward is charge for a message out of the queue; ok is false when it must wait.
func (c *Carrier) onward(ctx context.Context, to []mail.Address) (later queue.Result, ok bool) {
	if err := c.o.Limits.Forward(to...).Take(ctx); err != nil {
		return queue.Result{Verdict: queue.Later, Code: 452, Status: "4.7.1", Text: "too much: " + err.Error()}, false
	}
	return queue.Result{}, true
}

// RefusedMail writes the story of a message that was refused at MAIL.
func (t *Transaction) RefusedMail(from mail.Address, err error) {
	t.Reset()
	t.Envelope.From = from
	t.Telling(t.carrier.o.Queue.NewID())
	t.Refused(err)
	t.Reset()
}
