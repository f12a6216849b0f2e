package admin

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dialogue"
)

// DialogueFilter says whose connections are written down, from when they begin: an account's, or a client's, or both at once.
type DialogueFilter struct {
	Account string        `json:"account,omitempty"`
	Address string        `json:"address,omitempty"`
	Bodies  bool          `json:"bodies,omitempty"` // messages too
	For     time.Duration `json:"for"`
}

// maxDialogue is how long one may look at most: who forgets it does not look for ever.
const maxDialogue = 24 * time.Hour

// SetDialogues names who lends ears to connections; before any verb is used.
func (h *House) SetDialogues(hub *dialogue.Hub) { h.talks = hub }

// Dialogues begins to write down what is said on connections, secrets hidden; the caller closes it after f.For.
func (h *House) Dialogues(ctx context.Context, f DialogueFilter) (*dialogue.Trace, error) {
	if h.talks == nil {
		return nil, &Error{Class: Unavailable, Message: "no house runs here that has connections"}
	}
	if f.Account == "" && f.Address == "" {
		return nil, invalid("say whose connections: those of an account, or from an address of a client")
	}
	if f.For <= 0 || f.For > maxDialogue {
		return nil, invalid("say for how long: more than nothing, at most 24h")
	}
	w := dialogue.Want{Bodies: f.Bodies}
	var err error
	if f.Address != "" {
		if w.Address, err = netip.ParseAddr(f.Address); err != nil {
			return nil, invalid(f.Address + " is no address of a client: write it like 192.0.2.7 or 2001:db8::7")
		}
	}
	if f.Account != "" {
		a, err := h.Account(ctx, f.Account)
		if err != nil {
			return nil, err
		}
		w.Account = a.ID
	}
	if err := h.noted(ctx, "trace protocol", strings.TrimSpace(f.Account+" "+f.Address), "for "+f.For.String()); err != nil {
		return nil, translate("trace", err)
	}
	h.done(ctx, "trace protocol", strings.TrimSpace(f.Account+" "+f.Address)+" for "+f.For.String())
	return h.talks.Begin(w), nil
}
