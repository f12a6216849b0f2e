package pull

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/store"
)

// stampBits is how many of a mailbox's own keywords a stamp can tell of: those beyond come with a message, and later changes of
// them are not seen.
const (
	ownBit    = 8
	stampBits = 32 - ownBit
	maxOwn    = 64 - ownBit
)

// keywordNames are the own keywords of the mailbox here, as far as this run knows them.
type keywordNames struct {
	names []string
	known int // of them are in the store; the rest will be, when the messages are that have them
}

func (k *keywordNames) load(ctx context.Context, s *store.Store, id store.MailboxID) (err error) {
	k.names, err = s.Keywords(ctx, id)
	k.names = slices.Clone(k.names)
	k.known = len(k.names)
	return err
}

// bit is the stamp's bit of a keyword: the one that it has, or will have, in the mailbox. 0: beyond the stamp.
func (k *keywordNames) bit(name string) uint32 {
	i := slices.IndexFunc(k.names, func(n string) bool { return strings.EqualFold(n, name) })
	if i < 0 {
		if len(k.names) >= maxOwn {
			return 0
		}
		k.names = append(k.names, name)
		i = len(k.names) - 1
	}
	if i >= stampBits {
		return 0
	}
	return 1 << (ownBit + i)
}

// as reports whether the keywords have the bits that were expected.
func (k *keywordNames) as(expected []string) bool {
	return len(k.names) >= len(expected) && slices.EqualFunc(expected, k.names[:len(expected)], strings.EqualFold)
}

// settle puts the stamps right after an Import when the keywords did not get the bits that were expected.
func (k *keywordNames) settle(ctx context.Context, f *folder, batch []pulled) error {
	if k.known == len(k.names) {
		return nil
	}
	expected := k.names
	if err := k.load(ctx, f.p.o.Store, f.box.ID); err != nil {
		return err
	}
	if k.as(expected) {
		return nil
	}
	var wrong []entry
	for i := range batch {
		if e := f.ledger.find(batch[i].uid); e != nil && len(batch[i].Keywords) > 0 {
			e := *e
			e.stamp = uint32(batch[i].Flags) & 0xff
			for _, name := range batch[i].Keywords {
				if slices.ContainsFunc(k.names, func(n string) bool { return strings.EqualFold(n, name) }) {
					e.stamp |= k.bit(name)
				}
			}
			wrong = append(wrong, e)
		}
	}
	return f.ledger.write(ctx, wrong, f.multi)
}

// flags translates the flags of a message (RFC 9051 section 2.3.2). \Recent and flags of the server's own are not ours.
func (f *folder) flags(list []value) (bits store.Flags, keywords []string, stamp uint32) {
	for _, v := range list {
		switch strings.ToLower(v.text) {
		case `\seen`:
			bits |= store.Seen
		case `\answered`:
			bits |= store.Answered
		case `\flagged`:
			bits |= store.Flagged
		case `\deleted`:
			bits |= store.Deleted
		case `\draft`:
			bits |= store.Draft
		case "$forwarded":
			bits |= store.Forwarded
		case "$junk":
			bits |= store.Junk
		case "$notjunk":
			bits |= store.NotJunk
		default:
			if strings.HasPrefix(v.text, `\`) || v.text == "" {
				continue
			}
			if !store.ValidKeyword(v.text) {
				f.warnOnce(v.text, "is no keyword here and was left out")
				continue
			}
			if slices.ContainsFunc(keywords, func(k string) bool { return strings.EqualFold(k, v.text) }) {
				continue
			}
			if len(f.keywords.names) >= maxOwn && !slices.ContainsFunc(f.keywords.names, func(n string) bool { return strings.EqualFold(n, v.text) }) {
				f.warnOnce(v.text, "was left out: a mailbox has at most 56 keywords of its own")
				continue
			}
			keywords = append(keywords, v.text)
			stamp |= f.keywords.bit(v.text)
		}
	}
	return bits, keywords, stamp | uint32(bits)
}

func (f *folder) warnOnce(keyword, what string) {
	if len(f.warned) < maxWarnings && !f.warned[keyword] {
		f.warned[keyword] = true
		f.p.warn(f.report.From + ": the flag " + keyword + " " + what)
	}
}

// flagChanges are what became of flags there since they were last looked at. Only the difference is carried over, so that
// what was changed here meanwhile stays.
type flagChanges struct {
	f       *folder
	order   []changeOf // in which new keywords get their bits
	groups  map[changeOf][]store.UIDRange
	entries []entry
}

// changeOf is one change that many messages may share.
type changeOf struct {
	mailbox     store.MailboxID
	add, remove uint32
}

func newFlagChanges(f *folder) *flagChanges {
	return &flagChanges{f: f, groups: map[changeOf][]store.UIDRange{}}
}

// compare takes one listed message that is known.
func (c *flagChanges) compare(e *entry, m *listedMessage) {
	_, _, now := c.f.flags(m.flags)
	if now == e.stamp {
		return
	}
	k := changeOf{mailbox: e.mailbox, add: now &^ e.stamp, remove: e.stamp &^ now}
	if c.groups[k] == nil {
		c.order = append(c.order, k)
	}
	c.groups[k] = append(c.groups[k], store.UIDRange{First: e.place.uid, Last: e.place.uid})
	changed := *e
	changed.stamp = now
	c.entries = append(c.entries, changed)
}

// apply changes the flags here, then what the ledger says of them: cut short in between, the same is done again.
func (c *flagChanges) apply(ctx context.Context) error {
	s := c.f.p.o.Store
	for _, k := range c.order {
		ranges := sortedRanges(c.groups[k])
		for _, step := range []struct {
			op   store.FlagsOp
			bits uint32
		}{{store.FlagsAdd, k.add}, {store.FlagsRemove, k.remove}} {
			if step.bits == 0 {
				continue
			}
			change := store.FlagsChange{Op: step.op, Flags: store.Flags(step.bits & 0xff)}
			for i, name := range c.f.keywords.names {
				if i < stampBits && step.bits&(1<<(ownBit+i)) != 0 {
					change.Keywords = append(change.Keywords, name)
				}
			}
			rows, _, err := s.SetFlags(ctx, k.mailbox, ranges, change)
			if errors.Is(err, store.ErrNoMailbox) || errors.Is(err, store.ErrLimit) {
				c.f.p.warn(c.f.report.From + ": flags were not changed: " + err.Error())
				continue
			}
			if err != nil {
				return err
			}
			if step.op == store.FlagsAdd || k.add == 0 {
				c.f.report.Flagged += len(rows)
			}
		}
	}
	if len(c.entries) == 0 {
		return nil
	}
	expected := c.f.keywords.names
	if err := c.f.keywords.load(ctx, s, c.f.box.ID); err != nil || !c.f.keywords.as(expected) {
		return err // somebody else made a keyword known just now: the next run writes the stamps
	}
	return c.f.ledger.write(ctx, c.entries, c.f.multi)
}
