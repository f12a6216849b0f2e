package importer

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/posthouse-mail/posthouse/store"
)

// A stream of frames is, for each message: its head (u32 length, JSON), then its text in pieces (u32 length, octets), then a
// length of 0, or of giveUp when the rest cannot be read. A head of length 0 ends the stream, so that one that was cut off is
// known by it.
const (
	maxHead  = 64 << 10
	maxPiece = 256 << 10
	giveUp   = 0xffffffff
)

// ErrBroken: a stream that we did not write, or that was cut off.
var ErrBroken = errors.New("importer: the stream of messages is broken")

// Head is what goes before a message's text.
type Head struct {
	Mailbox  uint32       `json:"m,omitempty"`
	Source   uint64       `json:"s,omitempty,string"`
	Key      []byte       `json:"k,omitempty"`
	Stamp    uint32       `json:"t,omitempty"`
	UID      uint32       `json:"u,omitempty"`
	UIDL     string       `json:"l,omitempty"`
	Flags    store.Flags  `json:"f,omitempty"`
	Keywords []string     `json:"w,omitempty"`
	Received int64        `json:"d,omitempty"`
	Size     int64        `json:"z,omitempty"` // a hint
	Reflag   bool         `json:"r,omitempty"` // no text: the message with that uid is there, and its flags have changed
	Folder   *FolderFrame `json:"b,omitempty"` // no message: a folder begins (Export)
}

// FolderFrame is a mailbox on its way out.
type FolderFrame struct {
	Name        string   `json:"name"`
	UIDValidity uint32   `json:"uidvalidity"`
	UIDNext     uint32   `json:"uidnext"`
	Subscribed  bool     `json:"subscribed,omitempty"`
	Keywords    []string `json:"keywords,omitempty"`
	Messages    int64    `json:"messages"`
}

func (h *Head) hasText() bool { return !h.Reflag && h.Folder == nil }

// FrameWriter writes a stream of frames.
type FrameWriter struct {
	w   *bufio.Writer
	buf []byte
}

// NewFrameWriter writes to w.
func NewFrameWriter(w io.Writer) *FrameWriter {
	return &FrameWriter{w: bufio.NewWriterSize(w, 128<<10), buf: make([]byte, 64<<10)}
}

func (f *FrameWriter) number(n uint32) error {
	_, err := f.w.Write(binary.BigEndian.AppendUint32(f.w.AvailableBuffer(), n))
	return err
}

// Write adds a message. broken is why its text could not be read to the end: the message does not count then. err is why
// the stream could not be written.
func (f *FrameWriter) Write(h *Head, text io.Reader) (n int64, broken, err error) {
	head, err := json.Marshal(h)
	if err != nil {
		return 0, nil, err
	}
	if len(head) > maxHead {
		return 0, nil, fmt.Errorf("%w: a head of %d octets", ErrBroken, len(head))
	}
	if err := f.number(uint32(len(head))); err != nil {
		return 0, nil, err
	}
	if _, err := f.w.Write(head); err != nil || !h.hasText() {
		return 0, nil, err
	}
	for {
		k, readErr := io.ReadFull(text, f.buf)
		if k > 0 {
			n += int64(k)
			if err := f.number(uint32(k)); err != nil {
				return n, nil, err
			}
			if _, err := f.w.Write(f.buf[:k]); err != nil {
				return n, nil, err
			}
		}
		switch {
		case readErr == nil:
		case errors.Is(readErr, io.EOF), errors.Is(readErr, io.ErrUnexpectedEOF) && k < len(f.buf):
			return n, nil, f.number(0)
		default:
			return n, readErr, f.number(giveUp)
		}
	}
}

// Close ends the stream.
func (f *FrameWriter) Close() error {
	return errors.Join(f.number(0), f.w.Flush())
}

// FrameReader reads what a FrameWriter wrote; it holds one piece in memory.
type FrameReader struct {
	r    *bufio.Reader
	left uint32 // octets of the piece
	text bool   // a text has been begun and not ended
	err  error
}

// NewFrameReader reads from r.
func NewFrameReader(r io.Reader) *FrameReader {
	return &FrameReader{r: bufio.NewReaderSize(r, 128<<10)}
}

// errGivenUp: the sender could not read the message to its end.
var errGivenUp = errors.New("importer: the message could not be read to its end")

func (f *FrameReader) number() (uint32, error) {
	var b [4]byte
	if _, err := io.ReadFull(f.r, b[:]); err != nil {
		return 0, fmt.Errorf("%w: it was cut off: %w", ErrBroken, err)
	}
	return binary.BigEndian.Uint32(b[:]), nil
}

// Next reads the next head; io.EOF at the end. What was not read of the text before is passed over.
func (f *FrameReader) Next() (*Head, error) {
	if f.text {
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{f}); err != nil && !errors.Is(err, errGivenUp) {
			return nil, err
		}
	}
	n, err := f.number()
	if err != nil {
		return nil, err
	}
	if n == 0 {
		return nil, io.EOF
	}
	if n > maxHead {
		return nil, fmt.Errorf("%w: a head of %d octets", ErrBroken, n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(f.r, b); err != nil {
		return nil, fmt.Errorf("%w: it was cut off: %w", ErrBroken, err)
	}
	h := &Head{}
	if err := json.Unmarshal(b, h); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	f.text, f.left, f.err = h.hasText(), 0, nil
	return h, nil
}

// Read reads the text of the message that Next gave: io.EOF at its end, errGivenUp when the sender could not read on.
func (f *FrameReader) Read(p []byte) (int, error) {
	if !f.text {
		if f.err != nil {
			return 0, f.err
		}
		return 0, io.EOF
	}
	if f.left == 0 {
		n, err := f.number()
		switch {
		case err != nil:
			return f.end(err)
		case n == 0:
			return f.end(io.EOF)
		case n == giveUp:
			return f.end(errGivenUp)
		case n > maxPiece:
			return f.end(fmt.Errorf("%w: a piece of %d octets", ErrBroken, n))
		}
		f.left = n
	}
	if len(p) > int(f.left) {
		p = p[:f.left]
	}
	n, err := f.r.Read(p)
	f.left -= uint32(n)
	if err != nil {
		return n, fmt.Errorf("%w: it was cut off: %w", ErrBroken, err)
	}
	return n, nil
}

func (f *FrameReader) end(err error) (int, error) {
	f.text, f.err = false, err
	return 0, err
}

// entrySize is the length of a ledger entry on its way to the importer.
const entrySize = 16 + 4 + 4 + 4

// AppendEntry writes a ledger entry.
func AppendEntry(b []byte, i *store.Imported) []byte {
	b = append(b, i.Key[:]...)
	b = binary.BigEndian.AppendUint32(b, i.Stamp)
	b = binary.BigEndian.AppendUint32(b, uint32(i.Mailbox))
	return binary.BigEndian.AppendUint32(b, i.UID)
}

func parseEntry(b []byte) store.Imported {
	return store.Imported{
		Key: [16]byte(b), Stamp: binary.BigEndian.Uint32(b[16:]),
		Mailbox: store.MailboxID(binary.BigEndian.Uint32(b[20:])), UID: binary.BigEndian.Uint32(b[24:]),
	}
}
