package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// A batch is one commit: large enough that its syncs do not count, small enough that two of them are little memory.
const (
	batchMessages = 512
	batchOctets   = 2 << 20
)

// Take stores a stream of frames in an account's mailboxes. While one batch is committed the next one is read. After an error
// everything before it is stored, as Taken says.
func Take(ctx context.Context, s *store.Store, account mail.AccountID, r io.Reader) (Taken, error) {
	t := &taker{s: s, account: account, boxes: map[uint32]*takenBox{}, batches: make(chan []takenMessage), done: make(chan error, 1)}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		err := t.commitAll(ctx)
		if err != nil {
			cancel(err)
		}
		t.done <- err
	}()
	readErr := t.readAll(ctx, NewFrameReader(r))
	discard(t.batch)
	close(t.batches)
	if err := <-t.done; err != nil {
		readErr = err
	}
	if errors.Is(readErr, store.ErrOverQuota) {
		u, err := s.Usage(context.WithoutCancel(ctx), account)
		if err != nil {
			return t.taken, err
		}
		t.taken.OverQuota = &Needs{Bytes: free(u.Bytes, u.Limit.Bytes), Messages: free(u.Messages, u.Limit.Messages)}
		return t.taken, nil
	}
	return t.taken, readErr
}

// free is what is left of a limit; 0 is no limit.
func free(used, limit uint64) uint64 {
	if limit == 0 {
		return math.MaxUint64
	}
	return max(limit, used) - used
}

// takenMessage is a message with its mailbox.
type takenMessage struct {
	store.ImportMessage
	box    *takenBox
	reflag bool
}

// takenBox is a mailbox that messages go to.
type takenBox struct {
	id       store.MailboxID
	keywords map[string]bool // lower case; those that it has or will have
}

type taker struct {
	s       *store.Store
	account mail.AccountID
	boxes   map[uint32]*takenBox // the reader's
	batch   []takenMessage       // the reader's
	octets  int64
	tooBig  int64
	lost    int64 // keywords

	batches chan []takenMessage
	done    chan error
	taken   Taken // the committer's, until it is done
}

// readAll makes batches of the stream.
func (t *taker) readAll(ctx context.Context, f *FrameReader) error {
	buf := make([]byte, 32<<10)
	for {
		h, err := f.Next()
		if errors.Is(err, io.EOF) {
			return t.flush(ctx)
		}
		if err != nil {
			return err
		}
		if err := t.message(ctx, h, f, buf); err != nil {
			return err
		}
		if len(t.batch) >= batchMessages || t.octets >= batchOctets {
			if err := t.flush(ctx); err != nil {
				return err
			}
		}
	}
}

func (t *taker) message(ctx context.Context, h *Head, f *FrameReader, buf []byte) error {
	box, err := t.box(ctx, h.Mailbox)
	if err != nil {
		return err
	}
	m := takenMessage{box: box, reflag: h.Reflag}
	m.UID, m.Renumber, m.UIDL, m.Flags = h.UID, true, h.UIDL, h.Flags&wellKnown
	m.Keywords = t.keywords(box, h.Keywords)
	if h.Received > 0 {
		m.Received = time.Unix(h.Received, 0)
	}
	if h.Source != 0 && len(h.Key) == 16 {
		m.Origin = store.Origin{Source: h.Source, Key: [16]byte(h.Key), Stamp: h.Stamp}
	}
	if m.reflag {
		t.batch = append(t.batch, m)
		return nil
	}
	m.Arrival, err = t.text(ctx, h, f, buf)
	switch {
	case errors.Is(err, errGivenUp):
		return nil // its sender knows
	case errors.Is(err, store.ErrTooBig):
		t.tooBig++
		return nil
	case err != nil:
		return err
	}
	t.batch = append(t.batch, m)
	t.octets += m.Arrival.Size()
	return nil
}

// text stores one text.
func (t *taker) text(ctx context.Context, h *Head, f *FrameReader, buf []byte) (*store.Arrival, error) {
	w, err := t.s.NewMessage(ctx, max(h.Size, 0))
	if err != nil {
		return nil, err
	}
	if _, err := io.CopyBuffer(struct{ io.Writer }{w}, struct{ io.Reader }{f}, buf); err != nil {
		w.Discard()
		return nil, err
	}
	return w.Finish()
}

// box makes sure that a mailbox is the account's.
func (t *taker) box(ctx context.Context, id uint32) (*takenBox, error) {
	if b := t.boxes[id]; b != nil {
		return b, nil
	}
	boxes, err := t.s.Mailboxes(ctx, t.account)
	if err != nil {
		return nil, err
	}
	for _, m := range boxes {
		if uint32(m.ID) != id || id == 0 {
			continue
		}
		names, err := t.s.Keywords(ctx, m.ID)
		if err != nil {
			return nil, err
		}
		b := &takenBox{id: m.ID, keywords: map[string]bool{}}
		for _, n := range names {
			b.keywords[strings.ToLower(n)] = true
		}
		t.boxes[id] = b
		return b, nil
	}
	return nil, fmt.Errorf("mailbox %d: %w", id, store.ErrNoMailbox)
}

// wellKnown are the flags that mean the same in every mailbox.
const wellKnown = store.Seen | store.Answered | store.Flagged | store.Deleted | store.Draft | store.Forwarded | store.Junk | store.NotJunk

// maxKeywords of a mailbox of the store, well-known ones not counted.
const maxKeywords = 56

// keywords leaves out those that the mailbox cannot keep, and counts them.
func (t *taker) keywords(b *takenBox, names []string) []string {
	out := names[:0]
	for _, n := range names {
		low := strings.ToLower(n)
		known := b.keywords[low] || low == "$forwarded" || low == "$junk" || low == "$notjunk"
		if !store.ValidKeyword(n) || !known && len(b.keywords) >= maxKeywords {
			t.lost++
			continue
		}
		if !known {
			b.keywords[low] = true
		}
		out = append(out, n)
	}
	return out
}

// flush hands the batch to the committer.
func (t *taker) flush(ctx context.Context) error {
	if len(t.batch) == 0 {
		return nil
	}
	select {
	case t.batches <- t.batch:
		t.batch, t.octets = nil, 0
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// commitAll stores the batches.
func (t *taker) commitAll(ctx context.Context) error {
	var failed error
	for batch := range t.batches {
		if failed != nil {
			discard(batch)
			continue
		}
		if failed = t.commit(ctx, batch); failed != nil {
			discard(batch)
		}
	}
	t.taken.TooBig, t.taken.Keywords = t.tooBig, t.lost // the reader is done: it closed the channel
	return failed
}

func discard(batch []takenMessage) {
	for _, m := range batch {
		if m.Arrival != nil {
			m.Arrival.Discard()
		}
	}
}

// commit stores one batch: one Import for each mailbox in it, then the flags that have changed.
func (t *taker) commit(ctx context.Context, batch []takenMessage) error {
	groups := map[*takenBox][]store.ImportMessage{}
	var order []*takenBox
	for _, m := range batch {
		if m.reflag {
			continue
		}
		if groups[m.box] == nil {
			order = append(order, m.box)
		}
		groups[m.box] = append(groups[m.box], m.ImportMessage)
	}
	for _, b := range order {
		msgs := groups[b]
		sizes := int64(0)
		for _, m := range msgs {
			sizes += m.Arrival.Size()
		}
		uids, err := t.s.Import(ctx, b.id, msgs)
		if err != nil {
			return err
		}
		t.taken.Messages += int64(len(uids))
		t.taken.Octets += sizes
		for i, m := range msgs {
			if m.UID != 0 && m.UID != uids[i] {
				t.taken.Renumbered++
			}
		}
	}
	for _, m := range batch {
		if m.reflag {
			if err := t.reflag(ctx, &m); err != nil {
				return err
			}
		}
	}
	return nil
}

// reflag gives a message that was imported before the flags that it has at its source now, and keeps that in the ledger.
func (t *taker) reflag(ctx context.Context, m *takenMessage) error {
	rows, _, err := t.s.SetFlags(ctx, m.box.id, []store.UIDRange{{First: m.UID, Last: m.UID}},
		store.FlagsChange{Op: store.FlagsReplace, Flags: m.Flags, Keywords: m.Keywords})
	if err != nil {
		return err
	}
	t.taken.Reflagged += int64(len(rows)) // none when it was removed here
	return t.s.Restamp(ctx, t.account, m.Origin.Source, []store.Imported{
		{Key: m.Origin.Key, Stamp: m.Origin.Stamp, Mailbox: m.box.id, UID: m.UID},
	})
}
