package backup

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// Selection is what Into brings back of one account of the backup.
type Selection struct {
	From    mail.AccountID // in the backup
	To      mail.AccountID // in the living house; it is there
	Mailbox string         // empty: all
	Message string         // EMAILID or uid; empty: all
}

// Brought is what Into did.
type Brought struct {
	Mailboxes int `json:"mailboxes"` // made, because they were missing
	Messages  int `json:"messages"`  // brought back
	There     int `json:"there"`     // were there already, in the same mailbox
	Keywords  int `json:"keywords"`  // messages that lost keywords, because the mailbox has too many
}

const (
	intoMessages = 200
	intoBytes    = 8 << 20
)

// Into appends what the backup has of an account, and the living house has not, to the mailboxes of the same names. Nothing that is there
// is changed. A message is there when it has the same id, or the same text; flags, keywords and dates come with it. It may be run again.
func (r *Reader) Into(ctx context.Context, live *store.Store, sel Selection, progress func(Progress)) (Brought, error) {
	b := &bringer{r: r, live: live, sel: sel, progress: progress}
	if progress == nil {
		b.progress = func(Progress) {}
	}
	if err := r.Legible(); err != nil {
		return b.out, err
	}
	boxes, err := r.Store.Mailboxes(ctx, sel.From)
	if err != nil {
		return b.out, err
	}
	found := false
	for _, box := range boxes {
		if box.ID == 0 || sel.Mailbox != "" && box.Name != sel.Mailbox {
			continue
		}
		found = true
		if err := b.mailbox(ctx, box); err != nil {
			return b.out, fmt.Errorf("mailbox %s: %w", box.Name, err)
		}
	}
	if !found {
		return b.out, fmt.Errorf("%w: the account has no mailbox %s in it", ErrNone, sel.Mailbox)
	}
	if sel.Message != "" && b.picked == 0 {
		return b.out, fmt.Errorf("%w: there is no message %s in it", ErrNone, sel.Message)
	}
	return b.out, nil
}

// bringer is one Into.
type bringer struct {
	r        *Reader
	live     *store.Store
	sel      Selection
	progress func(Progress)
	out      Brought
	picked   int
	done     int64
}

// target is the living mailbox.
type target struct {
	id     store.MailboxID
	more   store.Flags // that its messages get
	ids    map[uint64]bool
	sizes  map[uint32][]store.Message
	sums   map[store.UID]string
	batch  []store.AppendMessage
	octets int64
}

func (b *bringer) mailbox(ctx context.Context, box store.Mailbox) error {
	var t *target
	names, err := b.r.Store.Keywords(ctx, box.ID)
	if err != nil {
		return err
	}
	for rows, err := range b.r.Store.Messages(ctx, box.ID, everything()) {
		if err != nil {
			return err
		}
		for _, m := range rows {
			if !b.picks(m) {
				continue
			}
			b.picked++
			if t == nil {
				if t, err = b.target(ctx, box); err != nil {
					return err
				}
			}
			if err := b.message(ctx, t, m, names); err != nil {
				return err
			}
		}
	}
	if t == nil && b.sel.Message == "" { // an empty mailbox comes back too
		_, err := b.target(ctx, box)
		return err
	}
	return b.flush(ctx, t)
}

// picks reports whether the message is asked for.
func (b *bringer) picks(m store.Message) bool {
	return b.sel.Message == "" || b.r.Names(m, b.sel.Message)
}

// Names reports whether text names the message: by its EMAILID or its uid.
func (r *Reader) Names(m store.Message, text string) bool {
	if letter, id, ok := r.Store.ParseObjectID(text); ok && letter == 'M' {
		return id == m.ID
	}
	return text == fmt.Sprint(m.UID)
}

// target finds the living mailbox, or makes it with the subscription it had. What stood in an Outbox waits for nothing any more, and in
// one it would look as if it did: it is a draft.
func (b *bringer) target(ctx context.Context, box store.Mailbox) (*target, error) {
	var more store.Flags
	is, err := b.live.Mailbox(ctx, b.sel.To, box.Name)
	if (box.Use|is.Use)&store.UseOutbox != 0 {
		more = store.Draft
		box.Name, box.Use, box.Subscribed = "Drafts", store.UseDrafts, true
		if is, err = b.live.Special(ctx, b.sel.To, store.UseDrafts); errors.Is(err, store.ErrNoMailbox) {
			is, err = b.live.Mailbox(ctx, b.sel.To, box.Name)
		}
	}
	if errors.Is(err, store.ErrNoMailbox) {
		is, err = b.live.CreateMailbox(ctx, b.sel.To, box.Name, box.Use)
		if errors.Is(err, store.ErrUseTaken) {
			is, err = b.live.CreateMailbox(ctx, b.sel.To, box.Name, 0)
		}
		if err == nil {
			b.out.Mailboxes++
			if box.Subscribed {
				err = b.live.Subscribe(ctx, b.sel.To, box.Name, true)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	t := &target{id: is.ID, more: more, ids: map[uint64]bool{}, sizes: map[uint32][]store.Message{}, sums: map[store.UID]string{}}
	same := b.live.ObjectID('M', 1) == b.r.Store.ObjectID('M', 1) // ids mean the same in both
	if _, err := b.live.State(ctx, is.ID); err != nil {           // settled
		return nil, err
	}
	for rows, err := range b.live.Messages(ctx, is.ID, everything()) {
		if err != nil {
			return nil, err
		}
		for _, m := range rows {
			if same {
				t.ids[m.ID] = true
			}
			t.sizes[m.Size] = append(t.sizes[m.Size], m)
		}
	}
	return t, nil
}

func (b *bringer) message(ctx context.Context, t *target, m store.Message, names []string) error {
	there, err := b.there(ctx, t, m)
	if err != nil {
		return err
	}
	if b.done += int64(m.Size); there {
		b.out.There++
		return nil
	}
	a, err := b.arrival(ctx, m)
	if err != nil {
		return fmt.Errorf("message %d of the backup: %w", m.UID, err)
	}
	t.batch = append(t.batch, store.AppendMessage{
		Arrival: a, Flags: m.Flags&systemFlags | t.more, Keywords: keywords(m.Flags, names), Received: m.Received,
	})
	if t.octets += int64(m.Size); len(t.batch) >= intoMessages || t.octets >= intoBytes {
		return b.flush(ctx, t)
	}
	return nil
}

// there looks for the same message in the living mailbox.
func (b *bringer) there(ctx context.Context, t *target, m store.Message) (bool, error) {
	if t.ids[m.ID] {
		return true, nil
	}
	same := t.sizes[m.Size]
	if len(same) == 0 {
		return false, nil
	}
	want, err := textSum(ctx, b.r.Store, m)
	if err != nil {
		return false, fmt.Errorf("message %d of the backup: %w", m.UID, err)
	}
	for _, is := range same {
		sum, ok := t.sums[is.UID]
		if !ok {
			if sum, err = textSum(ctx, b.live, is); err != nil {
				continue // gone meanwhile, or damaged: then the one of the backup is welcome
			}
			t.sums[is.UID] = sum
		}
		if sum == want {
			return true, nil
		}
	}
	return false, nil
}

// arrival reads the message of the backup in.
func (b *bringer) arrival(ctx context.Context, m store.Message) (_ *store.Arrival, err error) {
	src, err := b.r.Store.Open(ctx, m)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	w, err := b.live.NewMessage(ctx, src.Size())
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, io.NewSectionReader(src, 0, src.Size()), make([]byte, 64<<10)); err != nil {
		w.Discard()
		return nil, err
	}
	return w.Finish()
}

// flush appends what was gathered, in one transaction.
func (b *bringer) flush(ctx context.Context, t *target) error {
	if t == nil || len(t.batch) == 0 {
		return nil
	}
	_, uids, err := b.live.Append(ctx, t.id, t.batch)
	t.batch, t.octets = nil, 0
	if err != nil {
		return err
	}
	b.out.Messages += len(uids)
	b.progress(Progress{Stage: "restore", Done: b.done})
	return nil
}

// Message opens the text of one message of the backup: for show.
func (r *Reader) Message(ctx context.Context, account mail.AccountID, mailbox, name string) (*store.Body, error) {
	boxes, err := r.Store.Mailboxes(ctx, account)
	if err != nil {
		return nil, err
	}
	for _, box := range boxes {
		if box.ID == 0 || mailbox != "" && box.Name != mailbox {
			continue
		}
		for rows, err := range r.Store.Messages(ctx, box.ID, everything()) {
			if err != nil {
				return nil, err
			}
			for _, m := range rows {
				if r.Names(m, name) {
					return r.Store.Open(ctx, m)
				}
			}
		}
	}
	return nil, fmt.Errorf("%w: no message %s there", ErrNone, name)
}

const (
	systemFlags  = store.Seen | store.Answered | store.Flagged | store.Deleted | store.Draft | store.Forwarded | store.Junk | store.NotJunk
	firstKeyword = 8 // bit of the mailbox's first own keyword
)

// keywords names the flags beyond the system's.
func keywords(f store.Flags, names []string) []string {
	var out []string
	for i, name := range names {
		if f&(1<<(firstKeyword+i)) != 0 {
			out = append(out, name)
		}
	}
	return out
}
