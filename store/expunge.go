package store

import (
	"context"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// Expunge removes the messages in ranges; onlyDeleted: those with Deleted set. It returns the removed uids and the ModSeq of the removal (0: nothing was removed).
// Above 16,000 messages it is several commits; after an error, the uids tell what was done.
func (s *Store) Expunge(ctx context.Context, id MailboxID, ranges []UIDRange, onlyDeleted bool) ([]UID, ModSeq, error) {
	pick := func(row) bool { return true }
	if onlyDeleted {
		pick = func(r row) bool { return r.flags()&Deleted != 0 }
	}
	var uids []UID
	var last ModSeq
	rest := normal(ranges, 0xffffffff)
	for {
		var gone removal
		var seq ModSeq
		err := s.db.Update(ctx, func(tx *kv.Tx) error {
			m := s.begin(tx)
			b, err := m.box(id)
			if err != nil {
				return err
			}
			gone, seq = removal{}, 0
			if onlyDeleted && b.st.deleted == 0 {
				return nil
			}
			gone = b.gather(rest, stepRows, pick)
			b.remove(&gone)
			seq = m.seq
			return m.end()
		})
		if err != nil {
			return uids, last, err
		}
		for i := range gone.len() {
			uids = append(uids, gone.row(i).uid())
		}
		last = max(last, seq)
		if rest = gone.rest; len(rest) == 0 {
			return uids, last, nil
		}
	}
}
