package smtp

import (
	"errors"
	"io"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

// body is the message as the desk reads it; it keeps what went wrong with it, so that a desk that
// overlooks an error cannot have a half message acknowledged.
type body struct {
	r    io.Reader
	size int64
	err  error // io.EOF: it came to its end and is whole
}

func (b *body) Read(p []byte) (int, error) {
	if b.err != nil {
		return 0, b.err
	}
	n, err := b.r.Read(p)
	b.size += int64(n)
	b.err = err
	return n, err
}

// WriteTo lets io.Copy hand the wire's own buffer to the desk.
func (b *body) WriteTo(w io.Writer) (int64, error) {
	if b.err != nil {
		if b.err == io.EOF {
			return 0, nil
		}
		return 0, b.err
	}
	src, ok := b.r.(io.WriterTo)
	if !ok {
		return io.Copy(w, struct{ io.Reader }{b})
	}
	f := faults{w: w}
	n, err := src.WriteTo(&f)
	b.size += n
	switch {
	case err == nil:
		b.err = io.EOF
	case f.err == nil:
		b.err = err
	}
	return n, err
}

// faults tells an error of the desk's writer from one of the message.
type faults struct {
	w   io.Writer
	err error
}

func (f *faults) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err != nil {
		f.err = err
	}
	return n, err
}

// data is DATA (RFC 5321 section 4.1.1.4).
func (c *conn) data(string) {
	c.answer(354, noCode(), "Go ahead, end with a dot on a line of its own")
	if err := c.c.Flush(); err != nil {
		c.lost(err)
		return
	}
	c.c.SetReadTimeout(c.s.o.DataWait)
	b := &body{r: c.c.DotReader(c.s.o.MaxSize, c.s.o.FixLF)}
	status, err := c.hand(b)
	if b.err == nil {
		_, _ = io.Copy(io.Discard, b) // what the desk did not want is still in the stream; b.err has the outcome
	}
	c.c.SetReadTimeout(c.s.o.CommandWait)
	c.finish(b, status, err)
}

// hand gives the message to the desk. A nil status: err is for all recipients.
func (c *conn) hand(b *body) (*statuses, error) {
	if l, ok := c.session.(gosmtp.LMTPSession); ok && c.s.o.LMTP {
		status := &statuses{rcpts: c.rcpts, set: make([]bool, len(c.rcpts)), errs: make([]error, len(c.rcpts))}
		err := l.LMTPData(b, status)
		return status, err
	}
	return nil, c.session.Data(b)
}

// finish answers a message that has been read to its end, or as far as it came.
func (c *conn) finish(b *body, status *statuses, err error) {
	c.s.bytes.Add(float64(b.size))
	if b.err != io.EOF && !fault(b.err) {
		// RFC 5321 section 4.5.3.2.5; what is still to come belongs to the message and never becomes commands: the connection ends.
		c.s.broken.Inc()
		if errors.Is(b.err, wire.ErrTimeout) {
			c.farewell("timeout", 421, code(4, 4, 2), c.s.o.Hostname+" timeout in the message, closing")
		} else {
			c.closing = "cut off in the message"
		}
		return
	}
	if b.err != io.EOF {
		status, err = nil, b.err
	}
	c.settle(status, err)
	c.endTransaction()
}

// fault reports an error that the message has in itself; the stream stands behind its end.
func fault(err error) bool {
	return errors.Is(err, wire.ErrBareCR) || errors.Is(err, wire.ErrBareLF) || errors.Is(err, wire.ErrTooBig)
}

// settle says what became of the message: once, with LMTP once for each recipient (RFC 2033 section 4.2).
func (c *conn) settle(status *statuses, err error) {
	replies := 1
	if c.s.o.LMTP {
		replies = len(c.rcpts)
	}
	receipt := ""
	for i := range replies {
		each := err
		if status != nil && status.set[i] {
			each = status.errs[i]
		}
		if each != nil {
			c.s.refused.Inc()
			f := c.fail("DATA", each)
			c.s.o.Logger.InfoContext(c.ctx, logx.MailRefused, "from", c.from, "remote", c.peer.Remote.Addr(), "code", f.status, "reason", f.lines[0])
			continue
		}
		c.s.accepted.Inc()
		c.tally.refusals, c.tally.junk = 0, 0
		if receipt == "" {
			c.tally.messages++
			receipt = "OK"
			if x, ok := c.session.(Extra); ok && x.Receipt() != "" {
				receipt = "OK, " + x.Receipt()
			}
		}
		c.answer(250, code(2, 0, 0), receipt)
	}
}

// statuses collects what an LMTP desk says about each recipient.
type statuses struct {
	rcpts []string
	set   []bool
	errs  []error
}

// SetStatus is for the first recipient of that name that has none yet.
func (s *statuses) SetStatus(rcpt string, err error) {
	for i, r := range s.rcpts {
		if r == rcpt && !s.set[i] {
			s.set[i], s.errs[i] = true, err
			return
		}
	}
}
