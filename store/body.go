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

// OpenAt opens a body by its place, which must have been read just now: bodies move when segments are compacted, and then the
// error is fs.ErrNotExist (queue).
func (s *Store) OpenAt(ctx context.Context, at blob.LSN) (*Body, error) {
	return s.openAt(ctx, at, blob.FirstRead)
}

// openAt opens a body and reads n octets of its record.
func (s *Store) openAt(ctx context.Context, at blob.LSN, n int64) (*Body, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r, err := s.db.OpenBodyAhead(at, n)
	if err != nil {
		return nil, fmt.Errorf("open a message: %w", err)
	}
	return &Body{r: r}, nil
}

// Size is the length in octets.
func (b *Body) Size() int64 { return b.r.Size() }

// ReadAt reads the message's octets as they arrived.
func (b *Body) ReadAt(p []byte, off int64) (int, error) { return b.r.ReadAt(p, off) }

// Run is how many octets from off on are best read at once.
func (b *Body) Run(off int64) int64 { return b.r.Run(off) }

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
