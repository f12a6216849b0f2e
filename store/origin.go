package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"iter"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Origin names a message in the place it was imported from, so that an import can be run again and takes in what is new.
type Origin struct {
	Source uint64   // which place: a hash of its path or address; 0: none
	Key    [16]byte // which message there: a hash of what it is known by
	Stamp  uint32   // what it was like, in a form of the importer's own (a hash of its flags)
}

// Imported is a message that was taken in, and what became of it then.
type Imported struct {
	Key     [16]byte
	Stamp   uint32
	Mailbox MailboxID
	UID     UID
}

// Table i: account u32, source u64, modseq u64 -> 28 octets for each message of one Import: key, mailbox, uid, stamp. A row with
// the same key and a later modseq replaces it. account u32 alone -> the last UIDVALIDITYs that its mailboxes do not have any more.
const (
	importedSize = 16 + 4 + 4 + 4
	importedKey  = 4 + 8 + 8
	maxRetired   = 4096
)

func sourceKey(id mail.AccountID, source uint64) []byte {
	return key32x64(uint32(id), source)
}

// origins keeps where the messages of an Import come from.
func (in *imports) origins(tx *kv.Tx, m *mutation, account mail.AccountID) {
	rows := map[uint64][]byte{}
	for i := range in.msgs {
		if o := &in.msgs[i].Origin; o.Source != 0 {
			rows[o.Source] = appendImported(rows[o.Source], &Imported{o.Key, o.Stamp, in.mailbox, in.uids[i]})
		}
	}
	for source, row := range rows {
		tx.Put(tabImports, binary.BigEndian.AppendUint64(sourceKey(account, source), m.modSeq()), row)
	}
}

func appendImported(b []byte, i *Imported) []byte {
	b = append(b, i.Key[:]...)
	b = binary.BigEndian.AppendUint32(b, uint32(i.Mailbox))
	b = binary.BigEndian.AppendUint32(b, i.UID)
	return binary.BigEndian.AppendUint32(b, i.Stamp)
}

func decodeImported(b []byte) Imported {
	return Imported{
		Key: [16]byte(b), Mailbox: MailboxID(binary.BigEndian.Uint32(b[16:])),
		UID: binary.BigEndian.Uint32(b[20:]), Stamp: binary.BigEndian.Uint32(b[24:]),
	}
}

// importedRows is how many rows of table i one snapshot of Imported copies out.
const importedRows = 64

// Imported yields what the account has taken in from a source, in the order of its coming, in pages (the slice is reused); a
// later entry with the same key replaces the one before.
func (s *Store) Imported(ctx context.Context, id mail.AccountID, source uint64) iter.Seq2[[]Imported, error] {
	return func(yield func([]Imported, error) bool) {
		var page []Imported
		end := afterKey(sourceKey(id, source))
		for from := sourceKey(id, source); from != nil; {
			err := s.db.View(ctx, func(tx *kv.Tx) error {
				page = page[:0]
				left := importedRows
				for k, v := range tx.Scan(tabImports, from, end) {
					if left--; left < 0 {
						from = slices.Clone(k)
						return nil
					}
					for ; len(v) >= importedSize; v = v[importedSize:] {
						page = append(page, decodeImported(v))
					}
				}
				from = nil
				return nil
			})
			if err != nil {
				yield(nil, err)
				return
			}
			if len(page) > 0 && !yield(page, nil) {
				return
			}
		}
	}
}

// Restamp keeps new stamps of messages that were imported before.
func (s *Store) Restamp(ctx context.Context, id mail.AccountID, source uint64, list []Imported) error {
	var row []byte
	for i := range list {
		row = appendImported(row, &list[i])
	}
	return s.db.Update(ctx, func(tx *kv.Tx) error {
		m := s.begin(tx)
		if _, err := m.account(id); err != nil {
			return err
		}
		tx.Put(tabImports, binary.BigEndian.AppendUint64(sourceKey(id, source), m.modSeq()), row)
		return m.end()
	})
}

// ForgetImported makes an account take everything of a source in again.
func (s *Store) ForgetImported(ctx context.Context, id mail.AccountID, source uint64) error {
	return s.db.Update(ctx, func(tx *kv.Tx) error {
		dropRows(tx, tabImports, sourceKey(id, source), afterKey(sourceKey(id, source)))
		return nil
	})
}

// dropRows deletes the keys with from <= key < to.
func dropRows(tx *kv.Tx, t kv.Table, from, to []byte) {
	var keys [][]byte
	for k := range tx.Scan(t, from, to) {
		keys = append(keys, slices.Clone(k))
	}
	for _, k := range keys {
		tx.Delete(t, k)
	}
}

// afterKey is the first key behind all that begin with k; nil when there is none. It does not change k.
func afterKey(k []byte) []byte {
	k = slices.Clone(k)
	for i := len(k) - 1; i >= 0; i-- {
		if k[i]++; k[i] != 0 {
			return k[:i+1]
		}
	}
	return nil
}

// unusedUIDValidity refuses one that the account has or had, its bin too, and keeps it from being given later. A mailbox that has it and never
// had a message gets another one.
func (m *mutation) unusedUIDValidity(id mail.AccountID, v uint32) error {
	tx := m.tx
	boxes, err := listNames(tx, id)
	if err != nil {
		return err
	}
	a, err := m.account(id)
	if err != nil {
		return err
	}
	for _, b := range append(boxes, Mailbox{ID: a.holding.bin, Name: BinName}) {
		if b.ID == 0 {
			continue
		}
		other, err := m.anyBox(b.ID)
		if err != nil {
			return err
		}
		if other.st.uidValidity != v {
			continue
		}
		if other.st.uidNext == 1 {
			other.st.uidValidity = m.s.nextUIDValidity(tx)
			other.touch()
		} else {
			return fmt.Errorf("%w: %q has the UIDVALIDITY %d", ErrUID, b.Name, v)
		}
	}
	for b := tx.Get(tabImports, key32(uint32(id))); len(b) >= 4; b = b[4:] {
		if binary.BigEndian.Uint32(b) == v {
			return fmt.Errorf("%w: a mailbox had the UIDVALIDITY %d before", ErrUID, v)
		}
	}
	// One that stands far ahead of the clock is not raised to: the counter would have nothing left to give.
	const year = 366 * 24 * 3600
	if last := counter(tx, countUIDValidity); uint64(v) > last && int64(v) < m.s.now().Unix()+year {
		putCounter(tx, countUIDValidity, uint64(v))
	}
	return nil
}

// retire notes the UIDVALIDITY of a mailbox that goes or gets another one, if clients may have seen a message in it.
func retire(tx *kv.Tx, st *state) {
	key := key32(uint32(st.account))
	if st.uidNext == 1 || tx.Get(tabHoldings, key) == nil {
		return
	}
	list := binary.BigEndian.AppendUint32(slices.Clone(tx.Get(tabImports, key)), st.uidValidity)
	tx.Put(tabImports, key, list[max(0, len(list)-4*maxRetired):])
}

// imports of check.go: table i.
func (c *checker) imports() {
	for k, v := range c.rows(tabImports, 4, importedKey) {
		id := mail.AccountID(binary.BigEndian.Uint32(k))
		unit := importedSize
		if len(k) == 4 {
			unit = 4
		}
		switch {
		case c.accounts[id] == nil:
			c.bad("imports of account %d, which is not there", id)
		case len(k) != 4 && len(k) != importedKey || len(v)%unit != 0 || len(v) == 0:
			c.bad("account %d: the row %x of its imports has %d bytes", id, k, len(v))
		}
	}
}
