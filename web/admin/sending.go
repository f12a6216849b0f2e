package admin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/hook"
)

// Limits is what counts and bounds what is sent.
type Limits struct {
	Book       *limit.Book // nil: nothing is counted
	Suppressed *limit.List
}

// Sending is what an account or the accounts of a domain have sent, and may send.
type Sending struct {
	Account string      `json:"account,omitempty"`
	Domain  string      `json:"domain,omitempty"`
	Off     string      `json:"off,omitempty"` // why the account may send nothing
	Since   time.Time   `json:"off_since,omitzero"`
	Limits  []SendLimit `json:"limits"`
	Refused int64       `json:"refused_day"` // messages and recipients refused for a limit within 24 hours
}

// SendLimit is one limit.
type SendLimit struct {
	Name string `json:"name"`
	Used int64  `json:"used"`
	Most int64  `json:"most"`          // 0: no limit
	Own  bool   `json:"own,omitempty"` // set for it alone
}

// Values of a SendChange beside a number.
const (
	LimitDefault int64 = 0  // as the settings say
	LimitNone    int64 = -1 // none
)

// SendChange sets limits by name; those that it does not name stay.
type SendChange map[string]int64

// limitNames are the limits in the order in which they are shown.
func limitNames() []string {
	return []string{"messages_per_hour", "messages_per_day", "recipients_per_hour", "recipients_per_day", "new_recipients_per_day"}
}

// limitOf is where a limit stands.
func limitOf(l *auth.SendLimits, name string) *int64 {
	return map[string]*int64{
		"messages_per_hour": &l.MessagesHour, "messages_per_day": &l.MessagesDay, "recipients_per_hour": &l.RecipientsHour,
		"recipients_per_day": &l.RecipientsDay, "new_recipients_per_day": &l.NewDay,
	}[name]
}

func (c SendChange) apply(l *auth.SendLimits) error {
	for name, n := range c {
		at := limitOf(l, name)
		if at == nil {
			return invalid(fmt.Sprintf("%q is no limit: write %s", name, strings.Join(limitNames(), ", ")))
		}
		if n < LimitNone || n > 1<<40 {
			return invalid(name + ": out of bounds")
		}
		*at = n
	}
	return nil
}

// sending fills in what is used and what holds.
func sending(out Sending, used limit.Usage, own auth.SendLimits, house limit.Limits) Sending {
	most := auth.SendLimits(house.Over(limit.Limits(own)))
	counts := auth.SendLimits{MessagesHour: used.MessagesHour, MessagesDay: used.MessagesDay, RecipientsHour: used.RecipientsHour, RecipientsDay: used.RecipientsDay, NewDay: used.NewDay}
	for _, name := range limitNames() {
		out.Limits = append(out.Limits, SendLimit{Name: name, Used: *limitOf(&counts, name), Most: *limitOf(&most, name), Own: *limitOf(&own, name) != 0})
	}
	out.Refused = used.RefusedDay
	return out
}

// AccountLimits shows what an account has sent and may send.
func (h *House) AccountLimits(ctx context.Context, user string) (Sending, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Sending{}, translate(user, err)
	}
	set, err := h.o.Directory.Settings(ctx, a.ID)
	if err != nil {
		return Sending{}, translate(user, err)
	}
	b := h.o.Limits.Book
	return sending(Sending{Account: a.Addresses[0].String(), Off: set.SendOff, Since: since(set)}, b.Account(ctx, a.ID), set.Limits, b.Settings().Account), nil
}

func since(set auth.AccountSettings) time.Time {
	if set.SendOff == "" {
		return time.Time{}
	}
	return time.Unix(set.SendOffSince, 0).UTC()
}

// SetAccountLimits sets limits for one account; they hold for the next message.
func (h *House) SetAccountLimits(ctx context.Context, user string, c SendChange) (Sending, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Sending{}, translate(user, err)
	}
	err = h.change(ctx, &alteration{verb: "account limits", on: h.anAccount(a.ID, a.Addresses[0].String()), do: func(tx *kv.Tx) error {
		return h.o.Directory.Configure(tx, a.ID, func(s *auth.AccountSettings) error { return c.apply(&s.Limits) })
	}})
	if err != nil {
		return Sending{}, translate(user, err)
	}
	h.done(ctx, "account limits", user)
	return h.AccountLimits(ctx, user)
}

// DomainLimits shows what all accounts of a domain may send together. What they have sent is counted while a limit is set.
func (h *House) DomainLimits(ctx context.Context, name string) (Sending, error) {
	d, of, err := h.localDomain(ctx, name)
	if err != nil {
		return Sending{}, err
	}
	if of != "" {
		return Sending{}, conflict(name + " is an alias of " + string(of) + ": its accounts are there, and so are their limits")
	}
	set, err := h.o.Directory.DomainSettings(ctx, d)
	if err != nil {
		return Sending{}, translate(name, err)
	}
	return sending(Sending{Domain: d.String()}, h.o.Limits.Book.Domain(ctx, d), set.Limits, limit.Limits{}), nil
}

// SetDomainLimits sets limits for all accounts of a domain together.
func (h *House) SetDomainLimits(ctx context.Context, name string, c SendChange) (Sending, error) {
	if _, err := h.DomainLimits(ctx, name); err != nil {
		return Sending{}, err
	}
	d, err := domain(name)
	if err != nil {
		return Sending{}, err
	}
	err = h.change(ctx, &alteration{verb: "domain limits", on: h.aDomain(d), do: func(tx *kv.Tx) error {
		return h.o.Directory.ConfigureDomain(tx, d, func(s *auth.DomainSettings) error { return c.apply(&s.Limits) })
	}})
	if err != nil {
		return Sending{}, translate(name, err)
	}
	h.done(ctx, "domain limits", name)
	return h.DomainLimits(ctx, name)
}

// SendSwitch says whether an account may send.
type SendSwitch struct {
	On     bool   `json:"on"`
	Reason string `json:"reason,omitempty"` // why not; its user reads it
}

// maxReason bounds it.
const maxReason = 300

// SetSending keeps an account from sending, or lets it send again. Who lets it has looked at it: for a day nothing of it looks stolen.
func (h *House) SetSending(ctx context.Context, user string, s SendSwitch) (Sending, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Sending{}, translate(user, err)
	}
	reason := strings.Join(strings.Fields(s.Reason), " ")
	switch {
	case s.On:
		reason = ""
	case reason == "":
		reason = "the postmaster has switched it off"
	case len(reason) > maxReason:
		return Sending{}, invalid(fmt.Sprintf("the reason has more than %d octets", maxReason))
	}
	if err := h.Suspend(ctx, a.ID, reason); err != nil {
		return Sending{}, translate(user, err)
	}
	word := "off"
	if s.On {
		h.o.Limits.Book.Trust(ctx, a.ID)
		word = "on"
	}
	h.done(ctx, "account send "+word, user)
	return h.AccountLimits(ctx, user)
}

// Suspend keeps an account from sending for a reason; empty: it may send again. What waits in its Outbox is held, and stays so until
// somebody has looked at it: whoever had the password may have put it there.
func (h *House) Suspend(ctx context.Context, id mail.AccountID, reason string) error {
	a, err := h.o.Directory.Account(ctx, id)
	if err != nil {
		return err
	}
	verb := "account send off"
	if reason == "" {
		verb = "account send on"
	}
	err = h.change(ctx, &alteration{verb: verb, on: h.anAccount(id, a.Addresses[0].String()), do: func(tx *kv.Tx) error {
		return h.o.Directory.Configure(tx, id, func(s *auth.AccountSettings) error {
			s.SendOff, s.SendOffSince = reason, 0
			if reason != "" {
				s.SendOffSince = time.Now().Unix()
			}
			return nil
		})
	}})
	if err != nil || reason == "" {
		return err
	}
	h.o.Hooks.Tell(hook.Event{Type: hook.Suspended, Data: hook.Data{Account: a.Addresses[0].String(), Text: reason}})
	_, err = h.o.Queue.Hold(ctx, queue.Filter{Outbox: id})
	return err
}

// SendingOff lists the accounts that may not send.
func (h *House) SendingOff(ctx context.Context) ([]string, error) {
	list, err := h.o.Directory.Accounts(ctx)
	if err != nil {
		return nil, translate("accounts", err)
	}
	var out []string
	for _, a := range list {
		if set, err := h.o.Directory.Settings(ctx, a.ID); err == nil && set.SendOff != "" {
			out = append(out, a.Addresses[0].String())
		}
	}
	return out, nil
}
