package importer

import (
	"context"
	"errors"
	"io"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// Give writes an account's mailboxes, or one of them, as a stream of frames: each mailbox, then its messages in the order of
// their uids. A message that cannot be read is given up in the stream, and the others follow.
func Give(ctx context.Context, s *store.Store, account mail.AccountID, mailbox string, w io.Writer) error {
	f := NewFrameWriter(w)
	err := walk(ctx, s, from{account, mailbox}, func(h *Head, text io.Reader) error {
		_, _, err := f.Write(h, text)
		return err
	})
	if err != nil {
		return err
	}
	return f.Close()
}

// from is what is given: an account's mailboxes, or the one that is named.
type from struct {
	account mail.AccountID
	mailbox string
}

// sink takes a mailbox (text is nil), or a message of the one before.
type sink func(h *Head, text io.Reader) error

// walk hands everything to to.
func walk(ctx context.Context, s *store.Store, of from, to sink) error {
	boxes, err := s.Mailboxes(ctx, of.account)
	if err != nil {
		return err
	}
	found := false
	for _, b := range boxes {
		if b.ID == 0 || of.mailbox != "" && !strings.EqualFold(b.Name, of.mailbox) {
			continue
		}
		found = true
		if err := give(ctx, s, b, to); err != nil && !errors.Is(err, store.ErrNoMailbox) { // deleted meanwhile
			return err
		}
	}
	if of.mailbox != "" && !found {
		return store.ErrNoMailbox
	}
	return nil
}

func give(ctx context.Context, s *store.Store, b store.Mailbox, to sink) error {
	st, err := s.State(ctx, b.ID)
	if err != nil {
		return err
	}
	names, err := s.Keywords(ctx, b.ID)
	if err != nil {
		return err
	}
	runs, err := s.UIDs(ctx, b.ID)
	if err != nil {
		return err
	}
	head := Head{Folder: &FolderFrame{
		Name: b.Name, UIDValidity: st.UIDValidity, UIDNext: st.UIDNext, Subscribed: b.Subscribed, Keywords: names, Messages: int64(st.Exists),
	}}
	if err := to(&head, nil); err != nil {
		return err
	}
	for rows, err := range s.Messages(ctx, b.ID, runs) {
		if err != nil {
			return err
		}
		uidls := make([]string, len(rows))
		if b.Name == store.Inbox { // of what POP3 shows
			if uidls, err = s.UIDLs(ctx, b.ID, rows); err != nil {
				return err
			}
		}
		for i, m := range rows {
			h := messageHead(&m, names)
			h.UIDL = uidls[i]
			if err := giveText(ctx, s, m, h, to); err != nil {
				return err
			}
		}
	}
	return nil
}

func messageHead(m *store.Message, names []string) *Head {
	h := &Head{UID: m.UID, Flags: m.Flags & wellKnown, Received: m.Received.Unix(), Size: int64(m.Size)}
	for i, n := range names {
		if m.Flags&(1<<(8+i)) != 0 {
			h.Keywords = append(h.Keywords, n)
		}
	}
	return h
}

func giveText(ctx context.Context, s *store.Store, m store.Message, h *Head, to sink) error {
	body, err := s.Open(ctx, m)
	if err != nil {
		return to(h, unreadable{err})
	}
	err = to(h, io.NewSectionReader(body, 0, body.Size()))
	return errors.Join(err, body.Close())
}

// unreadable is the text of a message that cannot be opened.
type unreadable struct{ err error }

func (u unreadable) Read([]byte) (int, error) { return 0, u.err }
