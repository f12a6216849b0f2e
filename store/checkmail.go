package store

import (
	"encoding/binary"
)

// mailRows walks table m: every page, every row.
func (c *checker) mailRows() {
	for k, v := range c.rows(tabMail, 8, 8) {
		id, index := MailboxID(binary.BigEndian.Uint32(k)), binary.BigEndian.Uint32(k[4:])
		b := c.boxes[id]
		switch {
		case b == nil && c.dropped[id] && index != stateIndex:
			continue // on its way out
		case b == nil:
			c.bad("mailbox %d has rows, and no name", id)
			continue
		case index == stateIndex:
			st, err := decodeState(v)
			if err != nil {
				c.bad("mailbox %d: %v", id, err)
				continue
			}
			b.state, b.hasRow = st, true
		default:
			c.page(id, b, index, page(v))
		}
	}
}

func (c *checker) page(id MailboxID, b *checkedBox, index uint32, p page) {
	if !p.sound() {
		c.bad("mailbox %d page %d: %d bytes are no page", id, index, len(p))
		return
	}
	var highest ModSeq
	last := UID(0)
	for i := range p.len() {
		r := p.row(i)
		if r.uid()>>pageShift != index || r.uid() <= last {
			c.bad("mailbox %d page %d: uid %d is out of order", id, index, r.uid())
			continue
		}
		last = r.uid()
		highest = max(highest, r.modSeq())
		b.runs = addUID(b.runs, r.uid())
		b.used |= r.flags()
		b.is.exists++
		b.is.bytes += uint64(r.size())
		if r.flags()&Seen == 0 {
			b.is.unseen++
			if b.is.firstUnseen == 0 {
				b.is.firstUnseen = r.uid()
			}
		}
		if r.flags()&Deleted != 0 {
			b.is.deleted++
		}
		if r.id() == 0 || r.place() == 0 || r.modSeq() == 0 || r.thread() == 0 {
			c.bad("mailbox %d uid %d: id, place, modseq or thread is missing", id, r.uid())
		}
		c.bodies = append(c.bodies, bodyRef{at: r.place(), mailbox: id, uid: r.uid(), size: r.size()})
	}
	if p.highest() != highest {
		c.bad("mailbox %d page %d: its highest modseq is %d, its rows have %d", id, index, p.highest(), highest)
	}
	b.is.highest = max(b.is.highest, highest)
	b.is.uidNext = max(b.is.uidNext, last+1)
}

// states compares the state rows with the pages and the counters.
func (c *checker) states() {
	modSeq := counter(c.tx, countModSeq)
	for id, b := range c.boxes {
		if !b.hasRow {
			c.bad("mailbox %d (%q of account %d) has no state row", id, b.name, b.account)
			continue
		}
		st, is := &b.state, &b.is
		if st.account != b.account {
			c.bad("mailbox %d: the state row says account %d, its name stands with %d", id, st.account, b.account)
		}
		if st.exists != is.exists || st.unseen != is.unseen || st.deleted != is.deleted || st.bytes != is.bytes {
			c.bad("mailbox %d: the state row says %d messages, %d unseen, %d deleted, %d bytes; the pages have %d, %d, %d, %d", id,
				st.exists, st.unseen, st.deleted, st.bytes, is.exists, is.unseen, is.deleted, is.bytes)
		}
		if (st.firstUnseen == 0) != (is.unseen == 0) || st.firstUnseen > is.firstUnseen {
			c.bad("mailbox %d: the first unseen message is %d, the hint says %d", id, is.firstUnseen, st.firstUnseen)
		}
		if st.uidNext == 0 || is.uidNext > st.uidNext {
			c.bad("mailbox %d: UIDNEXT is %d, there is uid %d", id, st.uidNext, is.uidNext-1)
		}
		if st.highest == 0 || is.highest > st.highest || st.highest > modSeq {
			c.bad("mailbox %d: HIGHESTMODSEQ %d is not between that of its rows %d and the counter %d", id, st.highest, is.highest, modSeq)
		}
		v := validity{b.account, st.uidValidity}
		if other, ok := c.valid[v]; ok || v.value == 0 {
			c.bad("mailbox %d: UIDVALIDITY %d is that of mailbox %d too, or none", id, v.value, other)
		}
		c.valid[v] = id
		if st.bin != b.bin {
			c.bad("mailbox %d: the state row and the account do not agree whether it is the bin", id)
		}
		if a := c.accounts[b.account]; a != nil && !b.bin {
			a.used.Bytes += is.bytes
			a.used.Messages += uint64(is.exists)
		}
		if b.used&^b.kw.known() != 0 {
			c.bad("mailbox %d: messages have flag bits %#x, which no keyword names", id, b.used&^b.kw.known())
		}
	}
}

func (c *checker) keywordRows() {
	for k, v := range c.rows(tabKeywords, 4, 4) {
		id := MailboxID(binary.BigEndian.Uint32(k))
		b := c.boxes[id]
		if b == nil {
			if !c.dropped[id] {
				c.bad("keywords of mailbox %d, which is not there", id)
			}
			continue
		}
		size := 0
		for i, name := range b.kw.names {
			size += 1 + len(name)
			if !ValidKeyword(name) || b.kw.bit(name) != 1<<(firstKeyword+i) {
				c.bad("mailbox %d: keyword %q is not allowed or there twice", id, name)
			}
		}
		if size != len(v) || len(b.kw.names) > maxKeywords {
			c.bad("mailbox %d: the row of %d keywords cannot be read", id, len(b.kw.names))
		}
	}
}

func (c *checker) tombstones() {
	for k, v := range c.rows(tabGone, 12, 12) {
		id := MailboxID(binary.BigEndian.Uint32(k))
		b := c.boxes[id]
		if b == nil {
			if !c.dropped[id] {
				c.bad("tombstones of mailbox %d, which is not there", id)
			}
			continue
		}
		t, err := decodeTombstone(k, v)
		if err != nil || len(t.runs) == 0 {
			c.bad("mailbox %d: tombstone %x cannot be read: %v", id, k, err)
			continue
		}
		b.tombs += countUIDs(t.runs)
		if t.seq > b.state.highest || t.seq <= b.state.tombFloor {
			c.bad("mailbox %d: tombstone of modseq %d is not between the floor %d and HIGHESTMODSEQ %d", id, t.seq, b.state.tombFloor, b.state.highest)
		}
		if last := t.runs[len(t.runs)-1].Last; last >= b.state.uidNext {
			c.bad("mailbox %d: tombstone of uid %d, UIDNEXT is %d", id, last, b.state.uidNext)
		}
		if u := overlap(t.runs, b.runs); u != 0 {
			c.bad("mailbox %d: uid %d has a tombstone, and is there", id, u)
		}
	}
	for id, b := range c.boxes {
		if b.hasRow && b.tombs != uint64(b.state.tombs) {
			c.bad("mailbox %d: the state row counts %d tombstones, there are %d", id, b.state.tombs, b.tombs)
		}
	}
}

// overlap is a uid that is in both, or 0.
func overlap(a, b []UIDRange) UID {
	for len(a) > 0 && len(b) > 0 {
		switch {
		case a[0].Last < b[0].First:
			a = a[1:]
		case b[0].Last < a[0].First:
			b = b[1:]
		default:
			return max(a[0].First, b[0].First)
		}
	}
	return 0
}

func (c *checker) uidlRows() {
	for k, v := range c.rows(tabUIDL, 8, 8) {
		id, uid := MailboxID(binary.BigEndian.Uint32(k)), binary.BigEndian.Uint32(k[4:])
		b := c.boxes[id]
		switch {
		case b == nil && c.dropped[id]:
		case b == nil || overlap([]UIDRange{{uid, uid}}, b.runs) == 0:
			c.bad("mailbox %d uid %d has a UIDL, and is not there", id, uid)
		case !validUIDL(string(v)):
			c.bad("mailbox %d uid %d: its UIDL %q is not allowed", id, uid, v)
		}
	}
}
