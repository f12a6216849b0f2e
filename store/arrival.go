package store

import (
	"context"
	"encoding/binary"
	"math"

	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// Writer takes a message while it arrives.
type Writer struct {
	s     *Store
	body  *blob.Writer
	scan  *message.Scanner
	size  int64
	front int64 // octets of Prepend
}

// NewMessage starts a message; size is what the sender announced, or 0.
func (s *Store) NewMessage(ctx context.Context, size int64) (*Writer, error) {
	body, err := s.db.NewBody(ctx, size)
	if err != nil {
		return nil, err
	}
	return &Writer{s: s, body: body, scan: message.NewScanner()}, nil
}

// Write takes the next octets.
func (w *Writer) Write(p []byte) (int, error) {
	if w.size+int64(len(p)) > math.MaxUint32 {
		return 0, ErrTooBig
	}
	n, err := w.body.Write(p)
	w.size += int64(n)
	if n > 0 {
		w.scan.Write(p[:n]) // it never fails
	}
	return n, err
}

// Prepend puts whole header fields before the message, once and before Finish: what is known only when all of it has come
// (Authentication-Results). None of them is one that the structure keeps.
func (w *Writer) Prepend(fields []byte) error {
	if w.size+int64(len(fields)) > math.MaxUint32 {
		return ErrTooBig
	}
	if err := w.body.Prepend(fields); err != nil {
		return err
	}
	w.size += int64(len(fields))
	w.front = int64(len(fields))
	return nil
}

// Finish ends the message: it has arrived whole.
func (w *Writer) Finish() (*Arrival, error) {
	a := &Arrival{sum: w.scan.Finish(), size: w.size}
	a.sum.Shift(w.front)
	k := w.s.keys()
	a.thread, a.msgHash = k.threadOf(a.sum), k.messageHash(a.sum)
	body, err := w.body.Finish(a.head())
	if err != nil {
		return nil, err
	}
	a.body = body
	return a, nil
}

// Discard gives the message up; not after Finish.
func (w *Writer) Discard() { w.body.Discard() }

// Arrival is a message that has arrived whole and is not yet logged.
type Arrival struct {
	body    *blob.Body // nil: used up
	sum     *message.Summary
	size    int64
	thread  uint64
	msgHash uint64
}

// Size is the length in octets.
func (a *Arrival) Size() int64 { return a.size }

// Summary is what the scanner found out while the message arrived.
func (a *Arrival) Summary() *message.Summary { return a.sum }

// Discard gives the arrival up; safe after Deliver and Append too.
func (a *Arrival) Discard() {
	if a.body != nil {
		a.body.Discard()
		a.body = nil
	}
}

// The head stands before the body and can be read without it: version, thread u64, hash of the Message-ID u64, structure.
const (
	headVersion = 1
	headFixed   = 1 + 8 + 8
)

func (a *Arrival) head() []byte {
	b := make([]byte, 1, 512)
	b[0] = headVersion
	b = binary.BigEndian.AppendUint64(b, a.thread)
	b = binary.BigEndian.AppendUint64(b, a.msgHash)
	if a.sum.Root == nil {
		return b
	}
	return message.AppendPart(b, a.sum.Root)
}

// headMessageHash is the hash of the Message-ID in a stored head; 0 when it has none.
func headMessageHash(head []byte) uint64 {
	if len(head) < headFixed || head[0] != headVersion {
		return 0
	}
	return binary.BigEndian.Uint64(head[9:])
}

// headThread is the thread of a stored head; 0 when it has none.
func headThread(head []byte) uint64 {
	if len(head) < headFixed || head[0] != headVersion {
		return 0
	}
	return binary.BigEndian.Uint64(head[1:])
}
