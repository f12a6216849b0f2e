package admin

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/posthouse-mail/posthouse/store"
)

// Space is what takes how much of an account.
type Space struct {
	Usage     Amount         `json:"usage"`
	Quota     Amount         `json:"quota"` // 0: no limit
	Mailboxes []SpaceMailbox `json:"mailboxes"`
}

// SpaceMailbox is one mailbox in numbers.
type SpaceMailbox struct {
	Name   string `json:"name"`
	Unseen uint64 `json:"unseen"`
	Amount
}

// Space lists an account's mailboxes by what they take, the largest first.
func (h *House) Space(ctx context.Context, user string) (Space, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Space{}, translate(user, err)
	}
	u, err := h.o.Store.Usage(ctx, a.ID)
	if err != nil {
		return Space{}, translate(user, err)
	}
	out := Space{Usage: Amount{u.Bytes, u.Messages}, Quota: Amount{u.Limit.Bytes, u.Limit.Messages}, Mailboxes: []SpaceMailbox{}}
	boxes, err := h.o.Store.Mailboxes(ctx, a.ID)
	if err != nil {
		return Space{}, translate(user, err)
	}
	for _, b := range boxes {
		if b.ID == 0 {
			continue
		}
		st, err := h.o.Store.State(ctx, b.ID)
		if errors.Is(err, store.ErrNoMailbox) { // deleted meanwhile
			continue
		}
		if err != nil {
			return Space{}, translate(user, err)
		}
		out.Mailboxes = append(out.Mailboxes, SpaceMailbox{Name: b.Name, Unseen: uint64(st.Unseen), Amount: Amount{st.Bytes, uint64(st.Exists)}})
	}
	slices.SortStableFunc(out.Mailboxes, func(a, b SpaceMailbox) int { return cmp.Compare(b.Bytes, a.Bytes) })
	return out, nil
}
