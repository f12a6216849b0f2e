package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// Examination is how Examine looks at the store.
type Examination struct {
	Deep bool  // read every message, and every page of the tables
	Pace int64 // octets a second; 0: as fast as the disk
}

// Problem is one thing that Examine found. With a UID it is about one message.
type Problem struct {
	Account mail.AccountID
	ID      MailboxID
	Mailbox string
	UID     UID
	Subject string // when it can be read
	From    string
	Place   blob.LSN
	Text    string
}

// String is the problem in words.
func (p Problem) String() string {
	if p.UID == 0 {
		return p.Text
	}
	return fmt.Sprintf("mailbox %d (%s of account %d) uid %d%s: its body at %s: %s", p.ID, p.Mailbox, p.Account, p.UID, p.Quote(), p.Place, p.Text)
}

// Quote is what is known of the message's header, in brackets behind a space; empty when nothing is.
func (p Problem) Quote() string {
	switch {
	case p.Subject == "" && p.From == "":
		return ""
	case p.From == "":
		return fmt.Sprintf(" (%q)", p.Subject)
	}
	return fmt.Sprintf(" (%q from %s)", p.Subject, p.From)
}

// Examine verifies every invariant of the tables and opens every body, or reads it when Deep is set. It works on a store in use: no
// snapshot is held while bodies are read, and one that moves meanwhile is found again. It changes nothing.
func (s *Store) Examine(ctx context.Context, e Examination) ([]Problem, error) {
	var out []Problem
	if e.Deep {
		if err := s.db.CheckPages(ctx); errors.Is(err, ErrDamaged) {
			out = append(out, Problem{Text: err.Error()})
		} else if err != nil {
			return nil, err
		}
	}
	c, err := s.checkTables(ctx)
	if err != nil {
		return out, err
	}
	for _, text := range c.problems {
		out = append(out, Problem{Text: text})
	}
	x := examiner{s: s, c: c, e: e, begin: time.Now(), buf: make([]byte, 256<<10)}
	err = x.bodies(ctx)
	return append(out, x.found...), err
}

type examiner struct {
	s     *Store
	c     *checker
	e     Examination
	found []Problem

	begin time.Time
	read  int64
	buf   []byte
}

// bodies looks at every body once, in the order they stand on the disk.
func (x *examiner) bodies(ctx context.Context) error {
	refs := x.c.bodies
	slices.SortFunc(refs, func(a, b bodyRef) int { return cmp.Compare(a.at, b.at) })
	bad := map[bodyRef]string{} // what is said of a body that several messages share
	for i, ref := range refs {
		if err := ctx.Err(); err != nil {
			return err
		}
		key := bodyRef{at: ref.at, size: ref.size}
		if i > 0 && refs[i-1].at == ref.at && refs[i-1].size == ref.size {
			if text := bad[key]; text != "" {
				x.tell(ctx, ref, text)
			}
			continue
		}
		if err := x.body(ctx, ref); err != nil && ctx.Err() == nil {
			bad[key] = err.Error()
			x.tell(ctx, ref, err.Error())
		}
		if len(x.found) >= maxProblems {
			x.found = append(x.found, Problem{Text: "more problems are not listed"})
			return nil
		}
		if err := x.wait(ctx); err != nil {
			return err
		}
	}
	return nil
}

// wait keeps the pace.
func (x *examiner) wait(ctx context.Context) error {
	if x.e.Pace <= 0 {
		return nil
	}
	early := time.Duration(float64(x.read)/float64(x.e.Pace)*float64(time.Second)) - time.Since(x.begin)
	if early < 10*time.Millisecond {
		return nil
	}
	select {
	case <-time.After(early):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// body reads one body. One that is not there any more was moved or its message expunged since the tables were read.
func (x *examiner) body(ctx context.Context, ref bodyRef) error {
	b, err := x.s.OpenAt(ctx, ref.at)
	if errors.Is(err, fs.ErrNotExist) {
		b, err = x.s.Open(ctx, Message{Mailbox: ref.mailbox, UID: ref.uid, Place: ref.at})
		if errors.Is(err, ErrNoMessage) {
			return nil
		}
	}
	if err != nil {
		return err
	}
	defer b.Close()
	x.read += 4096
	if b.Size() != int64(ref.size) {
		return fmt.Errorf("it has %d octets, the table says %d", b.Size(), ref.size)
	}
	if !x.e.Deep {
		return nil
	}
	if _, err := b.Root(); err != nil {
		return fmt.Errorf("structure: %w", err)
	}
	n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, io.NewSectionReader(b, 0, b.Size()), x.buf)
	x.read += n
	if err == nil && n != b.Size() {
		err = io.ErrUnexpectedEOF
	}
	return err
}

// tell names a message that was hit.
func (x *examiner) tell(ctx context.Context, ref bodyRef, text string) {
	p := Problem{ID: ref.mailbox, UID: ref.uid, Place: ref.at, Text: text}
	if b := x.c.boxes[ref.mailbox]; b != nil {
		p.Account, p.Mailbox = b.account, b.name
	}
	if b, err := x.s.OpenAt(ctx, ref.at); err == nil {
		p.Subject, p.From = heading(b)
		b.Close()
	}
	x.found = append(x.found, p)
}

// heading reads what people know a message by, out of its structure or the beginning of its text, as far as they can be read.
func heading(b *Body) (subject, from string) {
	size := min(b.Size(), 64<<10)
	if root, err := b.Root(); err == nil && root != nil {
		size = min(size, root.Body)
	}
	head := make([]byte, size)
	n, _ := b.ReadAt(head, 0)
	for n == 0 && len(head) > 128 { // a read that meets the damage gives nothing
		head = head[:len(head)/2]
		n, _ = b.ReadAt(head, 0)
	}
	return message.DecodeWords(message.HeaderValue(head[:n], "Subject")), message.DecodeWords(message.HeaderValue(head[:n], "From"))
}

// Holders names the messages whose bodies stand at the places.
func (s *Store) Holders(ctx context.Context, places []blob.LSN) ([]Problem, error) {
	c, err := s.checkTables(ctx)
	if err != nil {
		return nil, err
	}
	x := examiner{s: s, c: c}
	for _, ref := range c.bodies {
		if slices.Contains(places, ref.at) {
			x.tell(ctx, ref, "it cannot be read as a whole")
		}
	}
	return x.found, nil
}
