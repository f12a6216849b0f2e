package store

import (
	"context"
	"fmt"
	"io"

	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// Body is a stored message's text.
type Body struct{ r *blob.Reader }

// Open opens the text of a row; its segment stays while it is open. A message that was expunged meanwhile can still be read:
// other sessions may see it until they are told (RFC 9051 section 7.5.1).
func (s *Store) Open(ctx context.Context, m Message) (*Body, error) { return s.OpenAt(ctx, m.Place) }

// OpenAt opens a body by its place (queue).
func (s *Store) OpenAt(ctx context.Context, at blob.LSN) (*Body, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := s.db.OpenBody(at)
	if err != nil {
		return nil, fmt.Errorf("open a message: %w", err)
	}
	return &Body{r: r}, nil
}

// Size is the length in octets.
func (b *Body) Size() int64 { return b.r.Size() }

// ReadAt reads the message's octets as they arrived.
func (b *Body) ReadAt(p []byte, off int64) (int, error) { return b.r.ReadAt(p, off) }

// Root is the stored structure; it costs one read of the first frame. A form that this version cannot read is made again from the text.
func (b *Body) Root() (*message.Part, error) {
	head, err := b.r.Head()
	if err != nil {
		return nil, err
	}
	if len(head) > headFixed && head[0] == headVersion {
		if root, err := message.ParsePart(head[headFixed:]); err == nil {
			return root, nil
		}
	}
	sum, err := message.Scan(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		return nil, err
	}
	return sum.Root, nil
}

// Close lets the segment go.
func (b *Body) Close() error { return b.r.Close() }
