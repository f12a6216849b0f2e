package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// maxProblems ends a check of a store that is broken all over.
const maxProblems = 1000

var errEnough = errors.New("store: enough problems")

// checker walks the tables in one snapshot and keeps what one table says about another.
type checker struct {
	tx       *kv.Tx
	problems []string

	accounts map[mail.AccountID]*recount
	boxes    map[MailboxID]*checkedBox
	dropped  map[MailboxID]bool
	valid    map[validity]MailboxID
	bodies   []bodyRef
}

// validity is a UIDVALIDITY in its account: adopted ones may be those of other accounts too.
type validity struct {
	account mail.AccountID
	value   uint32
}

// recount is what an account's row says, and what was found.
type recount struct {
	row       holding
	used      Quota
	mailboxes uint32
	subs      uint32
	uses      SpecialUse
	inbox     bool
}

// checkedBox is a mailbox: where its name stands, its state row, and what its pages say.
type checkedBox struct {
	account mail.AccountID
	name    string
	state   state
	is      state // recounted
	hasRow  bool
	runs    []UIDRange
	kw      *keywords
	used    Flags
	tombs   uint64
	bin     bool
	kept    []UIDRange // uids of a bin whose origin stands in table x
}

// bodyRef names one message that has a body, for the report.
type bodyRef struct {
	at      blob.LSN
	mailbox MailboxID
	uid     UID
	size    uint32
}

// Check verifies every invariant of the tables and, deep, every body; it reports problems in words. Without deep, bodies are
// only opened. It changes nothing, reads one snapshot, and keeps bodies from moving until it ends.
func (s *Store) Check(ctx context.Context, deep bool) ([]string, error) {
	defer s.db.Hold()()
	found, err := s.Examine(ctx, Examination{Deep: deep})
	var out []string
	for _, p := range found {
		out = append(out, p.String())
	}
	return out, err
}

// CheckTables is Check without a look at the bodies.
func (s *Store) CheckTables(ctx context.Context) ([]string, error) {
	c, err := s.checkTables(ctx)
	if err != nil {
		return nil, err
	}
	return c.problems, nil
}

// checkTables walks the tables in one snapshot, about 0.3 s for a million messages.
func (s *Store) checkTables(ctx context.Context) (*checker, error) {
	if err := s.db.SettleAll(ctx); err != nil {
		return nil, err
	}
	c := &checker{
		accounts: map[mail.AccountID]*recount{}, boxes: map[MailboxID]*checkedBox{}, dropped: map[MailboxID]bool{},
		valid: map[validity]MailboxID{},
	}
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		c.tx = tx
		for _, step := range []func(){
			c.holdings, c.drops, c.nameRows, c.mailRows, c.segments, c.states, c.keywordRows, c.tombstones, c.uidlRows, c.keptRows, c.waiting, c.imports, c.subRows, c.totals, c.pools, c.aside,
		} {
			if step(); len(c.problems) >= maxProblems {
				return errEnough
			}
			if err := ctx.Err(); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil && !errors.Is(err, errEnough) {
		return nil, err
	}
	return c, nil
}

func (c *checker) bad(format string, args ...any) {
	switch n := len(c.problems); {
	case n < maxProblems:
		c.problems = append(c.problems, fmt.Sprintf(format, args...))
	case n == maxProblems:
		c.problems = append(c.problems, "more problems are not listed")
	}
}

// rows yields the pairs of a table whose keys have one of the lengths from min to max.
func (c *checker) rows(t kv.Table, minKey, maxKey int) func(yield func(k, v []byte) bool) {
	return func(yield func(k, v []byte) bool) {
		for k, v := range c.tx.Scan(t, nil, nil) {
			if len(k) < minKey || len(k) > maxKey {
				c.bad("table %s has a key of %d bytes: %x", t, len(k), k)
				continue
			}
			if !yield(k, v) {
				return
			}
		}
	}
}

func (c *checker) holdings() {
	for k, v := range c.rows(tabHoldings, 4, 4) {
		id := mail.AccountID(binary.BigEndian.Uint32(k))
		h, err := decodeHolding(v)
		if err != nil {
			c.bad("account %d: %v", id, err)
			continue
		}
		c.accounts[id] = &recount{row: h}
		if h.bin != 0 {
			c.addBin(id, h.bin)
		}
	}
}

func (c *checker) drops() {
	for k, v := range c.rows(tabDropped, 4, 4) {
		d, err := decodeDropped(k, v)
		if err != nil {
			c.bad("deleted mailbox %x: %v", k, err)
			continue
		}
		c.dropped[d.id] = true
	}
}

func (c *checker) nameRows() {
	highest := counter(c.tx, countMailbox)
	for k, v := range c.rows(tabNames, 5, 4+maxName) {
		id, name := mail.AccountID(binary.BigEndian.Uint32(k)), string(k[4:])
		n, err := decodeName(v)
		if err != nil {
			c.bad("account %d mailbox %q: %v", id, name, err)
			continue
		}
		a := c.accounts[id]
		if a == nil {
			c.bad("mailbox %q belongs to account %d, which is not there", name, id)
			a = &recount{}
		}
		if stored, err := CheckName(name); err != nil || stored != name {
			c.bad("account %d: the mailbox name %q is not in its stored form: %v", id, name, err)
		}
		if a.uses&n.use != 0 || n.use&^(usable|UseOutbox) != 0 {
			c.bad("account %d mailbox %q: its special use %#x is given twice or cannot be", id, name, n.use)
		}
		a.uses |= n.use
		a.mailboxes++
		a.inbox = a.inbox || name == Inbox
		switch {
		case n.id == 0 || uint64(n.id) > highest:
			c.bad("account %d mailbox %q: its id %d is beyond the counter %d", id, name, n.id, highest)
		case c.dropped[n.id]:
			c.bad("account %d mailbox %q: its id %d is listed as deleted", id, name, n.id)
		case c.boxes[n.id] != nil:
			c.bad("account %d mailbox %q: its id %d is that of %q too", id, name, n.id, c.boxes[n.id].name)
			continue
		}
		c.boxes[n.id] = &checkedBox{account: id, name: name, kw: loadKeywords(c.tx, n.id)}
	}
}

func (c *checker) subRows() {
	for k := range c.rows(tabSubs, 5, 4+maxName) {
		id, name := mail.AccountID(binary.BigEndian.Uint32(k)), string(k[4:])
		if a := c.accounts[id]; a != nil {
			a.subs++
		} else {
			c.bad("subscription %q belongs to account %d, which is not there", name, id)
		}
		if stored, err := CheckName(name); err != nil || stored != name {
			c.bad("account %d: the subscription %q is not in its stored form: %v", id, name, err)
		}
	}
}

// totals compares the accounts' rows with what was found.
func (c *checker) totals() {
	for id, a := range c.accounts {
		if a.row.used != a.used {
			c.bad("account %d: usage says %d bytes in %d messages, the mailboxes have %d in %d",
				id, a.row.used.Bytes, a.row.used.Messages, a.used.Bytes, a.used.Messages)
		}
		if a.row.mailboxes != a.mailboxes || a.row.subs != a.subs {
			c.bad("account %d: the row counts %d mailboxes and %d subscriptions, there are %d and %d",
				id, a.row.mailboxes, a.row.subs, a.mailboxes, a.subs)
		}
		if !a.inbox {
			c.bad("account %d has no INBOX", id)
		}
	}
}

// aside reports records of the log that could not be applied: mail that was accepted and is in no mailbox.
func (c *checker) aside() {
	for k, v := range c.rows(tabAside, 8, 8) {
		reason := "for an unknown reason"
		if n := int64(len(v)) - 4; n >= 0 && int64(binary.BigEndian.Uint32(v)) <= n {
			reason = string(v[4 : 4+binary.BigEndian.Uint32(v)])
		}
		c.bad("record %x was set aside: %s", k, reason)
	}
}
