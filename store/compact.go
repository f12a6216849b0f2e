package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"slices"

	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// mailPlaces is what the rows of table m name (kv.Places): of mailboxes, of those that were deleted and are not gone yet, and of
// what was expunged and may come back.
func mailPlaces(key, value []byte, at func(blob.LSN, int64) blob.LSN) ([]byte, error) {
	if len(key) == 8 && binary.BigEndian.Uint32(key[4:]) == stateIndex {
		return nil, nil
	}
	p := page(value)
	if !p.sound() {
		return nil, fmt.Errorf("%d octets are no page: %w", len(value), ErrDamaged)
	}
	var moved page
	for i := range p.len() {
		r := p.row(i)
		was := r.place()
		is := at(was, int64(r.size()))
		if is == was {
			continue
		}
		if moved == nil {
			moved = slices.Clone(p)
		}
		moved.row(i).setPlace(is)
	}
	return moved, nil
}

func (r row) setPlace(at blob.LSN) { binary.BigEndian.PutUint64(r[24:], uint64(at)) }

// in is the message of a row of a mailbox.
func (r row) in(id MailboxID) Message {
	m := r.message()
	m.Mailbox = id
	return m
}

// Open opens the text of a row; its segment stays while it is open. A message that was expunged meanwhile can be read as long as
// its body stands where it stood: other sessions may see it until they are told (RFC 9051 section 7.5.1). ErrNoMessage
// otherwise.
func (s *Store) Open(ctx context.Context, m Message) (*Body, error) {
	return s.openAhead(ctx, m, blob.WholeBody(int64(m.Size)))
}

// OpenHead is Open for who wants no more than structure and header: less is read.
func (s *Store) OpenHead(ctx context.Context, m Message) (*Body, error) {
	return s.openAhead(ctx, m, 0)
}

// openAhead opens a body and reads n octets of its record.
func (s *Store) openAhead(ctx context.Context, m Message, n int64) (*Body, error) {
	for {
		b, err := s.openAt(ctx, m.Place, n)
		if m.Mailbox == 0 || !errors.Is(err, fs.ErrNotExist) {
			return b, err
		}
		// The segment was compacted since the row was read: the row knows where the body is now.
		now, lost := s.placeNow(ctx, m)
		if lost != nil {
			return nil, lost
		}
		if now == m.Place {
			return nil, err // the file is missing
		}
		m.Place = now
	}
}

// placeNow reads again where the body of a message stands.
func (s *Store) placeNow(ctx context.Context, m Message) (at blob.LSN, err error) {
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		for p, rr := range pages(tx, m.Mailbox, []UIDRange{{m.UID, m.UID}}) {
			for i := range p.hits(rr) {
				if r := p.row(i); r.id() == m.ID {
					at = r.place()
					return nil
				}
			}
		}
		return fmt.Errorf("open a message: %w", ErrNoMessage)
	})
	return at, err
}
