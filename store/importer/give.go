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
	boxes, err := s.Mailboxes(ctx, account)
	if err != nil {
		return err
	}
	found := false
	for _, b := range boxes {
		if b.ID == 0 || mailbox != "" && !strings.EqualFold(b.Name, mailbox) {
			continue
		}
		found = true
		if err := give(ctx, s, b, f); err != nil && !errors.Is(err, store.ErrNoMailbox) { // deleted meanwhile
			return err
		}
	}
	if mailbox != "" && !found {
		return store.ErrNoMailbox
	}
	return f.Close()
}

func give(ctx context.Context, s *store.Store, b store.Mailbox, f *FrameWriter) error {
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
	if _, _, err := f.Write(&head, nil); err != nil {
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
			if err := giveText(ctx, s, m, h, f); err != nil {
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

func giveText(ctx context.Context, s *store.Store, m store.Message, h *Head, f *FrameWriter) error {
	body, err := s.Open(ctx, m)
	if err != nil {
		_, _, err = f.Write(h, unreadable{err})
		return err
	}
	_, _, err = f.Write(h, io.NewSectionReader(body, 0, body.Size()))
	return errors.Join(err, body.Close())
}

// unreadable is the text of a message that cannot be opened.
type unreadable struct{ err error }

func (u unreadable) Read([]byte) (int, error) { return 0, u.err }
