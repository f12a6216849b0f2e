package wire

import (
	"bytes"
	"errors"
	"io"
	"os"
	"time"
)

// reader is the receiving half; only the reading goroutine touches it.
type reader struct {
	pooled  *[bufferSize]byte // nil while nothing is buffered
	buf     []byte            // pooled[:], or a larger one for a line that needs it
	r, w    int               // buf[r:w] is read from the network and not yet taken
	err     error             // sticky
	timeout time.Duration
}

// release gives the buffer back; what it held is lost.
func (in *reader) release() {
	if in.pooled != nil {
		buffers.Put(in.pooled)
	}
	in.pooled, in.buf, in.r, in.w = nil, nil, 0, 0
}

// room makes space behind buf[w], growing the buffer only when it is full of bytes that are not yet taken.
func (in *reader) room() {
	switch {
	case in.buf == nil || (in.r == in.w && in.pooled == nil):
		in.pooled = buffers.Get().(*[bufferSize]byte)
		in.buf, in.r, in.w = in.pooled[:], 0, 0
	case in.r == in.w:
		in.r, in.w = 0, 0
	case in.w < len(in.buf):
	case in.r > 0:
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	default:
		larger := make([]byte, 2*len(in.buf))
		copy(larger, in.buf)
		if in.pooled != nil {
			buffers.Put(in.pooled)
		}
		in.pooled, in.buf = nil, larger
	}
}

// fill reads once from the network, adding at least one byte or returning an error. Every fill has the
// timeout for itself, so that a slow but steady sender is not cut.
func (c *Conn) fill() error {
	if err := c.armRead(); err != nil {
		return err
	}
	return c.fillBefore()
}

// fillBefore is fill under the deadline that was set before.
func (c *Conn) fillBefore() error {
	if c.in.err != nil {
		return c.in.err
	}
	c.in.room()
	for range 100 { // a reader that gives nothing and no error a hundred times is broken
		n, err := c.nc.Read(c.in.buf[c.in.w:])
		c.received(c.in.buf[c.in.w : c.in.w+n])
		c.in.w += n
		if err != nil {
			c.in.err = readError(err)
		}
		if n > 0 {
			return nil
		}
		if err != nil {
			return c.in.err
		}
	}
	c.in.err = io.ErrNoProgress
	return c.in.err
}

// received shows what was read to who listens.
func (c *Conn) received(b []byte) {
	if c.ear != nil && len(b) > 0 {
		c.ear.Received(b)
	}
}

// armRead sets the deadline of the read that follows.
func (c *Conn) armRead() error {
	if c.in.err != nil {
		return c.in.err
	}
	if c.in.timeout <= 0 && !c.wait.armed {
		return nil
	}
	var t time.Time
	if c.in.timeout > 0 {
		t = time.Now().Add(c.in.timeout)
	}
	c.wait.armed = c.in.timeout > 0
	if err := c.nc.SetReadDeadline(t); err != nil {
		c.in.err = readError(err)
	}
	return c.in.err
}

// readError translates what the network says.
func readError(err error) error {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return ErrTimeout
	}
	return err
}

// tailSize is how much of a line that is too long ReadLine gives: enough to see a literal announced at its end.
const tailSize = 32

// ReadLine returns the next line without its CRLF (a bare LF ends a line too; a bare CR does not).
// The bytes are valid until the next read. A line of more than max bytes, CRLF not counted, gives ErrLineTooLong and its last bytes (up to 32).
// The whole line has one read timeout. io.EOF is returned between lines only, io.ErrUnexpectedEOF inside one.
func (c *Conn) ReadLine(max int) ([]byte, error) { return c.readLine(max, c.skipLine) }

// ReadLineUpTo is ReadLine for a connection that is given up at a line that is too long: what follows of it is not read.
func (c *Conn) ReadLineUpTo(max int) ([]byte, error) {
	return c.readLine(max, func(bool) ([]byte, error) { return nil, ErrLineTooLong })
}

func (c *Conn) readLine(max int, tooLong func(armed bool) ([]byte, error)) ([]byte, error) {
	seen, armed := 0, false
	for {
		b := c.in.buf[c.in.r:c.in.w]
		if i := bytes.IndexByte(b[seen:], '\n'); i >= 0 {
			i += seen
			c.in.r += i + 1
			line := trimCR(b[:i])
			if len(line) > max {
				return line[atLeast0(len(line)-tailSize):], ErrLineTooLong
			}
			return line, nil
		}
		seen = len(b)
		if seen > max+1 { // one more for the CR that may be its last byte
			return tooLong(armed)
		}
		if !armed {
			if err := c.armRead(); err != nil {
				return nil, c.endOfLine(err)
			}
			armed = true
		}
		if err := c.fillBefore(); err != nil {
			return nil, c.endOfLine(err)
		}
	}
}

// skipLine throws away the rest of a line that is too long, but for its tail.
func (c *Conn) skipLine(armed bool) ([]byte, error) {
	var tail []byte
	for {
		b := c.in.buf[c.in.r:c.in.w]
		i := bytes.IndexByte(b, '\n')
		if i >= 0 {
			b = b[:i]
		}
		c.in.r += len(b)
		// One more than asked for, because the last may be the CR.
		tail = append(tail, b[atLeast0(len(b)-tailSize-1):]...)
		tail = append(tail[:0], tail[atLeast0(len(tail)-tailSize-1):]...)
		if i >= 0 {
			c.in.r++
			tail = trimCR(tail)
			return tail[atLeast0(len(tail)-tailSize):], ErrLineTooLong
		}
		if !armed {
			if err := c.armRead(); err != nil {
				return nil, err
			}
			armed = true
		}
		if err := c.fillBefore(); err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
	}
}

func atLeast0(n int) int { return max(n, 0) }

// trimCR removes the CR of a line's end.
func trimCR(line []byte) []byte {
	if n := len(line); n > 0 && line[n-1] == '\r' {
		return line[:n-1]
	}
	return line
}

// HasLine reports whether the end of a line has been read from the network already, so that its answer may share a flush with this one's.
func (c *Conn) HasLine() bool { return bytes.IndexByte(c.in.buf[c.in.r:c.in.w], '\n') >= 0 }

// endOfLine tells an end between lines from one inside a line.
func (c *Conn) endOfLine(err error) error {
	if err == io.EOF && c.in.r < c.in.w {
		return io.ErrUnexpectedEOF
	}
	return err
}

// Read reads raw bytes: literals, BDAT chunks.
func (c *Conn) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if c.in.r == c.in.w {
		if len(p) >= bufferSize {
			return c.readDirect(p)
		}
		if err := c.fill(); err != nil {
			return 0, err
		}
	}
	n := copy(p, c.in.buf[c.in.r:c.in.w])
	c.in.r += n
	return n, nil
}

// readDirect reads past the empty buffer.
func (c *Conn) readDirect(p []byte) (int, error) {
	if err := c.armRead(); err != nil {
		return 0, err
	}
	n, err := c.nc.Read(p)
	c.received(p[:n])
	if err != nil {
		c.in.err = readError(err)
		if n == 0 {
			return 0, c.in.err
		}
	}
	return n, nil
}

// CopyTo hands the next n bytes to w, a buffer at a time. All n bytes are read even when w fails; its first error is
// returned as writeErr, an error of the connection as err.
func (c *Conn) CopyTo(w io.Writer, n int64) (writeErr, err error) {
	for n > 0 {
		if c.in.r == c.in.w {
			if err := c.fill(); err != nil {
				if err == io.EOF {
					err = io.ErrUnexpectedEOF
				}
				return writeErr, err
			}
		}
		b := c.in.buf[c.in.r:c.in.w]
		if int64(len(b)) > n {
			b = b[:n]
		}
		c.in.r += len(b)
		n -= int64(len(b))
		if writeErr == nil {
			_, writeErr = w.Write(b)
		}
	}
	return writeErr, nil
}

// Discard reads n bytes and throws them away.
func (c *Conn) Discard(n int64) error {
	_, err := c.CopyTo(io.Discard, n)
	return err
}

// Buffered is the number of bytes already read from the network: more than 0 means the client pipelined.
func (c *Conn) Buffered() int { return c.in.w - c.in.r }
