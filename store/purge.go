package store

import (
	"bytes"
	"context"
	"encoding/binary"
	"time"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// purgeStep is how many rows of a dropped mailbox one commit removes: about 30,000 messages, a megabyte or two of pages.
const purgeStep = 500

// purgeRetry is how long a purge that failed waits for the next try.
const purgeRetry = time.Minute

func (s *Store) wakePurge() {
	select {
	case s.purge <- struct{}{}:
	default:
	}
}

// purgeAll removes the rows of all dropped mailboxes, a bounded commit at a time.
func (s *Store) purgeAll(ctx context.Context) error {
	for {
		var id MailboxID
		err := s.db.View(ctx, func(tx *kv.Tx) error {
			for k := range tx.Scan(tabDropped, nil, nil) {
				id = MailboxID(binary.BigEndian.Uint32(k))
				break
			}
			return nil
		})
		if err != nil || id == 0 {
			return err
		}
		for more := true; more; {
			err := s.db.Update(ctx, func(tx *kv.Tx) error {
				more = purgeSome(tx, id)
				return nil
			})
			if err != nil {
				return err
			}
		}
	}
}

// purgeSome removes up to purgeStep rows and reports whether some are left.
func purgeSome(tx *kv.Tx, id MailboxID) bool {
	left := purgeStep
	for _, t := range []kv.Table{tabMail, tabGone, tabKeywords, tabUIDL} {
		var keys [][]byte
		for k := range tx.Scan(t, key32(uint32(id)), after(uint32(id))) {
			if left == 0 {
				break
			}
			keys = append(keys, bytes.Clone(k))
			left--
		}
		for _, k := range keys {
			tx.Delete(t, k)
		}
		if left == 0 {
			return true
		}
	}
	tx.Delete(tabDropped, key32(uint32(id)))
	return false
}
