package admin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/limit"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Suppression is an entry of the suppression list.
type Suppression = limit.Entry

// Suppress puts an address outside on the suppression list.
type Suppress struct {
	Address string `json:"address"`
	Days    int    `json:"days,omitempty"` // for so many; 0: for ever
	Note    string `json:"note,omitempty"`
}

// Suppressions lists the addresses outside that are not tried now; with watched also those that are not suppressed yet or any more.
func (h *House) Suppressions(ctx context.Context, watched bool) ([]Suppression, error) {
	all, err := h.o.Limits.Suppressed.All(ctx, watched)
	if err != nil {
		return nil, translate("suppression list", err)
	}
	for i := range all {
		all[i] = all[i].Shown()
	}
	return append([]Suppression{}, all...), nil
}

// SuppressionFilter says which part of the list is wanted.
type SuppressionFilter struct {
	Text  string `json:"text,omitempty"`  // a part of the address
	After string `json:"after,omitempty"` // SuppressionPage.Next of the page before
	Size  int    `json:"size,omitempty"`  // of a page; 50
}

// SuppressionPage is a part of it, by address.
type SuppressionPage struct {
	All  []Suppression `json:"all"`
	Next string        `json:"next,omitempty"` // empty: this is the last
}

// FindSuppressions shows one page of the addresses that are not tried now.
func (h *House) FindSuppressions(ctx context.Context, f SuppressionFilter) (SuppressionPage, error) {
	if f.Size == 0 {
		f.Size = 50
	}
	if f.Size < 0 || f.Size > 500 {
		return SuppressionPage{}, invalid("pages have 1 to 500 entries")
	}
	all, next, err := h.o.Limits.Suppressed.Part(ctx, strings.ToLower(strings.TrimSpace(f.Text)), f.After, f.Size)
	for i := range all {
		all[i] = all[i].Shown()
	}
	return SuppressionPage{append([]Suppression{}, all...), next}, translate("suppression list", err)
}

// AddSuppression puts an address on it by hand: nobody here can write to it.
func (h *House) AddSuppression(ctx context.Context, in Suppress) (Suppression, error) {
	a, err := address(in.Address)
	if err != nil {
		return Suppression{}, err
	}
	ours, err := h.o.Directory.IsLocal(ctx, a.Domain)
	switch {
	case err != nil:
		return Suppression{}, translate(in.Address, err)
	case ours || a.Domain == "":
		return Suppression{}, conflict(in.Address + " is in a domain of this house: the list is for addresses outside")
	case in.Days < 0 || in.Days > 36_500:
		return Suppression{}, invalid("write for how many days, or 0 for ever")
	}
	var e Suppression
	how := "for ever"
	if in.Days > 0 {
		how = fmt.Sprintf("for %d days", in.Days)
	}
	err = h.change(ctx, &alteration{verb: "suppression add", on: subject{kind: OfOther, object: a.String()}, note: how, do: func(tx *kv.Tx) (err error) {
		e, err = h.o.Limits.Suppressed.Put(tx, a, time.Duration(in.Days)*24*time.Hour, in.Note)
		return err
	}})
	if err != nil {
		return Suppression{}, translate(in.Address, err)
	}
	h.done(ctx, "suppression add", a.String())
	return e.Shown(), nil
}

// RemoveSuppression takes an address off; the next message to it is tried.
func (h *House) RemoveSuppression(ctx context.Context, addr string) error {
	a, err := address(addr)
	if err != nil {
		return err
	}
	err = h.change(ctx, &alteration{verb: "suppression remove", on: subject{kind: OfOther, object: a.String()}, note: "removed", do: func(tx *kv.Tx) error {
		if !h.o.Limits.Suppressed.Take(tx, a) {
			return missing(addr + " is not on the suppression list")
		}
		return nil
	}})
	if err != nil {
		return translate(addr, err)
	}
	h.done(ctx, "suppression remove", a.String())
	return nil
}

// forgetSender is the suppression list's part when an account goes.
func (h *House) forgetSender(tx *kv.Tx, addresses []mail.Address) error {
	return h.o.Limits.Suppressed.ForgetSender(tx, addresses)
}

// forgetCounts forgets what an account that is gone has sent.
func (h *House) forgetCounts(ctx context.Context, id mail.AccountID) {
	if err := h.o.Limits.Book.Forget(ctx, id); err != nil {
		h.done(ctx, "account remove", "what it has sent is forgotten later: "+err.Error())
	}
}

// withSuppressed adds what is wrong with the suppression list.
func (h *House) withSuppressed(ctx context.Context, out []Finding) ([]Finding, error) {
	if h.o.Limits.Suppressed == nil {
		return out, nil
	}
	problems, err := h.o.Limits.Suppressed.Check(ctx)
	for _, text := range problems {
		out = append(out, Finding{Problem: text, Advice: "the address is not suppressed; posthouse suppression remove takes the row away"})
	}
	return out, err
}
