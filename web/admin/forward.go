package admin

import (
	"context"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// Forwarding is where an account's mail goes on to; with Keep a copy stays. No addresses: nowhere.
type Forwarding struct {
	To   []string `json:"to"`
	Keep bool     `json:"keep,omitempty"`
	If   string   `json:"if,omitempty"` // the Account.Version that is changed; another one by now: a Conflict (ErrChanged)
}

// Forwarding shows where an account's mail goes on to.
func (h *House) Forwarding(ctx context.Context, user string) (Forwarding, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Forwarding{}, translate(user, err)
	}
	return Forwarding{To: texts(a.Settings.Forward), Keep: a.Settings.Keep}, nil
}

// SetForwarding changes it.
func (h *House) SetForwarding(ctx context.Context, user string, f Forwarding) (Forwarding, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Forwarding{}, translate(user, err)
	}
	to, err := addresses(f.To)
	if err != nil {
		return Forwarding{}, err
	}
	err = h.change(ctx, &alteration{verb: "account forward", on: h.anAccount(a.ID, a.Addresses[0].String()), seen: f.If, do: func(tx *kv.Tx) error {
		return h.o.Directory.SetForward(tx, a.ID, to, f.Keep)
	}})
	if err != nil {
		return Forwarding{}, translate(user, err)
	}
	h.done(ctx, "account forward", user)
	return h.Forwarding(ctx, user)
}
