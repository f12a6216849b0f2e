package store

import (
	"encoding/binary"
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The tables of this package. Keys are big endian, so that a scan walks in order.
const (
	tabNames    kv.Table = "n" // account u32, name -> mailbox u32, special use u16
	tabSubs     kv.Table = "b" // account u32, name -> empty: subscription, survives DELETE
	tabMail     kv.Table = "m" // mailbox u32, uid>>6 u32 -> page; mailbox u32, ffffffff -> state
	tabGone     kv.Table = "v" // mailbox u32, modseq u64 -> time u32, expunged uids as varint runs
	tabKeywords kv.Table = "k" // mailbox u32 -> keyword names
	tabUIDL     kv.Table = "u" // mailbox u32, uid u32 -> UIDL brought from another server
	tabCounters kv.Table = "s" // name -> u64
	tabHoldings kv.Table = "h" // account u32 -> limits and usage of the account
	tabImports  kv.Table = "i" // account u32, source u64, modseq u64 -> what was imported; account u32 -> old UIDVALIDITYs (origin.go)
	tabDropped  kv.Table = "d" // mailbox u32 -> account u32, name: a deleted mailbox whose pages are still there (purge.go)
	tabPools    kv.Table = "o" // name -> limit and usage of accounts that share one
	tabKept     kv.Table = "x" // bin mailbox u32, uid u32 -> where the messages from that uid on were (origin.go)
	tabWaiting  kv.Table = "c" // mailbox u32, uid u32 -> a message that waits to be sent (outbox.go)
	tabSent     kv.Table = "j" // mailbox u32, hash u64 -> uid u32, time u32, how: what came into Sent in the last days (sent.go)
	tabAside    kv.Table = "z" // of package kv: records that could not be applied; read by Check
)

// The counters of table s that this package owns.
const (
	countModSeq      = "modseq"
	countMailbox     = "mailbox"
	countUIDValidity = "uidvalidity"
)

const stateIndex = 0xffffffff // page index of the state row

func key32(id uint32) []byte { return binary.BigEndian.AppendUint32(make([]byte, 0, 8), id) }

func key32x2(a, b uint32) []byte { return binary.BigEndian.AppendUint32(key32(a), b) }

func key32x64(a uint32, b uint64) []byte {
	return binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint32(make([]byte, 0, 12), a), b)
}

func nameKey(id mail.AccountID, name string) []byte {
	return append(binary.BigEndian.AppendUint32(make([]byte, 0, 4+len(name)), uint32(id)), name...)
}

// after is the first key behind all keys that begin with id; nil when there is none.
func after(id uint32) []byte {
	if id == 0xffffffff {
		return nil
	}
	return key32(id + 1)
}

func stateKey(id MailboxID) []byte { return key32x2(uint32(id), stateIndex) }

// state is the state row: what SELECT needs, without a look at the pages.
type state struct {
	account     mail.AccountID
	uidNext     UID
	uidValidity uint32
	highest     ModSeq
	exists      uint32
	unseen      uint32
	deleted     uint32
	firstUnseen UID // no message below it is unseen
	bytes       uint64
	tombFloor   ModSeq // tombstones up to it are gone
	tombs       uint32 // uids that the tombstones name
	bin         bool   // it holds what the account has expunged (bin.go)
	reserve     UID    // uids below it are another server's to give (import.go); 0: none
}

const stateSize = 56 // of the rows that the first version wrote

func (s *state) encode() []byte {
	b := make([]byte, 0, stateSize+5)
	b = binary.BigEndian.AppendUint32(b, uint32(s.account))
	b = binary.BigEndian.AppendUint32(b, s.uidNext)
	b = binary.BigEndian.AppendUint32(b, s.uidValidity)
	b = binary.BigEndian.AppendUint64(b, s.highest)
	b = binary.BigEndian.AppendUint32(b, s.exists)
	b = binary.BigEndian.AppendUint32(b, s.unseen)
	b = binary.BigEndian.AppendUint32(b, s.deleted)
	b = binary.BigEndian.AppendUint32(b, s.firstUnseen)
	b = binary.BigEndian.AppendUint64(b, s.bytes)
	b = binary.BigEndian.AppendUint64(b, s.tombFloor)
	b = binary.BigEndian.AppendUint32(b, s.tombs)
	switch {
	case s.reserve != 0:
		b = binary.BigEndian.AppendUint32(append(b, 0), s.reserve) // a bin has none
	case s.bin:
		b = append(b, 1)
	}
	return b
}

func decodeState(b []byte) (state, error) {
	if len(b) < stateSize {
		return state{}, fmt.Errorf("state row of %d bytes: %w", len(b), ErrDamaged)
	}
	s := state{
		account:     mail.AccountID(binary.BigEndian.Uint32(b)),
		uidNext:     binary.BigEndian.Uint32(b[4:]),
		uidValidity: binary.BigEndian.Uint32(b[8:]),
		highest:     binary.BigEndian.Uint64(b[12:]),
		exists:      binary.BigEndian.Uint32(b[20:]),
		unseen:      binary.BigEndian.Uint32(b[24:]),
		deleted:     binary.BigEndian.Uint32(b[28:]),
		firstUnseen: binary.BigEndian.Uint32(b[32:]),
		bytes:       binary.BigEndian.Uint64(b[36:]),
		tombFloor:   binary.BigEndian.Uint64(b[44:]),
		tombs:       binary.BigEndian.Uint32(b[52:]),
		bin:         len(b) > stateSize && b[stateSize] == 1,
	}
	if len(b) >= stateSize+5 {
		s.reserve = binary.BigEndian.Uint32(b[stateSize+1:])
	}
	return s, nil
}

// loadState reads the state row of a mailbox that is there.
func loadState(tx *kv.Tx, id MailboxID) (state, error) {
	b := tx.Get(tabMail, stateKey(id))
	if b == nil {
		return state{}, ErrNoMailbox
	}
	return decodeState(b)
}

// holding is what an account may have and has.
type holding struct {
	limit, used Quota
	mailboxes   uint32
	subs        uint32
	bin         MailboxID // where expunged mail is kept; 0: none yet
	warning     warning   // whether its owner knows that it is nearly full (warn.go)
	pool        string    // whose limit counts too (pool.go); empty: nobody's
}

const holdingSize = 40 // of the rows that the first version wrote

func (h *holding) encode() []byte {
	b := make([]byte, 0, holdingSize+5+len(h.pool))
	b = binary.BigEndian.AppendUint64(b, h.limit.Bytes)
	b = binary.BigEndian.AppendUint64(b, h.limit.Messages)
	b = binary.BigEndian.AppendUint64(b, h.used.Bytes)
	b = binary.BigEndian.AppendUint64(b, h.used.Messages)
	b = binary.BigEndian.AppendUint32(b, h.mailboxes)
	b = binary.BigEndian.AppendUint32(b, h.subs)
	b = binary.BigEndian.AppendUint32(b, uint32(h.bin))
	return append(append(b, byte(h.warning)), h.pool...)
}

func decodeHolding(b []byte) (holding, error) {
	if len(b) < holdingSize {
		return holding{}, fmt.Errorf("account row of %d bytes: %w", len(b), ErrDamaged)
	}
	h := holding{
		limit:     Quota{Bytes: binary.BigEndian.Uint64(b), Messages: binary.BigEndian.Uint64(b[8:])},
		used:      Quota{Bytes: binary.BigEndian.Uint64(b[16:]), Messages: binary.BigEndian.Uint64(b[24:])},
		mailboxes: binary.BigEndian.Uint32(b[32:]),
		subs:      binary.BigEndian.Uint32(b[36:]),
	}
	if len(b) >= holdingSize+5 {
		h.bin = MailboxID(binary.BigEndian.Uint32(b[holdingSize:]))
		h.warning = warning(b[holdingSize+4])
		h.pool = string(b[holdingSize+5:])
	}
	return h, nil
}

func loadHolding(tx *kv.Tx, id mail.AccountID) (holding, error) {
	b := tx.Get(tabHoldings, key32(uint32(id)))
	if b == nil {
		return holding{}, ErrNoAccount
	}
	return decodeHolding(b)
}

// fits reports whether more stays within the limit.
func fits(limit, used *Quota, more Quota) bool {
	if limit.Bytes != 0 && used.Bytes+more.Bytes > limit.Bytes {
		return false
	}
	return limit.Messages == 0 || used.Messages+more.Messages <= limit.Messages
}

func counter(tx *kv.Tx, name string) uint64 {
	if b := tx.Get(tabCounters, []byte(name)); len(b) == 8 {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func putCounter(tx *kv.Tx, name string, v uint64) {
	tx.Put(tabCounters, []byte(name), binary.BigEndian.AppendUint64(nil, v))
}

// nextMailboxID gives a mailbox id that was never given before.
func nextMailboxID(tx *kv.Tx) (MailboxID, error) {
	id := counter(tx, countMailbox) + 1
	if id >= 0xffffffff {
		return 0, fmt.Errorf("mailbox ids are used up: %w", ErrLimit)
	}
	putCounter(tx, countMailbox, id)
	return MailboxID(id), nil
}

// nextUIDValidity is never given twice in the whole store, so that a mailbox that is deleted and made again, or takes the
// name of another, is never mistaken for the old one (RFC 9051 section 2.3.1.1).
func (s *Store) nextUIDValidity(tx *kv.Tx) uint32 {
	v := max(s.validityClock(), counter(tx, countUIDValidity)+1)
	putCounter(tx, countUIDValidity, v)
	return uint32(v)
}

// validityClock is the time in a UIDVALIDITY. A clock that is wrong for once must not take it to the end of its 32 bits, behind which
// it would begin anew: from 2072 on it is counted.
func (s *Store) validityClock() uint64 { return min(uint64(seconds(s.now().Unix())), 0xc0000000) }

type nameRow struct {
	id  MailboxID
	use SpecialUse
}

func (r nameRow) encode() []byte {
	return binary.BigEndian.AppendUint16(key32(uint32(r.id)), uint16(r.use))
}

func decodeName(b []byte) (nameRow, error) {
	if len(b) < 6 {
		return nameRow{}, fmt.Errorf("name row of %d bytes: %w", len(b), ErrDamaged)
	}
	return nameRow{id: MailboxID(binary.BigEndian.Uint32(b)), use: SpecialUse(binary.BigEndian.Uint16(b[4:]))}, nil
}

// findName looks a stored name up.
func findName(tx *kv.Tx, id mail.AccountID, name string) (nameRow, error) {
	b := tx.Get(tabNames, nameKey(id, name))
	if b == nil {
		return nameRow{}, ErrNoMailbox
	}
	return decodeName(b)
}
