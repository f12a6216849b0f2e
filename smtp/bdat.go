package smtp

import (
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/wire"
)

// errAborted ends a message whose BDAT sequence the client gave up.
var errAborted = errors.New("smtp: BDAT sequence given up")

// bdat is BDAT size [LAST] (RFC 3030 section 2). Its octets follow at once, so whatever the answer is, they are
// taken out of the stream first.
func (c *conn) bdat(args string) {
	size, last, ok := parseBDAT(args)
	if !ok { // how many octets follow is unknown: nothing behind this line may be read as a command
		c.farewell("bad BDAT", 501, code(5, 5, 4), "Write BDAT size [LAST]; closing")
		return
	}
	lack, over := (greeted|inMail|inRcpt)&^c.state, inBDAT&c.state
	if lack|over != 0 {
		if !c.skip(size) {
			return
		}
		text := over.present()
		if lack != 0 {
			text = lack.missing(c.s.o.LMTP)
		}
		c.bad(503, code(5, 5, 1), text)
		return
	}
	ch := &chunks{c: c, left: size, size: size, last: last, room: c.s.o.MaxSize}
	b := &body{r: &lines{src: ch, fix: c.s.o.FixLF}}
	c.c.SetReadTimeout(c.s.o.DataWait)
	status, err := c.hand(b)
	c.c.SetReadTimeout(c.s.o.CommandWait)
	c.endChunks(ch, b, status, err)
}

// endChunks answers the chunk with which the desk's part ended: the LAST one, one in whose middle it lost interest, or none.
func (c *conn) endChunks(ch *chunks, b *body, status *statuses, err error) {
	if ch.err == nil && ch.last && b.err == nil {
		_, _ = io.Copy(io.Discard, b) // the desk stopped early; the rest of the last chunk decides too
	}
	if ch.err == nil && !ch.last && !c.skip(ch.left) {
		return
	}
	switch {
	case errors.Is(ch.err, errAborted):
		c.s.broken.Inc()
		c.endTransaction()
	case ch.err != nil && !fault(ch.err):
		b.err = ch.err
		c.finish(b, nil, nil)
	case ch.last:
		if ch.err != nil {
			b.err = ch.err
		}
		c.finish(b, status, err)
	default: // refused before its last chunk: this chunk gets the answer, those behind it 503 until RSET
		if ch.err != nil {
			err = ch.err
		}
		if err == nil {
			err = errors.New("desk took a message before its end")
		}
		c.s.refused.Inc()
		c.fail("BDAT", err)
		c.state |= inBDAT
	}
}

func parseBDAT(args string) (size int64, last, ok bool) {
	number, rest, more := strings.Cut(args, " ")
	if more {
		if !strings.EqualFold(strings.Trim(rest, " \t"), "LAST") {
			return 0, false, false
		}
		last = true
	}
	if number == "" || strings.Trim(number, "0123456789") != "" {
		return 0, false, false
	}
	size, err := strconv.ParseInt(number, 10, 64)
	return size, last, err == nil
}

// skip throws octets away; false: the connection ends.
func (c *conn) skip(n int64) bool {
	if n == 0 {
		return true
	}
	if err := c.c.Flush(); err != nil {
		c.lost(err)
		return false
	}
	c.c.SetReadTimeout(c.s.o.DataWait)
	err := c.c.Discard(n)
	c.c.SetReadTimeout(c.s.o.CommandWait)
	if err != nil {
		c.lost(err)
		return false
	}
	return true
}

// chunks is the raw message of a BDAT sequence. When a chunk is used up it answers it and reads commands until the next one is there:
// the desk pulls, and no goroutine stands between it and the client.
type chunks struct {
	c    *conn
	left int64 // octets of this chunk still to be read
	size int64 // of this chunk
	last bool
	room int64 // octets that the message may still have, this chunk not counted
	sure bool  // this chunk fits
	err  error // sticky
}

func (ch *chunks) Read(p []byte) (int, error) {
	for ch.err == nil {
		if !ch.sure {
			ch.sure = true
			if ch.room -= ch.size; ch.room < 0 {
				ch.tooBig()
				break
			}
		}
		if ch.left > 0 {
			if ch.c.c.Buffered() == 0 { // nothing more is here: what has been answered may be what the client waits for (RFC 2920 section 3.2)
				if ch.err = ch.c.c.Flush(); ch.err != nil {
					break
				}
			}
			n, err := ch.c.c.Read(p[:min(int64(len(p)), ch.left)])
			ch.left -= int64(n)
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			ch.err = err
			return n, err
		}
		if ch.last {
			return 0, io.EOF
		}
		ch.next()
	}
	return 0, ch.err
}

// tooBig takes the chunk that is too much out of the stream.
func (ch *chunks) tooBig() {
	if ch.c.skip(ch.left) {
		ch.left = 0
		ch.err = wire.ErrTooBig
		return
	}
	ch.err = io.ErrUnexpectedEOF
}

// next answers a chunk and waits for the next one.
func (ch *chunks) next() {
	c := ch.c
	c.answer(250, code(2, 0, 0), strconv.FormatInt(ch.size, 10)+" octets received")
	c.c.SetReadTimeout(c.s.o.CommandWait)
	defer c.c.SetReadTimeout(c.s.o.DataWait)
	for c.closing == "" {
		cmd := c.read()
		if cmd == nil {
			if c.tally.errors >= c.s.o.MaxErrors {
				break
			}
			continue
		}
		switch cmd.between {
		case chunkSame:
			c.run(*cmd)
		case chunkAborts:
			c.next, ch.err = cmd, errAborted
			return
		case chunkNext:
			size, last, ok := parseBDAT(cmd.args)
			if !ok {
				c.farewell("bad BDAT", 501, code(5, 5, 4), "Write BDAT size [LAST]; closing")
				continue
			}
			ch.size, ch.left, ch.last, ch.sure = size, size, last, false
			return
		default:
			c.bad(503, code(5, 5, 1), "A BDAT sequence is open, end it with LAST or RSET")
		}
	}
	ch.err = errAborted
}
