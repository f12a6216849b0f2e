package imap

import (
	"context"
	"strconv"
	"time"

	goimap "github.com/emersion/go-imap/v2"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/store"
)

// maxAppend bounds the messages of one APPEND (RFC 3502). Until the last has come, each holds 20 KB of memory or a segment.
const maxAppend = 200

// append answers APPEND (RFC 9051 section 6.3.12), with several messages (RFC 3502), literal8 (RFC 3516) and
// UTF8 (RFC 6855 section 4). Nothing is asked for that would be refused: mailbox, size and quota are looked at before "+".
func (c *conn) append(ctx context.Context, r *request) error {
	c.d.SP()
	name := c.d.Mailbox()
	if err := c.d.Err(); err != nil {
		return err
	}
	m, err := c.destination(ctx, name)
	if err != nil {
		return err
	}
	a := appending{c: c}
	defer a.release()
	for first := true; first || !c.d.AtEnd(); first = false {
		if err := a.message(ctx); err != nil {
			return err
		}
	}
	if err := c.d.End(); err != nil {
		return err
	}
	validity, uids, err := c.s.store.Append(ctx, m.ID, a.messages)
	if err != nil {
		return tryCreate(err)
	}
	set := syntax.NewSetBuilder(append([]byte("APPENDUID "), number(validity)+" "...))
	for _, uid := range uids {
		set.Add(uid)
	}
	r.code = string(set.Bytes())
	return nil
}

// appending is an APPEND that is being received.
type appending struct {
	c        *conn
	messages []store.AppendMessage
}

// release gives up what is not in the mailbox.
func (a *appending) release() {
	for _, m := range a.messages {
		m.Arrival.Discard()
		m.Reservation.Release()
	}
}

// message takes one message: [flags] [date] literal.
func (a *appending) message(ctx context.Context) error {
	d := &a.c.d
	d.SP()
	var flags []goimap.Flag
	if d.Peek() == '(' {
		flags = d.Flags()
		d.SP()
	}
	var received time.Time
	if d.Peek() == '"' {
		received = d.DateTime()
		d.SP()
	}
	wrapped := a.utf8()
	lit := d.Literal()
	if err := d.Err(); err != nil {
		return err
	}
	bits, keywords, err := parseFlags(flags)
	if err != nil {
		return err
	}
	held, err := a.admit(ctx, lit)
	if err != nil {
		return err
	}
	arrival, err := a.receive(ctx, lit)
	if err != nil {
		held.Release()
		return err
	}
	a.messages = append(a.messages, store.AppendMessage{Arrival: arrival, Reservation: held, Flags: bits, Keywords: keywords, Received: received})
	if wrapped {
		d.Expect(')')
	}
	return d.Err()
}

// utf8 takes the beginning of "UTF8 (~{n}...)".
func (a *appending) utf8() bool {
	d := &a.c.d
	if c := d.Peek(); c == '{' || c == '~' {
		return false
	}
	if word := d.Keyword(); word != "UTF8" || !a.c.enabled.utf8 {
		d.Fail("expected a literal (UTF8 needs ENABLE UTF8=ACCEPT)")
		return false
	}
	d.SP()
	d.Expect('(')
	return true
}

// admit refuses what cannot be stored before it is sent, and holds its room.
func (a *appending) admit(ctx context.Context, lit syntax.Literal) (*store.Reservation, error) {
	switch {
	case lit.Size == 0:
		return nil, no("", "APPEND given up") // RFC 3502 section 6.3.11
	case lit.Size > a.c.s.o.MaxMessage:
		return nil, no(goimap.ResponseCodeTooBig, "message over the limit of "+strconv.FormatInt(a.c.s.o.MaxMessage, 10)+" octets")
	case len(a.messages) == maxAppend:
		return nil, no(goimap.ResponseCodeLimit, "too many messages in one APPEND")
	}
	return a.c.s.store.Reserve(ctx, a.c.who.Account, lit.Size)
}

// receive streams the literal into the store.
func (a *appending) receive(ctx context.Context, lit syntax.Literal) (*store.Arrival, error) {
	w, err := a.c.s.store.NewMessage(ctx, lit.Size)
	if err != nil {
		return nil, err
	}
	err = a.c.d.CopyLiteral(w, lit)
	if err == nil {
		err = a.c.d.Err()
	}
	if err != nil {
		w.Discard()
		return nil, err
	}
	return w.Finish()
}
