package store

import (
	"context"
	"fmt"

	"github.com/posthouse-mail/posthouse/store/kv"
)

// Expunge removes the messages in ranges, into the bin (bin.go); onlyDeleted: those with Deleted set. It returns the removed uids and the ModSeq of the removal (0: nothing was removed).
// Above 16,000 messages it is several commits; after an error, the uids tell what was done.
func (s *Store) Expunge(ctx context.Context, id MailboxID, ranges []UIDRange, onlyDeleted bool) ([]UID, ModSeq, error) {
	var uids []UID
	var last ModSeq
	for rest := normal(ranges, 0xffffffff); ; {
		step := expunge{id: id, onlyDeleted: onlyDeleted, limit: stepRows}
		err := s.db.Update(ctx, func(tx *kv.Tx) error { return step.run(s.begin(tx), rest) })
		if err != nil {
			return uids, last, err
		}
		uids = step.gone.appendUIDs(uids)
		last = max(last, step.seq)
		if rest = step.gone.rest; len(rest) == 0 {
			return uids, last, nil
		}
	}
}

// ExpungeAtOnce removes the messages in ranges in one commit: all of them, or after an error none. ErrLimit above 200,000.
func (s *Store) ExpungeAtOnce(ctx context.Context, id MailboxID, ranges []UIDRange) ([]UID, error) {
	step := expunge{id: id, limit: 2 * maxCopy, most: maxCopy} // gather's limit counts a little more than messages
	err := s.db.Update(ctx, func(tx *kv.Tx) error { return step.run(s.begin(tx), normal(ranges, 0xffffffff)) })
	if err != nil {
		return nil, err
	}
	return step.gone.appendUIDs(nil), nil
}

// expunge is one commit of a removal; run may be called again.
type expunge struct {
	id          MailboxID
	onlyDeleted bool
	limit       int // stop after about so many and leave the rest to another commit
	most        int // or refuse all; 0: never

	gone removal
	seq  ModSeq
}

func (e *expunge) run(m *mutation, ranges []UIDRange) error {
	e.gone, e.seq = removal{}, 0
	b, err := m.box(e.id)
	if err != nil || e.onlyDeleted && b.st.deleted == 0 {
		return err
	}
	gone := b.gather(ranges, e.limit, func(r row) bool { return !e.onlyDeleted || r.flags()&Deleted != 0 })
	if e.most > 0 && (len(gone.rest) > 0 || gone.len() > e.most) {
		return fmt.Errorf("%w: one removal takes at most %d messages", ErrLimit, e.most)
	}
	if err := b.expunge(&gone); err != nil {
		return err
	}
	e.gone, e.seq = gone, m.seq
	return m.end()
}
