package kv

import (
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/bbolt"
)

// What follows knows the tables of formats 1 and 2 as bytes: a rollback changes tables whose program is not the one that runs.
const (
	oldMail     Table = "m" // mailbox u32, ffffffff -> state: account u32, uidnext u32, uidvalidity u32, highest modseq u64
	oldEntries  Table = "q" // due u64, number u64 -> queue entry
	oldNumbers  Table = "Q" // number u64 -> due u64; number 0 -> the highest number
	oldModSeq         = "modseq"
	oldValidity       = "uidvalidity"

	oldValidityStep = 1 << 20
	oldModSeqStep   = 1 << 32
)

// beginEpoch makes the staged tables give nothing that was given since: counters go on above those of today, every mailbox gets a new
// UIDVALIDITY. Queue entries that were settled since are not tried again.
func (w *rollback) beginEpoch(tables string) (err error) {
	counters, numbers := map[string]uint64{}, map[string][]byte(nil)
	if w.r.From != 0 {
		if counters, numbers, err = readSince(w.path("meta.db")); err != nil {
			return err
		}
	}
	db, err := openFile(tables, &bbolt.Options{PageSize: pageSize, Timeout: lockWait})
	if err != nil {
		return err
	}
	b := &bolt{db: db, pageSize: pageSize}
	err = guard(func() error {
		return b.update(func(p pages) error {
			tx := &Tx{pages: p, writable: true}
			raiseCounters(tx, counters)
			if numbers != nil {
				dropSettled(tx, numbers)
			}
			newValidities(tx)
			return tx.err
		})
	})
	return errors.Join(err, db.Close())
}

// readSince reads counters and queue numbers of the tables of today.
func readSince(path string) (counters map[string]uint64, numbers map[string][]byte, err error) {
	b, err := openReadOnly(path)
	if err != nil {
		return nil, nil, err
	}
	counters, numbers = map[string]uint64{}, map[string][]byte{}
	err = guard(func() error {
		return b.view(func(p pages) error {
			tx := &Tx{pages: p}
			for k, v := range tx.Scan(tableSettings, nil, nil) {
				if name := string(k); len(v) == 8 && name != keyApplied && name != keyChanges {
					counters[name] = binary.BigEndian.Uint64(v)
				}
			}
			for k, v := range tx.Scan(oldNumbers, nil, nil) {
				numbers[string(k)] = append([]byte(nil), v...)
			}
			return nil
		})
	})
	return counters, numbers, errors.Join(err, b.db.Close())
}

func raiseCounters(tx *Tx, counters map[string]uint64) {
	for name, n := range counters {
		v := tx.Get(tableSettings, []byte(name))
		if len(v) == 8 && binary.BigEndian.Uint64(v) < n {
			tx.Put(tableSettings, []byte(name), binary.BigEndian.AppendUint64(nil, n))
		}
	}
}

// dropSettled removes the queue entries that the newer program has finished, and keeps numbers from being given twice.
func dropSettled(tx *Tx, numbers map[string][]byte) {
	var gone, rows [][]byte
	for k, due := range tx.Scan(oldNumbers, nil, nil) {
		if len(k) == 8 && binary.BigEndian.Uint64(k) != 0 && numbers[string(k)] == nil {
			gone = append(gone, append([]byte(nil), k...))
			rows = append(rows, append(append([]byte(nil), due...), k...))
		}
	}
	for i := range gone {
		tx.Delete(oldNumbers, gone[i])
		tx.Delete(oldEntries, rows[i])
	}
	zero := make([]byte, 8)
	if last := numbers[string(zero)]; last != nil {
		tx.Put(oldNumbers, zero, last)
	}
}

// newValidities gives every mailbox a UIDVALIDITY that none had (RFC 9051 section 2.3.1.1).
func newValidities(tx *Tx) {
	counter := func(name string) uint64 {
		if v := tx.Get(tableSettings, []byte(name)); len(v) == 8 {
			return binary.BigEndian.Uint64(v)
		}
		return 0
	}
	validity := max(uint64(time.Now().Unix()), counter(oldValidity)) + oldValidityStep
	modseq := counter(oldModSeq) + oldModSeqStep
	var keys, states [][]byte
	for k, v := range tx.Scan(oldMail, nil, nil) {
		if len(k) == 8 && binary.BigEndian.Uint32(k[4:]) == 0xffffffff && len(v) >= 20 {
			validity++
			state := append([]byte(nil), v...)
			binary.BigEndian.PutUint32(state[8:], uint32(validity))
			binary.BigEndian.PutUint64(state[12:], modseq)
			keys, states = append(keys, append([]byte(nil), k...)), append(states, state)
		}
	}
	for i := range keys {
		tx.Put(oldMail, keys[i], states[i])
	}
	tx.Put(tableSettings, []byte(oldValidity), binary.BigEndian.AppendUint64(nil, validity))
	tx.Put(tableSettings, []byte(oldModSeq), binary.BigEndian.AppendUint64(nil, modseq))
}

// openReadOnly opens the tables of a file for reading.
func openReadOnly(path string) (*bolt, error) {
	db, err := openFile(path, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return nil, err
	}
	return &bolt{db: db, pageSize: pageSize}, nil
}
