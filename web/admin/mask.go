package admin

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Mask is a masked address of an account.
type Mask struct {
	Address string     `json:"address"`
	On      bool       `json:"on"`
	Note    string     `json:"note,omitempty"`
	Created time.Time  `json:"created"`
	Changed time.Time  `json:"changed"` // when it was switched last
	Used    uint64     `json:"used,omitempty"`
	Last    *time.Time `json:"last_used,omitempty"`
}

// NewMask is what a masked address is made of: a domain where the account has an address (empty: that of its main one), and what it is for.
type NewMask struct {
	Domain string `json:"domain,omitempty"`
	Note   string `json:"note,omitempty"`
}

// MaskChange switches a mask (on, off), removes it for ever (remove), or changes its note (Note; State empty).
type MaskChange struct {
	Address string  `json:"address"`
	State   string  `json:"state,omitempty"`
	Note    *string `json:"note,omitempty"`
}

// AddMask makes a masked address for an account. These three are the user's own: a page calls them with the account that is logged in.
func (h *House) AddMask(ctx context.Context, user string, in NewMask) (Mask, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Mask{}, translate(user, err)
	}
	var d mail.Domain
	if in.Domain != "" {
		if d, err = domain(in.Domain); err != nil {
			return Mask{}, err
		}
	}
	var m auth.Mask
	c := &alteration{verb: "mask new", on: subject{kind: OfMask, account: a.ID}}
	c.do = func(tx *kv.Tx) (err error) {
		m, err = h.o.Directory.NewMask(tx, a.ID, d, in.Note)
		c.on.object, c.note = a.Addresses[0].String()+" "+m.Address.String(), "made"
		return err
	}
	err = h.change(ctx, c)
	if err != nil {
		return Mask{}, translate(user, err)
	}
	h.done(ctx, "mask new", user)
	return showMask(m, auth.MaskUse{}), nil
}

// Masks lists an account's masks that are not removed, newest first.
func (h *House) Masks(ctx context.Context, user string) ([]Mask, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return nil, translate(user, err)
	}
	all, err := h.o.Directory.Masks(ctx, a.ID)
	if err != nil {
		return nil, translate(user, err)
	}
	uses, err := h.o.Masks.Uses(ctx, all)
	if err != nil {
		return nil, translate(user, err)
	}
	out := make([]Mask, 0, len(all))
	for _, m := range all {
		out = append(out, showMask(m, uses[m.Address]))
	}
	return out, nil
}

// SetMask changes one of the account's own masks.
func (h *House) SetMask(ctx context.Context, user string, c MaskChange) (Mask, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Mask{}, translate(user, err)
	}
	addr, err := address(c.Address)
	if err != nil {
		return Mask{}, err
	}
	state, known := map[string]auth.MaskState{"on": auth.MaskOn, "off": auth.MaskOff, "remove": auth.MaskRemoved}[c.State]
	if !known && c.State != "" {
		return Mask{}, invalid(fmt.Sprintf("%q is no state of a masked address: write on, off or remove", c.State))
	}
	if !known {
		if state, err = h.stateOf(ctx, a.ID, addr); err != nil {
			return Mask{}, translate(c.Address, err)
		}
	}
	var m auth.Mask
	err = h.change(ctx, &alteration{verb: strings.TrimSpace("mask " + c.State), on: h.aMask(a, addr), do: func(tx *kv.Tx) (err error) {
		m, err = h.o.Directory.SetMask(tx, a.ID, addr, state, c.Note)
		return err
	}})
	if err != nil {
		return Mask{}, translate(c.Address, err)
	}
	if state == auth.MaskRemoved {
		h.o.Masks.Forget(m.Address)
	}
	h.done(ctx, "mask "+c.State, m.Address.String())
	uses, err := h.o.Masks.Uses(ctx, []auth.Mask{m})
	return showMask(m, uses[m.Address]), translate(user, err)
}

func (h *House) stateOf(ctx context.Context, id mail.AccountID, a mail.Address) (auth.MaskState, error) {
	all, err := h.o.Directory.Masks(ctx, id)
	for _, m := range all {
		if m.Address.Key() == a.Key() {
			return m.State, err
		}
	}
	return auth.MaskOn, err
}

func showMask(m auth.Mask, u auth.MaskUse) Mask {
	out := Mask{Address: m.Address.String(), On: m.State == auth.MaskOn, Note: m.Note, Created: m.Created, Changed: m.Changed, Used: u.Count}
	if u.Count > 0 {
		out.Last = &u.Last
	}
	return out
}
