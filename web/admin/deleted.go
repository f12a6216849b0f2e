package admin

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// DeletedGroup is what was deleted from one mailbox on one day (UTC).
type DeletedGroup struct {
	Day      string `json:"day"` // 2026-11-22
	Mailbox  string `json:"mailbox"`
	Messages int    `json:"messages"`
	Bytes    uint64 `json:"bytes"`
}

// DeletedQuery asks for what was deleted from one mailbox on one day.
type DeletedQuery struct {
	Day     string `json:"day"`
	Mailbox string `json:"mailbox"`
	Below   uint64 `json:"below,omitempty"` // ids below it alone: the next page
	Limit   int    `json:"limit,omitempty"`
}

const dayForm = "2006-01-02"

// DeletedGroups lists what can come back by day and mailbox, the last day first. Texts are not read for it.
func (h *House) DeletedGroups(ctx context.Context, user string) ([]DeletedGroup, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return nil, translate(user, err)
	}
	type key struct{ day, mailbox string }
	all := map[key]*DeletedGroup{}
	err = h.gone(ctx, a.ID, DeletedFilter{}, func(g store.Gone) {
		k := key{g.Expunged.UTC().Format(dayForm), g.Name}
		if all[k] == nil {
			all[k] = &DeletedGroup{Day: k.day, Mailbox: k.mailbox}
		}
		all[k].Messages++
		all[k].Bytes += uint64(g.Size)
	})
	if err != nil {
		return nil, translate(user, err)
	}
	out := make([]DeletedGroup, 0, len(all))
	for _, g := range all {
		out = append(out, *g)
	}
	slices.SortFunc(out, func(a, b DeletedGroup) int {
		if a.Day != b.Day {
			return strings.Compare(b.Day, a.Day)
		}
		return strings.Compare(a.Mailbox, b.Mailbox)
	})
	return out, nil
}

// DeletedOf lists the messages of a group, the last first.
func (h *House) DeletedOf(ctx context.Context, user string, q DeletedQuery) (Deleted, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Deleted{}, translate(user, err)
	}
	found := lastDeleted{limit: q.Limit}
	if err := h.group(ctx, a.ID, q, func(g store.Gone) { found.add(g, q.Below == 0 || g.Ref < q.Below) }); err != nil {
		return Deleted{}, translate(user, err)
	}
	return h.showDeleted(ctx, &found), nil
}

// UndeleteGroup puts a whole group back where it was.
func (h *House) UndeleteGroup(ctx context.Context, user string, q DeletedQuery) (Undeleted, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Undeleted{}, translate(user, err)
	}
	var ids []uint64
	if err := h.group(ctx, a.ID, q, func(g store.Gone) { ids = append(ids, g.Ref) }); err != nil {
		return Undeleted{}, translate(user, err)
	}
	if len(ids) == 0 {
		return Undeleted{}, missing("Nothing of this can come back any more.")
	}
	return h.Undelete(ctx, user, Undelete{DeletedFilter: DeletedFilter{IDs: ids}})
}

// group calls fn with what belongs to a group, oldest first.
func (h *House) group(ctx context.Context, id mail.AccountID, q DeletedQuery, fn func(store.Gone)) error {
	day, err := time.Parse(dayForm, q.Day)
	if err != nil {
		return invalid("a day is written like 2026-11-22")
	}
	next := day.AddDate(0, 0, 1)
	return h.gone(ctx, id, DeletedFilter{Since: day}, func(g store.Gone) {
		if g.Name == q.Mailbox && g.Expunged.Before(next) {
			fn(g)
		}
	})
}
