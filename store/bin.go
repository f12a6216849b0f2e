package store

import (
	"context"
	"errors"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// A bin is the mailbox in which an account keeps what it has expunged. It has pages, uids and ModSeqs as every mailbox, so that
// a hundred thousand messages go there for the price of a MOVE and a client can look at them; it has no name in table n, its mail
// does not count, and only three things change it: an expunge, an undelete, and the time. The date a message was saved there is the
// date it was expunged.

// bin opens the account's bin, and makes it when this is the first message for it.
func (m *mutation) bin(id mail.AccountID) (*box, error) {
	a, err := m.account(id)
	if err != nil {
		return nil, err
	}
	if a.holding.bin != 0 {
		b, err := m.anyBox(a.holding.bin)
		if !errors.Is(err, ErrNoMailbox) {
			return b, err
		}
		return m.findBin(id, a.holding.bin)
	}
	made, err := nextMailboxID(m.tx)
	if err != nil {
		return nil, err
	}
	st := state{account: id, uidNext: 1, uidValidity: m.s.nextUIDValidity(m.tx), highest: m.modSeq(), bin: true}
	m.tx.Put(tabMail, stateKey(made), st.encode())
	a.holding.bin, a.dirty = made, true
	return m.anyBox(made)
}

// findBin makes the row of a bin anew that was lost: without it nothing could be expunged any more.
func (m *mutation) findBin(account mail.AccountID, id MailboxID) (*box, error) {
	st := state{account: account, uidNext: 1, uidValidity: m.s.nextUIDValidity(m.tx), highest: m.modSeq(), bin: true}
	st.tombFloor = st.highest - 1
	for k, v := range m.tx.ScanBack(tabKept, key32(uint32(id)), after(uint32(id))) {
		if o, err := decodeKept(k, v); err == nil {
			st.uidNext = o.last + 1
		}
		break
	}
	m.tx.Put(tabMail, stateKey(id), st.encode())
	dropRows(m.tx, tabGone, key32(uint32(id)), after(uint32(id)))
	if _, _, err := m.s.recountBox(m.tx, id); err != nil {
		return nil, err
	}
	return m.anyBox(id)
}

// source is a mailbox that loses messages.
type source struct {
	account  mail.AccountID
	id       MailboxID
	name     string
	drafts   bool
	keywords *keywords
}

// source describes a mailbox that has a name; its keywords are read by whoever needs them.
func (b *box) source() (source, error) {
	n, err := b.m.s.names.find(b.m.tx, b.st.account, b.id)
	return source{account: b.st.account, id: b.id, name: n.name, drafts: n.use&UseDrafts != 0}, err
}

// keep puts rows, which their mailbox is about to lose, into the bin of its account.
func (m *mutation) keep(from source, rows []row) error {
	if m.s.keepTime.Load() <= 0 || len(rows) == 0 {
		return nil
	}
	var hashes []uint64
	if from.drafts {
		rows, hashes = m.lastDrafts(rows)
	}
	bin, err := m.bin(from.account)
	if err != nil {
		return err
	}
	if bin.full(len(rows)) {
		return nil // after four thousand million messages nothing is kept any more
	}
	if from.keywords == nil {
		from.keywords = loadKeywords(m.tx, from.id)
	}
	o := kept{first: bin.st.uidNext, mailbox: from.id, name: from.name}
	bits := newKeywordMap(from.keywords, loadKeywords(m.tx, bin.id), rows)
	now := m.s.now().Unix()
	var buf [rowSize]byte
	for i, r := range rows {
		copy(buf[:], r)
		r = buf[:]
		for _, name := range bits.lost(r.flags()) {
			o.lose(name, bin.st.uidNext)
		}
		r.setFlags(bits.apply(r.flags()) &^ Deleted)
		r.setSaved(now)
		uid := bin.add(r)
		if hashes != nil && hashes[i] != 0 {
			o.drafts = append(o.drafts, draft{uid, hashes[i]})
		}
	}
	m.s.mark(m.tx)
	bits.here.save(m.tx)
	o.last = bin.st.uidNext - 1
	m.putKept(bin.id, o)
	m.s.watchBin(m.tx, bin, rows)
	return m.dropDrafts(bin, o)
}

// Clients save the draft that is being written again and again: a new copy, and the one before is expunged. Of these only the last
// is kept, else one letter would push a month of mail out of the bin. Copies are known by their Message-ID.
const (
	maxDraftsAtOnce = 16 // to know them costs a read each
	draftsBack      = 64 // expunges that are looked through for the copy before
)

// lastDrafts leaves out the drafts that a later one among them replaces, and gives the hash of the Message-ID of each that is left.
func (m *mutation) lastDrafts(rows []row) ([]row, []uint64) {
	if len(rows) > maxDraftsAtOnce {
		return rows, nil
	}
	hashes := make([]uint64, len(rows))
	for i, r := range rows {
		if r.flags()&Draft != 0 {
			hashes[i] = m.s.messageHashAt(r)
		}
	}
	var left []row
	var of []uint64
	for i, r := range rows {
		if h := hashes[i]; h == 0 || !slices.Contains(hashes[i+1:], h) {
			left, of = append(left, r), append(of, h)
		}
	}
	return left, of
}

// messageHashAt reads the hash of a stored message's Message-ID; 0: it has none that can be read.
func (s *Store) messageHashAt(r row) uint64 {
	b, err := s.db.OpenBody(r.place())
	if err != nil {
		return 0
	}
	defer b.Close()
	head, err := b.Head()
	if err != nil {
		return 0
	}
	return headMessageHash(head)
}

// dropDrafts gives up the drafts in the bin that those of o replace.
func (m *mutation) dropDrafts(bin *box, o kept) error {
	if len(o.drafts) == 0 {
		return nil
	}
	var old []UIDRange
	left := draftsBack
	for k, v := range m.tx.ScanBack(tabKept, key32(uint32(bin.id)), key32x2(uint32(bin.id), o.drafts[0].uid)) {
		before, err := decodeKept(k, v)
		if left--; err != nil || left < 0 { // told by Check
			break
		}
		for _, d := range before.drafts {
			if d.uid < o.drafts[0].uid && slices.ContainsFunc(o.drafts, func(n draft) bool { return n.hash == d.hash }) {
				old = append(old, UIDRange{d.uid, d.uid})
			}
		}
	}
	if len(old) == 0 {
		return nil
	}
	bin.flush()
	gone := bin.gather(normal(old, 0xffffffff), stepRows, func(row) bool { return true })
	bin.remove(&gone)
	return nil
}

// rows are the rows of a removal, each where it stands.
func (r *removal) rows() []row {
	out := make([]row, r.len())
	for i := range out {
		out[i] = r.row(i)
	}
	return out
}

// expunge removes what gather found, into the bin.
func (b *box) expunge(gone *removal) error {
	if gone.len() == 0 {
		return nil
	}
	if err := b.takeBack(gone); err != nil {
		return err
	}
	if b.m.s.keepTime.Load() > 0 {
		from, err := b.source()
		if err != nil && !errors.Is(err, ErrNoMailbox) {
			return err
		}
		if err := b.m.keep(from, gone.rows()); err != nil {
			return err
		}
	}
	b.remove(gone)
	return nil
}

// Totals is what the mailboxes of all accounts hold, and what their bins hold beside it.
func (s *Store) Totals(ctx context.Context) (held, kept Quota, err error) {
	err = s.db.View(ctx, func(tx *kv.Tx) error {
		held, kept = Quota{}, Quota{}
		for _, v := range tx.Scan(tabHoldings, nil, nil) {
			if h, err := decodeHolding(v); err == nil {
				held = held.plus(h.used)
			}
		}
		var err error
		kept, err = keptNow(tx)
		return err
	})
	return held, kept, err
}

// keptNow is what the bins hold, by a scan of the accounts.
func keptNow(tx *kv.Tx) (Quota, error) {
	var all Quota
	for _, v := range tx.Scan(tabHoldings, nil, nil) {
		h, err := decodeHolding(v)
		if err != nil || h.bin == 0 {
			continue // told by Check
		}
		st, err := loadState(tx, h.bin)
		if err != nil {
			return all, err
		}
		all = all.plus(Quota{Bytes: st.bytes, Messages: uint64(st.exists)})
	}
	return all, nil
}
