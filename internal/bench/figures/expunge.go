package main

import (
	"context"
	"fmt"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
)

// expunge measures how long it takes to expunge a whole mailbox whose messages are kept for a while, and one whose are not.
func (b *bench) expunge(o *opened, account mail.AccountID, id store.MailboxID) error {
	ctx := context.Background()
	all := []store.UIDRange{{First: 1, Last: 1<<32 - 1}}
	for _, keep := range []time.Duration{30 * 24 * time.Hour, 0} {
		o.s.SetKeep(keep)
		before, begin := total(o.db.Counts()), time.Now()
		uids, _, err := o.s.Expunge(ctx, id, all, false)
		if err != nil {
			return err
		}
		took, each := time.Since(begin), float64(total(o.db.Counts())-before)/float64(len(uids))
		what := "kept"
		if keep == 0 {
			what = "not kept"
		}
		b.add(took <= 150*time.Millisecond, fmt.Sprintf("expunge of %d messages, %s", len(uids), what), "at most 150 ms", "%.0f ms, %.0f B each", took.Seconds()*1000, each)
		if keep == 0 {
			return nil
		}
		var refs []uint64
		for page, err := range o.s.Gone(ctx, account) {
			if err != nil {
				return err
			}
			for _, g := range page {
				refs = append(refs, g.Ref)
			}
		}
		begin = time.Now()
		if _, err := o.s.Undelete(ctx, account, refs, "INBOX"); err != nil {
			return err
		}
		took = time.Since(begin)
		b.add(true, fmt.Sprintf("undelete of %d", len(refs)), "shown", "%.0f ms", took.Seconds()*1000)
	}
	return nil
}
