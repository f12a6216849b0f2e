package store

import (
	"encoding/binary"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// addBin notes the bin of an account, which has no row in table n.
func (c *checker) addBin(account mail.AccountID, id MailboxID) {
	if other := c.boxes[id]; other != nil || uint64(id) > counter(c.tx, countMailbox) {
		c.bad("account %d: its bin %d is that of another account or beyond the counter", account, id)
		return
	}
	c.boxes[id] = &checkedBox{account: account, name: BinName, bin: true, kw: loadKeywords(c.tx, id)}
}

// pools compares the common quotas with what their accounts hold.
func (c *checker) pools() {
	is := map[string]pool{}
	for _, a := range c.accounts {
		if name := a.row.pool; name != "" {
			p := is[name]
			p.used, p.accounts = p.used.plus(a.used), p.accounts+1
			is[name] = p
		}
	}
	for k, v := range c.rows(tabPools, 1, 255) {
		name := string(k)
		p, err := decodePool(v)
		if err != nil {
			c.bad("common quota of %s: %v", name, err)
			continue
		}
		if n := is[name]; p.used != n.used || p.accounts != n.accounts {
			c.bad("common quota of %s: usage says %d bytes in %d messages of %d accounts, they have %d in %d of %d",
				name, p.used.Bytes, p.used.Messages, p.accounts, n.used.Bytes, n.used.Messages, n.accounts)
		}
		delete(is, name)
	}
	for name := range is {
		c.bad("accounts have a common quota as %s, which is not there", name)
	}
}

// keptRows walks table x: every message of a bin has one row that says where it was.
func (c *checker) keptRows() {
	for k, v := range c.rows(tabKept, 8, 8) {
		id := MailboxID(binary.BigEndian.Uint32(k))
		b := c.boxes[id]
		if b == nil && c.dropped[id] {
			continue
		}
		if b == nil || !b.bin {
			c.bad("mailbox %d has rows of kept mail, and is no bin", id)
			continue
		}
		o, err := decodeKept(k, v)
		if err != nil {
			c.bad("bin %d: row %x: %v", id, k, err)
			continue
		}
		n := len(b.kept)
		if o.first == 0 || o.last >= b.state.uidNext || n > 0 && o.first <= b.kept[n-1].Last {
			c.bad("bin %d: the row of uids %d to %d overlaps another or is beyond UIDNEXT %d", id, o.first, o.last, b.state.uidNext)
			continue
		}
		b.kept = append(b.kept, UIDRange{o.first, o.last})
		c.keptParts(id, &o)
	}
	for id, b := range c.boxes {
		if u := overlap(gaps(b.kept, b.state.uidNext), b.runs); b.bin && b.hasRow && u != 0 {
			c.bad("bin %d uid %d: no row says where it was", id, u)
		}
	}
}

// keptParts looks at what a row says of single messages.
func (c *checker) keptParts(id MailboxID, o *kept) {
	within := func(first, last UID) bool { return first >= o.first && last <= o.last }
	for _, l := range o.lost {
		if n := len(l.runs); n == 0 || !ValidKeyword(l.name) || !within(l.runs[0].First, l.runs[n-1].Last) {
			c.bad("bin %d: keyword %q of uids %d to %d is not allowed or of others", id, l.name, o.first, o.last)
		}
	}
	for _, d := range o.drafts {
		if d.hash == 0 || !within(d.uid, d.uid) {
			c.bad("bin %d: draft %d of uids %d to %d has no hash or is of others", id, d.uid, o.first, o.last)
		}
	}
}
