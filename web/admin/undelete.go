package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store"
)

// DeletedFilter says which of the deleted messages are meant; what is empty fits all.
type DeletedFilter struct {
	IDs     []uint64  `json:"ids,omitempty"`
	Mailbox string    `json:"mailbox,omitempty"` // it was in, and those below it
	Since   time.Time `json:"since,omitzero"`    // deleted since
	Subject string    `json:"subject,omitempty"` // a part of it, in any case
	From    string    `json:"from,omitempty"`    // a part of name or address, in any case
	Limit   int       `json:"limit,omitempty"`   // of a list: only the last ones
}

// Deleted is what can come back.
type Deleted struct {
	Total    int              `json:"total"` // that fit; Messages may be fewer
	Bytes    uint64           `json:"bytes"`
	Messages []DeletedMessage `json:"messages"`
}

// DeletedMessage is a message that was expunged and is still kept.
type DeletedMessage struct {
	ID      uint64    `json:"id"`
	Mailbox string    `json:"mailbox"` // it was in
	Subject string    `json:"subject"`
	From    string    `json:"from"`
	Date    time.Time `json:"date"` // it arrived
	Deleted time.Time `json:"deleted"`
	Size    uint32    `json:"size"`
}

// Undelete asks for messages to be put back.
type Undelete struct {
	DeletedFilter
	To string `json:"to,omitempty"` // the mailbox for all of them; empty: each goes where it was
}

// Undeleted is what was put back.
type Undeleted struct {
	Messages  int                `json:"messages"`
	Mailboxes []UndeletedMailbox `json:"mailboxes"`
}

// UndeletedMailbox is a mailbox that messages went into.
type UndeletedMailbox struct {
	Name     string `json:"name"`
	Messages int    `json:"messages"`
}

// undeleteStep is how many messages come back in one transaction.
const undeleteStep = 20_000

// Deleted lists what the account has deleted and the store still keeps, the last first.
func (h *House) Deleted(ctx context.Context, user string, f DeletedFilter) (Deleted, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Deleted{}, translate(user, err)
	}
	found := lastDeleted{limit: f.Limit}
	if err := h.gone(ctx, a.ID, f, func(g store.Gone) { found.add(g, true) }); err != nil {
		return Deleted{}, translate(user, err)
	}
	return h.showDeleted(ctx, &found), nil
}

// lastDeleted counts what was deleted, and keeps the last of it.
type lastDeleted struct {
	limit int // 0: all
	total int
	bytes uint64
	kept  []store.Gone // the last are behind; up to twice the limit
}

// add counts one, and keeps it where it is to be listed.
func (l *lastDeleted) add(g store.Gone, listed bool) {
	l.total++
	l.bytes += uint64(g.Size)
	if !listed {
		return
	}
	if l.kept = append(l.kept, g); l.limit > 0 && len(l.kept) >= 2*l.limit {
		l.kept = slices.Delete(l.kept, 0, len(l.kept)-l.limit)
	}
}

// showDeleted reads what a reader recognises the messages by; the last deleted comes first.
func (h *House) showDeleted(ctx context.Context, l *lastDeleted) Deleted {
	out := Deleted{Messages: []DeletedMessage{}, Total: l.total, Bytes: l.bytes}
	if l.limit > 0 && len(l.kept) > l.limit {
		l.kept = l.kept[len(l.kept)-l.limit:]
	}
	for _, g := range slices.Backward(l.kept) {
		env := h.envelope(ctx, g.Message)
		out.Messages = append(out.Messages, DeletedMessage{
			ID: g.Ref, Mailbox: g.Name, Subject: message.DecodeWords(env.Subject), From: people(env.From),
			Date: g.Received, Deleted: g.Expunged, Size: g.Size,
		})
	}
	return out
}

// Undelete puts back what fits. Many messages are several transactions; after an error, those that are back stay.
func (h *House) Undelete(ctx context.Context, user string, in Undelete) (Undeleted, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return Undeleted{}, translate(user, err)
	}
	var refs []uint64
	err = h.gone(ctx, a.ID, in.DeletedFilter, func(g store.Gone) { refs = append(refs, g.Ref) })
	if err != nil {
		return Undeleted{}, translate(user, err)
	}
	out := Undeleted{Mailboxes: []UndeletedMailbox{}}
	if len(refs) == 0 {
		return out, nil
	}
	err = h.noting(ctx, aboutAccount("undelete", a), func() (string, error) {
		for step := range slices.Chunk(refs, undeleteStep) {
			back, err := h.o.Store.Undelete(ctx, a.ID, step, in.To)
			if err != nil {
				return fmt.Sprintf("%d messages", out.Messages), undeleteError(user, out.Messages, err)
			}
			for _, b := range back {
				out.add(b.Mailbox, len(b.To))
			}
		}
		return fmt.Sprintf("%d messages", out.Messages), nil
	})
	if out.Messages > 0 {
		h.done(ctx, "undelete", user)
	}
	return out, translate(user, err)
}

func (u *Undeleted) add(mailbox string, n int) {
	u.Messages += n
	i := slices.IndexFunc(u.Mailboxes, func(m UndeletedMailbox) bool { return m.Name == mailbox })
	if i < 0 {
		i = len(u.Mailboxes)
		u.Mailboxes = append(u.Mailboxes, UndeletedMailbox{Name: mailbox})
	}
	u.Mailboxes[i].Messages += n
}

// undeleteError says what to do, and how far it came.
func undeleteError(user string, done int, err error) error {
	so := ""
	if done > 0 {
		so = fmt.Sprintf(" (%d messages are back already)", done)
	}
	switch {
	case errors.Is(err, store.ErrOverQuota):
		return &Error{Conflict, "the quota of " + user + " has no room for them" + so + ": raise it with posthouse account set, or put back fewer", err}
	case errors.Is(err, store.ErrNoMessage):
		return &Error{Unavailable, "some of the messages were put back or given up at the same time" + so + ": try again", err}
	case errors.Is(err, store.ErrBadName):
		return &Error{Invalid, strings.TrimPrefix(err.Error(), "store: "), err}
	}
	return translate(user, err)
}

// gone calls fn with what fits, oldest first.
func (h *House) gone(ctx context.Context, id mail.AccountID, f DeletedFilter, fn func(store.Gone)) error {
	ids := slices.Sorted(slices.Values(f.IDs))
	for page, err := range h.o.Store.Gone(ctx, id) {
		if err != nil {
			return err
		}
		for _, g := range page {
			if !f.fits(&g, ids) {
				continue
			}
			if f.Subject != "" || f.From != "" {
				e := h.envelope(ctx, g.Message)
				if !holds(message.DecodeWords(e.Subject), f.Subject) || !holds(people(e.From), f.From) {
					continue
				}
			}
			fn(g)
		}
	}
	return nil
}

// fits asks what can be told without the message's text.
func (f *DeletedFilter) fits(g *store.Gone, ids []uint64) bool {
	if len(ids) > 0 {
		if _, ok := slices.BinarySearch(ids, g.Ref); !ok {
			return false
		}
	}
	if f.Mailbox != "" && !strings.EqualFold(g.Name, f.Mailbox) && !holdsPrefix(g.Name, f.Mailbox+"/") {
		return false
	}
	return !g.Expunged.Before(f.Since)
}

func holdsPrefix(s, prefix string) bool {
	return len(s) >= len(prefix) && strings.EqualFold(s[:len(prefix)], prefix)
}

// holds reports whether part stands in s, in any case.
func holds(s, part string) bool {
	return strings.Contains(strings.ToLower(s), strings.ToLower(part))
}

// envelope reads the header's structure; a message that cannot be read has an empty one.
func (h *House) envelope(ctx context.Context, m store.Message) message.Envelope {
	b, err := h.o.Store.Open(ctx, m)
	if err != nil {
		return message.Envelope{}
	}
	defer b.Close()
	root, err := b.Root()
	if err != nil || root.Envelope == nil {
		return message.Envelope{}
	}
	return *root.Envelope
}

// people is addresses for people.
func people(list []message.Address) string {
	var all []string
	for _, a := range list {
		if a.Host == "" { // begin or end of a group
			continue
		}
		text := a.Mailbox + "@" + a.Host
		if name := message.DecodeWords(a.Name); name != "" {
			text = name + " <" + text + ">"
		}
		all = append(all, text)
	}
	return strings.Join(all, ", ")
}
