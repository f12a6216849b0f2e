package wire

import (
	"errors"
	"io"
	"os"
	"time"
)

// writer is the sending half; only the writing goroutine touches it.
type writer struct {
	pooled  *[bufferSize]byte // nil while nothing is buffered
	n       int               // pooled[:n] waits to be sent
	err     error             // sticky
	timeout time.Duration
}

func (out *writer) acquire() {
	if out.pooled == nil {
		out.pooled = buffers.Get().(*[bufferSize]byte)
	}
}

func (out *writer) release() {
	if out.pooled != nil {
		buffers.Put(out.pooled)
	}
	out.pooled, out.n = nil, 0
}

// send writes p to the network, a piece at a time, each with a deadline of its own. In clear a piece that is on its way at the
// deadline goes on as long as it moves; TLS cannot go on after a timeout, so its pieces are small.
func (c *Conn) send(p []byte) error {
	piece := 64 << 10
	if c.state != nil {
		piece = bufferSize
	}
	for len(p) > 0 && c.out.err == nil {
		if c.out.timeout > 0 {
			c.out.err = c.nc.SetWriteDeadline(time.Now().Add(c.out.timeout))
			if c.out.err != nil {
				break
			}
		}
		n, err := c.nc.Write(p[:min(len(p), piece)])
		if c.ear != nil && n > 0 {
			c.ear.Sent(p[:n])
		}
		p = p[n:]
		switch {
		case err == nil:
		case !errors.Is(err, os.ErrDeadlineExceeded):
			c.out.err = err
		case n == 0 || c.state != nil:
			c.out.err = ErrTimeout
		}
	}
	return c.out.err
}

// Write buffers p; what does not fit goes out. The first error sticks and is returned by Flush as well.
func (c *Conn) Write(p []byte) (int, error) {
	total := len(p)
	for len(p) > 0 && c.out.err == nil {
		if c.out.n == 0 && len(p) >= bufferSize {
			c.send(p)
			break
		}
		c.out.acquire()
		n := copy(c.out.pooled[c.out.n:], p)
		c.out.n += n
		p = p[n:]
		if c.out.n == bufferSize {
			c.sendBuffer()
		}
	}
	if c.out.err != nil {
		return 0, c.out.err
	}
	return total, nil
}

// WriteString is Write for a string.
func (c *Conn) WriteString(s string) (int, error) {
	total := len(s)
	for len(s) > 0 && c.out.err == nil {
		c.out.acquire()
		n := copy(c.out.pooled[c.out.n:], s)
		c.out.n += n
		s = s[n:]
		if c.out.n == bufferSize {
			c.sendBuffer()
		}
	}
	if c.out.err != nil {
		return 0, c.out.err
	}
	return total, nil
}

// sendBuffer sends what is buffered and keeps the buffer.
func (c *Conn) sendBuffer() error {
	n := c.out.n
	c.out.n = 0
	return c.send(c.out.pooled[:n])
}

// AvailableBuffer returns an empty slice with room in the write buffer, to append to and Write (as bufio's does).
func (c *Conn) AvailableBuffer() []byte {
	c.out.acquire()
	return c.out.pooled[c.out.n:c.out.n]
}

// ReadFrom streams r into the connection.
func (c *Conn) ReadFrom(r io.Reader) (int64, error) {
	var total int64
	for c.out.err == nil {
		c.out.acquire()
		n, err := r.Read(c.out.pooled[c.out.n:])
		c.out.n += n
		total += int64(n)
		if c.out.n == bufferSize {
			c.sendBuffer()
		}
		if err == io.EOF {
			return total, c.out.err
		}
		if err != nil {
			return total, err
		}
	}
	return total, c.out.err
}

// Unflushed is the number of bytes that wait for Flush.
func (c *Conn) Unflushed() int { return c.out.n }

// Flush sends what is buffered and gives the buffer back.
func (c *Conn) Flush() error {
	if c.out.n > 0 && c.out.err == nil {
		c.sendBuffer()
	}
	c.out.release()
	return c.out.err
}
