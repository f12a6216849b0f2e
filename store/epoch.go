package store

import "context"

// BeginEpoch makes everything that will be given from now on differ from everything that may have been given before by a
// store that this one was restored or repaired from: a new UIDVALIDITY for every mailbox, ModSeq ahead by 2^32. Uids, ids and
// UIDLs stay. Its log begins 65,536 segments ahead (kv). Before the first client is served.
func (s *Store) BeginEpoch(ctx context.Context) error { panic("unbuilt") }
