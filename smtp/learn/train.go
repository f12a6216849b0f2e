package learn

import (
	"context"
	"errors"
	"io/fs"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// mostTrained is how many messages of a kind Train takes, the newest: older ones say little about the mail of today.
const mostTrained = 2000

// Trained is what Train found.
type Trained struct {
	Good, Junk int // messages
}

// Train teaches from what stands in the account's mailboxes: Junk as junk; as good what was read in INBOX, and what was filed elsewhere.
func (t *Teacher) Train(ctx context.Context, account mail.AccountID) (Trained, error) {
	boxes, err := t.o.Store.Mailboxes(ctx, account)
	if err != nil {
		return Trained{}, err
	}
	r := round{t: t, account: account}
	var out Trained
	var good, junk []store.Message
	for _, b := range boxes {
		const elsewhere = store.UseTrash | store.UseDrafts | store.UseSent
		if b.ID == 0 || b.Use&elsewhere != 0 {
			continue
		}
		rows, err := r.rows(ctx, b.ID, 0, mostTrained)
		if errors.Is(err, store.ErrNoMailbox) {
			continue
		}
		if err != nil {
			return out, err
		}
		for _, m := range rows {
			switch {
			case b.Use&store.UseJunk != 0 && m.Flags&store.NotJunk == 0:
				junk = append(junk, m)
			case b.Use&store.UseJunk != 0:
			case m.Flags&store.Junk == 0 && (b.Name != store.Inbox || m.Flags&(store.Seen|store.Answered|store.Flagged|store.NotJunk) != 0):
				good = append(good, m)
			}
		}
	}
	out.Good, err = t.trainAll(ctx, account, good, spam.Good)
	if err == nil {
		out.Junk, err = t.trainAll(ctx, account, junk, spam.Junk)
	}
	return out, err
}

// trainAll teaches the newest of the messages, and notes what is known of them now.
func (t *Teacher) trainAll(ctx context.Context, account mail.AccountID, all []store.Message, c spam.Class) (n int, err error) {
	slices.SortFunc(all, func(a, b store.Message) int { return a.Received.Compare(b.Received) })
	note := accepted
	if c == spam.Junk {
		note = theirs
	}
	for _, m := range all[max(0, len(all)-mostTrained):] {
		err := t.give(ctx, account, m, c)
		if errors.Is(err, store.ErrNoMessage) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, store.ErrDamaged) {
			continue
		}
		if err != nil {
			return n, err
		}
		n++
		now := t.o.Now()
		t.o.Side.Later(func(tx *kv.Tx) error {
			putState(tx, account, m.ID, note, now)
			return nil
		})
	}
	return n, t.o.Side.Flush(ctx)
}
