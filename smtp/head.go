package smtp

import (
	"bytes"
	"io"

	gosmtp "github.com/emersion/go-smtp"
)

// Refuse makes the error that a desk answers with.
func Refuse(status int, enhanced gosmtp.EnhancedCode, text string) *gosmtp.SMTPError {
	return &gosmtp.SMTPError{Code: status, EnhancedCode: enhanced, Message: text}
}

// MaxHeader is the largest message header that a desk takes; it is the only part of a message that is held.
const MaxHeader = 256 << 10

// Head is a writer that holds the header of a message until it is whole, hands it to Begin, and passes all that
// follows on to W. Begin writes to W what the message shall begin with and the empty line behind it,
// which the message itself may lack. The header is Begin's during the call only.
type Head struct {
	W     io.Writer
	Begin func(header []byte) error

	held []byte
	line int // where the line that is not yet judged begins in held
	done bool
}

// Reset makes h ready for the next message, with the memory it has.
func (h *Head) Reset(w io.Writer, begin func(header []byte) error) {
	held := h.held[:0]
	if cap(held) > 16<<10 {
		held = nil
	}
	*h = Head{W: w, Begin: begin, held: held}
}

// Write takes the next octets; a header that comes in one piece is not copied, and neither is anything behind it.
func (h *Head) Write(p []byte) (int, error) {
	if h.done {
		return h.W.Write(p)
	}
	text := p
	if len(h.held) > 0 {
		h.held = append(h.held, p...)
		text = h.held
	}
	for {
		n := bytes.IndexByte(text[h.line:], '\n')
		if n < 0 {
			break
		}
		line := text[h.line : h.line+n]
		switch {
		case len(bytes.TrimRight(line, "\r")) == 0:
			return len(p), h.begin(text[:h.line], text[h.line+n+1:])
		case !headerLine(line, h.line == 0):
			return len(p), h.begin(text[:h.line], text[h.line:])
		}
		h.line += n + 1
	}
	if len(h.held) == 0 {
		h.held = append(h.held, p...)
	}
	if len(h.held) > MaxHeader {
		return 0, Refuse(552, code(5, 3, 4), "The header of the message is too large")
	}
	return len(p), nil
}

// begin hands the header over and passes on what of the body has come with it.
func (h *Head) begin(header, body []byte) error {
	h.done = true
	if err := h.Begin(header); err != nil || len(body) == 0 {
		return err
	}
	_, err := h.W.Write(body)
	return err
}

// Close ends a message that may have no body.
func (h *Head) Close() error {
	if h.done {
		return nil
	}
	if h.line < len(h.held) && !headerLine(h.held[h.line:], h.line == 0) {
		return h.begin(h.held[:h.line], h.held[h.line:])
	}
	if n := len(h.held); n > 0 && h.held[n-1] != '\n' {
		h.held = append(h.held, '\r', '\n')
	}
	return h.begin(h.held, nil)
}

// headerLine reports whether a line can belong to a header: a field (RFC 5322 section 2.2), or the continuation of one.
func headerLine(line []byte, first bool) bool {
	if line[0] == ' ' || line[0] == '\t' {
		return !first
	}
	if first && mboxLine(line) {
		return true // left in by a careless program
	}
	name, _, ok := bytes.Cut(line, []byte(":"))
	if !ok {
		return false
	}
	name = bytes.TrimRight(name, " \t")
	for _, c := range name {
		if c <= ' ' || c > '~' {
			return false
		}
	}
	return len(name) > 0
}

// WithoutMboxLine drops the separator of a mailbox file in front of a header: no field, and behind fields of ours it would end the header
// for many readers.
func WithoutMboxLine(header []byte) []byte {
	if !mboxLine(header) {
		return header
	}
	for more := true; more; more = len(header) > 0 && (header[0] == ' ' || header[0] == '\t') { // a folded line behind it would continue a field of ours
		_, header, _ = bytes.Cut(header, []byte("\n"))
	}
	return header
}

func mboxLine(line []byte) bool {
	return bytes.HasPrefix(line, []byte("From ")) || bytes.HasPrefix(line, []byte(">From "))
}
