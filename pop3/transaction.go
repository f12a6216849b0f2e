package pop3

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/story"
)

func (c *session) noop(context.Context, []string) error {
	c.ok("nothing done")
	return nil
}

// stat answers STAT; what is marked does not count (RFC 1939 section 5).
func (c *session) stat(context.Context, []string) error {
	c.ok(strconv.Itoa(c.drop.count) + " " + strconv.FormatUint(c.drop.octets, 10))
	return nil
}

// list answers LIST, of one message or of all.
func (c *session) list(_ context.Context, args []string) error {
	if len(args) == 1 {
		r, n, err := c.drop.find(args[0])
		if err != nil {
			return err
		}
		c.ok(strconv.Itoa(n) + " " + strconv.FormatUint(uint64(r.size), 10))
		return nil
	}
	c.ok(c.drop.summary())
	for i := range c.drop.rows {
		if r := &c.drop.rows[i]; !r.marked {
			b := strconv.AppendInt(c.w.AvailableBuffer(), int64(i+1), 10)
			b = strconv.AppendUint(append(b, ' '), uint64(r.size), 10)
			c.w.Write(append(b, "\r\n"...))
		}
	}
	c.say(".")
	return nil
}

// uidl answers UIDL (RFC 1939 section 7).
func (c *session) uidl(ctx context.Context, args []string) error {
	if len(args) == 1 {
		r, n, err := c.drop.find(args[0])
		if err != nil {
			return err
		}
		ids, err := c.drop.ids(ctx, []row{*r})
		if err != nil {
			return err
		}
		c.ok(strconv.Itoa(n) + " " + ids[0])
		return nil
	}
	const batch = 1000
	for first := 0; ; first += batch {
		rows := c.drop.rows[first:min(first+batch, len(c.drop.rows))]
		ids, err := c.drop.ids(ctx, rows)
		switch {
		case err != nil && first == 0:
			return err
		case err != nil: // half a list is out: only the end of the connection tells
			return c.broken(ctx, err)
		case first == 0:
			c.ok("unique-ids follow")
		}
		for i := range rows {
			if !rows[i].marked {
				b := strconv.AppendInt(c.w.AvailableBuffer(), int64(first+i+1), 10)
				b = append(append(b, ' '), ids[i]...)
				c.w.Write(append(b, "\r\n"...))
			}
		}
		if first+batch >= len(c.drop.rows) {
			c.say(".")
			return nil
		}
	}
}

// retr answers RETR: the text streams from the store through the dot coder.
func (c *session) retr(ctx context.Context, args []string) error {
	r, _, err := c.drop.find(args[0])
	if err != nil {
		return err
	}
	if err := c.send(ctx, r, -1); err != nil {
		return err
	}
	c.sent++
	return nil
}

// top answers TOP: the header, the empty line, and so many lines of the body (RFC 1939 section 7).
func (c *session) top(ctx context.Context, args []string) error {
	r, _, err := c.drop.find(args[0])
	if err != nil {
		return err
	}
	lines, err := strconv.ParseUint(args[1], 10, 31)
	if err != nil {
		return refuse("TOP needs a message and a number of lines")
	}
	return c.send(ctx, r, int(lines))
}

// send sends a message, whole with lines < 0. Shutdown does not cut it.
func (c *session) send(ctx context.Context, r *row, lines int) error {
	ctx = context.WithoutCancel(ctx)
	body, m, err := c.drop.open(ctx, r)
	if err != nil {
		return err
	}
	defer body.Close()
	if lines < 0 {
		c.s.o.Story.Read(blob.LSN(m.ID), m.Received, story.Event{Who: c.who.Main.String(), Client: "POP3"})
	}
	buffer := c.s.buffers.Get().(*[copySize]byte)
	defer c.s.buffers.Put(buffer)
	// Before the +OK: a message that cannot be read must not stop a client at it in every session.
	piece := buffer[:min(copySize, body.Size())]
	if err := readPiece(body, piece, 0); err != nil {
		return fmt.Errorf("read message %d: %w", r.uid, err)
	}
	c.ok(strconv.FormatInt(body.Size(), 10) + " octets")
	coder := c.w.DotWriter()
	out := io.Writer(coder)
	if lines >= 0 {
		out = &topWriter{w: coder, lines: lines}
	}
	if err := c.stream(out, body, piece); err != nil && !errors.Is(err, errEnough) {
		return c.broken(ctx, fmt.Errorf("send message %d: %w", r.uid, err))
	}
	c.s.messages.WithLabelValues("sent").Inc()
	coder.Close()
	return nil
}

// stream sends the text piece by piece; the first has been read. It holds the header, which this client may need in another form.
func (c *session) stream(out io.Writer, body *store.Body, piece []byte) error {
	rest := piece
	if !c.utf8 {
		head := headerEnd(piece, int64(len(piece)) == body.Size())
		if _, err := out.Write(surrogate(piece[:head])); err != nil {
			return err
		}
		rest = piece[head:]
	}
	for at := int64(0); ; {
		if _, err := out.Write(rest); err != nil {
			return err
		}
		at += int64(len(piece))
		c.s.octets.Add(float64(len(piece)))
		if at == body.Size() {
			return nil
		}
		piece = piece[:min(copySize, body.Run(at))]
		if err := readPiece(body, piece, at); err != nil {
			return err
		}
		rest = piece
	}
}

func readPiece(body *store.Body, piece []byte, at int64) error {
	if n, err := body.ReadAt(piece, at); n < len(piece) {
		return cmp.Or(err, io.ErrUnexpectedEOF)
	}
	return nil
}

// headerEnd is where the empty line begins, whichever line ends the message has. A header that is longer than the
// piece is taken up to its last whole line.
func headerEnd(piece []byte, whole bool) int {
	for at := 0; ; {
		end := bytes.IndexByte(piece[at:], '\n')
		switch {
		case end < 0 && whole:
			return len(piece)
		case end < 0, end == 0, end == 1 && piece[at] == '\r':
			return at
		}
		at += end + 1
	}
}

// broken ends a connection in the middle of an answer: there is no other way to tell that it is not whole.
func (c *session) broken(ctx context.Context, err error) error {
	if c.w.Flush() == nil { // the fault is ours
		c.s.log.ErrorContext(ctx, logx.POP3Error, "account", uint32(c.who.Account), "error", err)
	}
	return errClose
}

// errEnough: TOP has all that it wants.
var errEnough = errors.New("pop3: enough lines")

// topWriter passes on the header and so many lines of the body.
type topWriter struct {
	w     io.Writer
	lines int
	body  bool
	begun bool // the line that goes on has octets already
}

func (t *topWriter) Write(p []byte) (int, error) {
	passed := 0
	for passed < len(p) {
		if t.body && t.lines == 0 {
			break
		}
		line := p[passed:]
		end := bytes.IndexByte(line, '\n')
		if end >= 0 {
			line = line[:end+1]
		}
		passed += len(line)
		switch {
		case end < 0:
			t.begun = t.begun || len(bytes.TrimRight(line, "\r")) > 0
		case t.body:
			t.lines--
		default:
			t.body = !t.begun && len(bytes.TrimRight(line, "\r\n")) == 0
			t.begun = false
		}
	}
	if _, err := t.w.Write(p[:passed]); err != nil {
		return 0, err
	}
	if passed < len(p) {
		return passed, errEnough
	}
	return passed, nil
}

// dele answers DELE: the message is marked, and goes at QUIT.
func (c *session) dele(_ context.Context, args []string) error {
	r, n, err := c.drop.find(args[0])
	if err != nil {
		return err
	}
	c.drop.mark(r)
	c.ok("message " + strconv.Itoa(n) + " marked as deleted")
	return nil
}

func (c *session) rset(context.Context, []string) error {
	c.drop.reset()
	c.ok("maildrop has " + c.drop.summary())
	return nil
}

// quit answers QUIT. +OK is said after the commit that removed what was marked, and
// only then (RFC 1939 section 6).
func (c *session) quit(ctx context.Context, _ []string) error {
	if c.drop == nil {
		c.ok("bye")
		return errClose
	}
	if err := c.drop.update(context.WithoutCancel(ctx)); err != nil {
		if errors.Is(err, store.ErrNoMailbox) {
			return err
		}
		c.s.log.ErrorContext(ctx, logx.POP3Error, "account", uint32(c.who.Account), "error", err)
		text := "deleted messages were not removed"
		if c.drop.deleted > 0 { // above 200,000 it takes several commits
			text = "some deleted messages were not removed"
		}
		return &refusal{code: "SYS/TEMP", text: text, last: true}
	}
	c.s.messages.WithLabelValues("deleted").Add(float64(c.drop.deleted))
	c.ok("bye, " + strconv.Itoa(c.drop.deleted) + " messages removed")
	return errClose
}
