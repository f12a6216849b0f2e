package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/blob"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// RecoveredName is the mailbox for mail that was found, and nobody knows where it was.
const RecoveredName = "Recovered"

// mending is what a replay of the journal finds out for Mend.
type mending struct {
	mu        sync.Mutex
	seen      map[blob.LSN]bool    // bodies that a journaled row named
	displaced map[displaced][]byte // rows that stood where others are wanted
}

// displaced names a row that lost its place.
type displaced struct {
	mailbox MailboxID
	uid     UID
	id      uint64
}

// saw notes that a journaled row named a body: whether or not a row does now, its message was not forgotten.
func (s *Store) saw(place blob.LSN) {
	s.mend.mu.Lock()
	defer s.mend.mu.Unlock()
	if s.mend.seen == nil {
		s.mend.seen = map[blob.LSN]bool{}
	}
	s.mend.seen[place] = true
}

// displace keeps a row that a journaled one takes the place of.
func (s *Store) displace(id MailboxID, r row) {
	s.mend.mu.Lock()
	defer s.mend.mu.Unlock()
	if s.mend.displaced == nil {
		s.mend.displaced = map[displaced][]byte{}
	}
	s.mend.displaced[displaced{id, r.uid(), r.id()}] = append([]byte(nil), r...)
}

// Mended is what Mend did.
type Mended struct {
	Mailboxes int       // that had mail and no name: they are called Recovered now
	Recovered int       // messages without a place, put into the mailbox Recovered of their account
	Homeless  []kv.Kept // messages of which nobody knows whose they are, or that cannot be read; they stay in the log
	Changes   []string  // what else did not fit together, in words
}

// Mend makes tables fit together that a repair has made of what there was, so that Check has nothing to say. It gives what has no place
// a place, and deletes no message. kept are bodies whose rows are missing.
func (s *Store) Mend(ctx context.Context, kept []kv.Kept) (Mended, error) {
	m := mender{s: s}
	for _, step := range []func(tx *kv.Tx) error{m.counters, m.accounts, m.boxes, m.counters, m.origins, m.waiting} {
		if err := s.db.Update(ctx, step); err != nil {
			return m.out, fmt.Errorf("make the tables fit together: %w", err)
		}
	}
	if err := m.recount(ctx); err != nil {
		return m.out, err
	}
	if err := s.db.Update(ctx, m.pools); err != nil {
		return m.out, fmt.Errorf("count the common quotas: %w", err)
	}
	if err := s.db.Update(ctx, m.replace); err != nil {
		return m.out, fmt.Errorf("put messages back that lost their uids: %w", err)
	}
	return m.out, m.recover(ctx, kept)
}

type mender struct {
	s     *Store
	out   Mended
	named map[MailboxID]mail.AccountID
	bins  map[MailboxID]mail.AccountID
}

func (m *mender) note(format string, args ...any) {
	if len(m.out.Changes) < maxProblems {
		m.out.Changes = append(m.out.Changes, fmt.Sprintf(format, args...))
	}
}

// accounts gives every account that has mailboxes its row and an INBOX.
func (m *mender) accounts(tx *kv.Tx) error {
	m.named, m.bins = map[MailboxID]mail.AccountID{}, map[MailboxID]mail.AccountID{}
	inbox, there := map[mail.AccountID]bool{}, map[mail.AccountID]bool{}
	left := map[mail.AccountID]holding{}
	for k, v := range tx.Scan(tabHoldings, nil, nil) {
		id := mail.AccountID(binary.BigEndian.Uint32(append(slices.Clone(k), 0, 0, 0, 0)))
		if h, err := decodeHolding(v); err == nil {
			there[id] = true
			if h.pool != "" && tx.Get(tabPools, []byte(h.pool)) == nil {
				m.note("account %d had a common quota as %s, which is not there: it has none now", id, h.pool)
				h.pool = ""
				left[id] = h
			}
			if h.bin != 0 {
				m.bins[h.bin] = id
			}
		}
	}
	for id, h := range left {
		tx.Put(tabHoldings, key32(uint32(id)), h.encode())
	}
	for k, v := range tx.Scan(tabNames, nil, nil) {
		n, err := decodeName(v)
		if err != nil || len(k) < 5 {
			continue
		}
		id := mail.AccountID(binary.BigEndian.Uint32(k))
		m.named[n.id] = id
		inbox[id] = inbox[id] || string(k[4:]) == Inbox
		if _, ok := there[id]; !ok {
			there[id] = false
		}
	}
	for _, id := range slices.Sorted(maps.Keys(there)) {
		if !there[id] {
			m.note("account %d has mailboxes and had no row for its quota: it has none now", id)
			tx.Put(tabHoldings, key32(uint32(id)), (&holding{}).encode())
		}
		if !inbox[id] {
			m.note("account %d had no INBOX: it has an empty one now", id)
			mu := m.s.begin(tx)
			a, err := mu.account(id)
			if err != nil {
				return err
			}
			box, err := mu.create(a, Inbox, 0)
			if err == nil {
				err = mu.end()
			}
			if err != nil {
				return err
			}
			m.named[box] = id
		}
	}
	return nil
}

// boxes looks at every mailbox that has rows.
func (m *mender) boxes(tx *kv.Tx) error {
	ids := map[MailboxID]bool{}
	for id := range m.named {
		ids[id] = true
	}
	for _, id := range rowOwners(tx) {
		ids[id] = true
	}
	for _, id := range slices.Sorted(maps.Keys(ids)) {
		if tx.Get(tabDropped, key32(uint32(id))) != nil && m.named[id] == 0 {
			continue // on its way out
		}
		if err := m.box(tx, id); err != nil {
			return fmt.Errorf("mailbox %d: %w", id, err)
		}
	}
	return nil
}

// rowOwners lists every mailbox id that table m has a key of.
func rowOwners(tx *kv.Tx) (out []MailboxID) {
	for next := uint64(0); next <= 0xffffffff; {
		found := false
		for k := range tx.Scan(tabMail, key32(uint32(next)), nil) {
			if found = len(k) == 8; found {
				out = append(out, MailboxID(binary.BigEndian.Uint32(k)))
				next = uint64(binary.BigEndian.Uint32(k)) + 1
			}
			break
		}
		if !found {
			break
		}
	}
	return out
}

// box makes the rows of one mailbox fit together.
func (m *mender) box(tx *kv.Tx, id MailboxID) error {
	account, named := m.named[id]
	owner, isBin := m.bins[id]
	if isBin && !named {
		account = owner
	}
	st, err := loadState(tx, id)
	if err != nil {
		if !named && !isBin {
			m.note("mailbox %d has rows, and nothing says whose it is: they stay as they are", id)
			return nil
		}
		m.note("mailbox %d of account %d had lost its numbers: they were counted, and it has a new UIDVALIDITY", id, account)
		st = state{uidNext: 1, uidValidity: m.s.nextUIDValidity(tx), highest: 1}
	}
	was := st
	if isBin && !named && !m.fitsBin(tx, id, &st) {
		isBin = false // its mail comes back under a name
		account = owner
		h, err := loadHolding(tx, owner)
		if err != nil {
			return err
		}
		h.bin = 0
		tx.Put(tabHoldings, key32(uint32(owner)), h.encode())
	}
	if !named && !isBin {
		if account == 0 {
			account = st.account
		}
		if tx.Get(tabHoldings, key32(uint32(account))) == nil {
			m.note("mailbox %d belonged to account %d, which is gone: its rows stay as they are", id, account)
			return nil
		}
		name, err := freeName(tx, account)
		if err != nil {
			return err
		}
		tx.Put(tabNames, nameKey(account, name), nameRow{id: id}.encode())
		m.named[id] = account
		m.out.Mailboxes++
		m.note("a mailbox of account %d with %d messages had no name: it is %q now", account, st.exists, name)
	}
	st.account, st.bin = account, isBin
	if err := m.rows(tx, id, &st); err != nil {
		return err
	}
	if string(st.encode()) != string(was.encode()) {
		tx.Put(tabMail, stateKey(id), st.encode())
	}
	return nil
}

// fitsBin says whether table x knows of every message of a bin where it was.
func (m *mender) fitsBin(tx *kv.Tx, id MailboxID, st *state) bool {
	var known, runs []UIDRange
	for k, v := range tx.Scan(tabKept, key32(uint32(id)), after(uint32(id))) {
		o, err := decodeKept(k, v)
		if err != nil || o.first == 0 || o.first > o.last || len(known) > 0 && o.first <= known[len(known)-1].Last {
			return false
		}
		known = append(known, UIDRange{o.first, o.last})
		st.uidNext = max(st.uidNext, o.last+1)
	}
	for p := range pages(tx, id, allUIDs()) {
		for i := range p.len() {
			runs = addUID(runs, p.row(i).uid())
			st.uidNext = max(st.uidNext, p.row(i).uid()+1)
		}
	}
	return overlap(gaps(known, st.uidNext), runs) == 0
}

// freeName is Recovered, or Recovered with a number, where the account has no such mailbox.
func freeName(tx *kv.Tx, id mail.AccountID) (string, error) {
	for i := 1; i < maxMailboxes; i++ {
		name := RecoveredName
		if i > 1 {
			name = fmt.Sprintf("%s-%d", RecoveredName, i)
		}
		if _, err := findName(tx, id, name); errors.Is(err, ErrNoMailbox) {
			return name, nil
		}
	}
	return "", fmt.Errorf("account %d has no room for another mailbox: %w", id, ErrLimit)
}

// rows makes the state, keywords, tombstones and unique-ids of a mailbox fit to its pages.
func (m *mender) rows(tx *kv.Tx, id MailboxID, st *state) error {
	kw := loadKeywords(tx, id)
	var runs []UIDRange
	var edits []page
	for p := range pages(tx, id, allUIDs()) {
		edited := page(nil)
		for i := range p.len() {
			r := p.row(i)
			runs = addUID(runs, r.uid())
			st.uidNext = max(st.uidNext, r.uid()+1)
			st.highest = max(st.highest, r.modSeq())
			if r.flags()&^kw.known() != 0 {
				if edited == nil {
					edited = append(make(page, 0, len(p)), p...)
				}
				edited.row(i).setFlags(r.flags() & kw.known())
			}
		}
		if edited != nil {
			edits = append(edits, edited)
		}
	}
	for _, p := range edits {
		tx.Put(tabMail, key32x2(uint32(id), p.index()), p)
	}
	if len(edits) > 0 {
		m.note("mailbox %d: keywords of messages in %d pages have no name any more and are gone", id, len(edits))
	}
	var bad [][]byte
	st.tombs = 0
	for k, v := range tx.Scan(tabGone, key32(uint32(id)), after(uint32(id))) {
		t, err := decodeTombstone(k, v)
		if err != nil || len(t.runs) == 0 || t.seq <= st.tombFloor || overlap(t.runs, runs) != 0 {
			bad = append(bad, slices.Clone(k))
			continue
		}
		st.tombs += uint32(countUIDs(t.runs))
		st.highest = max(st.highest, t.seq)
		st.uidNext = max(st.uidNext, t.runs[len(t.runs)-1].Last+1)
	}
	for _, k := range bad {
		tx.Delete(tabGone, k)
		if len(k) == 12 {
			st.tombFloor = max(st.tombFloor, min(binary.BigEndian.Uint64(k[4:]), st.highest))
		}
	}
	bad = nil
	for k, v := range tx.Scan(tabUIDL, key32(uint32(id)), after(uint32(id))) {
		if len(k) != 8 || !validUIDL(string(v)) || overlap([]UIDRange{{binary.BigEndian.Uint32(k[4:]), binary.BigEndian.Uint32(k[4:])}}, runs) == 0 {
			bad = append(bad, slices.Clone(k))
		}
	}
	for _, k := range bad {
		tx.Delete(tabUIDL, k)
	}
	return m.dropTombs(tx, id, st)
}

// dropTombs removes the tombstones that a higher floor has made invalid.
func (m *mender) dropTombs(tx *kv.Tx, id MailboxID, st *state) error {
	var old [][]byte
	for k, v := range tx.Scan(tabGone, key32(uint32(id)), key32x64(uint32(id), st.tombFloor+1)) {
		if t, err := decodeTombstone(k, v); err == nil {
			st.tombs -= uint32(countUIDs(t.runs))
		}
		old = append(old, slices.Clone(k))
	}
	for _, k := range old {
		tx.Delete(tabGone, k)
	}
	return nil
}

// counters lifts what is given next above everything that was given.
func (m *mender) counters(tx *kv.Tx) error {
	seq, box, valid := counter(tx, countModSeq), counter(tx, countMailbox), counter(tx, countUIDValidity)
	for _, id := range rowOwners(tx) {
		box = max(box, uint64(id))
		if st, err := loadState(tx, id); err == nil {
			seq, valid = max(seq, st.highest), max(valid, uint64(st.uidValidity))
		}
	}
	for name, v := range map[string]uint64{countModSeq: seq, countMailbox: box, countUIDValidity: valid} {
		if v > counter(tx, name) {
			m.note("the counter %s stood at %d, %d was given", name, counter(tx, name), v)
			putCounter(tx, name, v)
		}
	}
	return nil
}

// origins forgets where messages were that are in no bin: what fitsBin does not like has a name now.
func (m *mender) origins(tx *kv.Tx) error {
	var keys [][]byte
	for k := range tx.Scan(tabKept, nil, nil) {
		if len(k) == 8 {
			id := MailboxID(binary.BigEndian.Uint32(k))
			if st, err := loadState(tx, id); err == nil && st.bin || tx.Get(tabDropped, k[:4]) != nil {
				continue
			}
		}
		keys = append(keys, slices.Clone(k))
	}
	for _, k := range keys {
		tx.Delete(tabKept, k)
	}
	return nil
}

// pools counts the accounts of each common quota, and what they hold.
func (m *mender) pools(tx *kv.Tx) error {
	is := map[string]pool{}
	for _, v := range tx.Scan(tabHoldings, nil, nil) {
		if h, err := decodeHolding(v); err == nil && h.pool != "" {
			p := is[h.pool]
			p.used, p.accounts = p.used.plus(h.used), p.accounts+1
			is[h.pool] = p
		}
	}
	wrong := map[string]pool{}
	for k, v := range tx.Scan(tabPools, nil, nil) {
		p, err := decodePool(v)
		if n := is[string(k)]; err == nil && (p.used != n.used || p.accounts != n.accounts) {
			p.used, p.accounts = n.used, n.accounts
			wrong[string(k)] = p
		}
	}
	for _, name := range slices.Sorted(maps.Keys(wrong)) {
		m.note("the common quota of %s was counted anew", name)
		m.s.putPool(tx, name, wrong[name])
	}
	return nil
}

// recount writes the numbers that follow from the messages.
func (m *mender) recount(ctx context.Context) error {
	var ids []mail.AccountID
	err := m.s.db.View(ctx, func(tx *kv.Tx) error {
		for k := range tx.Scan(tabHoldings, nil, nil) {
			if len(k) == 4 {
				ids = append(ids, mail.AccountID(binary.BigEndian.Uint32(k)))
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, id := range ids {
		r, err := m.s.Recount(ctx, id)
		if err != nil {
			return fmt.Errorf("count the messages of account %d: %w", id, err)
		}
		if r.Was != r.Is || r.Mailboxes > 0 {
			m.note("account %d: %d messages with %d octets were counted, the tables said %d with %d", id, r.Is.Messages, r.Is.Bytes, r.Was.Messages, r.Was.Bytes)
		}
	}
	return nil
}

// replace adds the messages behind the others that lost their uids to journaled ones.
func (m *mender) replace(tx *kv.Tx) error {
	m.s.mend.mu.Lock()
	defer m.s.mend.mu.Unlock()
	mu := m.s.begin(tx)
	n := 0
	for _, d := range slices.SortedFunc(maps.Keys(m.s.mend.displaced), func(a, b displaced) int { return int(int64(a.id) - int64(b.id)) }) {
		b, err := mu.anyBox(d.mailbox)
		if errors.Is(err, ErrNoMailbox) {
			continue
		}
		if err != nil {
			return err
		}
		if b.st.bin || b.full(1) {
			continue
		}
		b.add(append(row(nil), m.s.mend.displaced[d]...))
		n++
	}
	if n > 0 {
		m.note("%d messages have other uids now: theirs were given to others", n)
	}
	return mu.end()
}

// recover puts bodies without a row into the mailbox Recovered of their account.
func (m *mender) recover(ctx context.Context, kept []kv.Kept) error {
	there, err := m.unseen(ctx, kept)
	if err != nil || len(there) == 0 {
		return err
	}
	for chunk := range slices.Chunk(there, 1000) {
		n, homeless := 0, []kv.Kept(nil)
		err := m.s.db.Update(ctx, func(tx *kv.Tx) error {
			n, homeless = 0, nil
			mu := m.s.begin(tx)
			for _, k := range chunk {
				switch err := mu.recover(k); {
				case errors.Is(err, ErrNoAccount), errors.Is(err, ErrDamaged):
					homeless = append(homeless, k)
				case err != nil:
					return err
				default:
					n++
				}
			}
			return mu.end()
		})
		if err != nil {
			return fmt.Errorf("put messages into %s: %w", RecoveredName, err)
		}
		m.out.Recovered += n
		m.out.Homeless = append(m.out.Homeless, homeless...)
	}
	return nil
}

// unseen leaves out the bodies that a row names, or named before the message was expunged.
func (m *mender) unseen(ctx context.Context, kept []kv.Kept) (out []kv.Kept, err error) {
	wanted := map[blob.LSN]bool{}
	for _, k := range kept {
		wanted[k.Body] = !m.s.mend.seen[k.Body]
	}
	err = m.s.db.View(ctx, func(tx *kv.Tx) error {
		for k, v := range tx.Scan(tabMail, nil, nil) {
			p := page(v)
			if len(k) != 8 || binary.BigEndian.Uint32(k[4:]) == stateIndex || !p.sound() {
				continue
			}
			for i := range p.len() {
				if place := p.row(i).place(); wanted[place] {
					wanted[place] = false
				}
			}
		}
		return nil
	})
	for _, k := range kept {
		if wanted[k.Body] {
			out = append(out, k)
		}
	}
	return out, err
}

func (m *mutation) recover(k kv.Kept) error {
	id := mail.AccountID(k.Account)
	a, err := m.account(id)
	if err != nil {
		return err
	}
	r, err := m.s.db.OpenBody(k.Body)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	defer r.Close()
	p := mailPart{account: id, received: m.s.now().Unix(), saved: m.s.now().Unix()}
	if head, err := r.Head(); err == nil {
		p.thread = headThread(head)
	}
	n, err := findName(m.tx, id, RecoveredName)
	if errors.Is(err, ErrNoMailbox) {
		n.id, err = m.create(a, RecoveredName, 0)
		m.subscribe(a, RecoveredName, true)
	}
	if err != nil {
		return err
	}
	b, err := m.box(n.id)
	if err != nil {
		return err
	}
	_, err = b.land(k.Entry, &p, false)
	return err
}
