package learn

import (
	"encoding/binary"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The tables of this package in side.db.
const (
	tabCursor kv.Table = "K" // account u32 -> version, then for each mailbox: id u32, modseq u64, uidnext u32; 0 -> version: begun
	tabKnown  kv.Table = "N" // account u32, message id u64 -> state, time u32
)

// state is what is known of a message.
type state byte

const (
	unknown  state = 0
	ours     state = 'o' // in Junk, where this house put it
	theirs   state = 't' // in Junk, where its owner put it: learned as junk
	marked   state = 'm' // learned as junk by its flag, never seen in Junk
	accepted state = 'g' // learned as good
)

// inJunk tells whether the message was seen in Junk: when it is seen elsewhere afterwards, its owner took it out.
func (s state) inJunk() bool { return s == ours || s == theirs }

func accountKey(account mail.AccountID) []byte {
	return binary.BigEndian.AppendUint32(make([]byte, 0, 12), uint32(account))
}

// begunKey is the row that says that all accounts of that time were looked at for the first time. No account has the number 0.
func begunKey() []byte { return accountKey(0) }

func behind(account mail.AccountID) []byte {
	if account == 0xffffffff {
		return nil
	}
	return accountKey(account + 1)
}

func knownKey(account mail.AccountID, id uint64) []byte {
	return binary.BigEndian.AppendUint64(accountKey(account), id)
}

func putState(tx *kv.Tx, account mail.AccountID, id uint64, s state, now time.Time) {
	tx.Put(tabKnown, knownKey(account, id), binary.BigEndian.AppendUint32([]byte{byte(s)}, uint32(now.Unix())))
}

func stateOf(tx *kv.Tx, account mail.AccountID, id uint64) state {
	v := tx.Get(tabKnown, knownKey(account, id))
	if len(v) != 5 {
		return unknown
	}
	return state(v[0])
}

// prune forgets the oldest messages of an account beyond most of them. Ids grow with time.
func prune(tx *kv.Tx, account mail.AccountID, most int) {
	var keys [][]byte
	for k := range tx.ScanBack(tabKnown, accountKey(account), behind(account)) {
		if most--; most < 0 {
			keys = append(keys, append([]byte(nil), k...))
		}
	}
	for _, k := range keys {
		tx.Delete(tabKnown, k)
	}
}

func forget(tx *kv.Tx, account mail.AccountID) {
	prune(tx, account, 0)
	tx.Delete(tabCursor, accountKey(account))
}

// place is how far a mailbox has been looked at.
type place struct {
	seq  store.ModSeq // all changes up to it
	next store.UID    // messages from it on are new
}

// cursor is how far an account has been looked at, by mailbox.
type cursor map[store.MailboxID]place

const (
	cursorVersion = 1
	placeSize     = 16
)

func (c cursor) encode() []byte {
	b := make([]byte, 1, 1+len(c)*placeSize)
	b[0] = cursorVersion
	for id, p := range c {
		b = binary.BigEndian.AppendUint32(b, uint32(id))
		b = binary.BigEndian.AppendUint64(b, p.seq)
		b = binary.BigEndian.AppendUint32(b, p.next)
	}
	return b
}

// readCursor returns an empty one when there is none that can be read: the account is new.
func readCursor(tx *kv.Tx, account mail.AccountID) cursor {
	c := cursor{}
	b := tx.Get(tabCursor, accountKey(account))
	if len(b) == 0 || b[0] != cursorVersion || (len(b)-1)%placeSize != 0 {
		return c
	}
	for b = b[1:]; len(b) > 0; b = b[placeSize:] {
		c[store.MailboxID(binary.BigEndian.Uint32(b))] = place{seq: binary.BigEndian.Uint64(b[4:]), next: binary.BigEndian.Uint32(b[12:])}
	}
	return c
}

// cursors are the accounts that have one.
func cursors(tx *kv.Tx) (all []mail.AccountID) {
	for k := range tx.Scan(tabCursor, accountKey(1), nil) {
		if len(k) == 4 {
			all = append(all, mail.AccountID(binary.BigEndian.Uint32(k)))
		}
	}
	return all
}
