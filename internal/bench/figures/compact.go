package main

import (
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"path/filepath"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/mailgen"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// segmentOctets is what the files of the log take on the disk.
func (o *opened) segmentOctets() (octets int64, err error) {
	err = filepath.WalkDir(filepath.Join(o.dir, "seg"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		st, err := d.Info()
		if err == nil {
			octets += st.Size()
		}
		return err
	})
	return octets, err
}

// inbox is an account's.
func (o *opened) inbox(id mail.AccountID) (store.MailboxID, error) {
	box, err := o.s.Mailbox(context.Background(), id, store.Inbox)
	return box.ID, err
}

// halve removes about half of all messages for good, each by the toss of a coin.
func (o *opened) halve(rng *rand.Rand) error {
	ctx := context.Background()
	for id := mail.AccountID(1); id <= accounts; id++ {
		box, err := o.inbox(id)
		if err != nil {
			return err
		}
		var gone []store.UIDRange
		for rows, err := range o.s.Messages(ctx, box, []store.UIDRange{{First: 1, Last: 1<<32 - 1}}) {
			if err != nil {
				return err
			}
			for _, m := range rows {
				if rng.IntN(2) == 0 {
					gone = append(gone, store.UIDRange{First: m.UID, Last: m.UID})
				}
			}
		}
		if _, _, err := o.s.Expunge(ctx, box, gone, false); err != nil {
			return err
		}
	}
	return nil
}

// compact compares the disk that the segments take with the stored octets of what lives in them, after four
// cycles of delete half and refill. Live is measured by writing what is left into a store of its own.
func (b *bench) compact() error {
	ctx := context.Background()
	rng := rand.New(rand.NewPCG(6, 1))
	var msgs [][]byte
	for i := range 2000 {
		size := int(8000 * (0.2 + rng.ExpFloat64()))
		if i%50 == 0 {
			size = 100_000 + rng.IntN(1<<20)
		}
		msgs = append(msgs, mailgen.Fixed(3, i, size))
	}
	o, err := b.open("compact", kv.Options{SegmentSize: 256 << 10}) // about 50 of them hold what lives, as 64 MB ones in a store of 3 GB
	if err != nil {
		return err
	}
	o.s.SetKeep(0)
	var took time.Duration
	var all kv.Compacted
	for cycle := range 5 {
		n := b.n
		if cycle > 0 {
			if err := o.halve(rng); err != nil {
				return err
			}
			n = b.n / 2
		}
		if _, err := o.deliverAll(20, n, msgs); err != nil {
			return err
		}
		if err := o.db.SettleAll(ctx); err != nil {
			return err
		}
		began := time.Now()
		out, err := o.db.Compact(ctx, false)
		if err != nil {
			return err
		}
		took += time.Since(began)
		all.Moved, all.Copied, all.Freed, all.Removed = all.Moved+out.Moved, all.Copied+out.Copied, all.Freed+out.Freed, all.Removed+out.Removed
	}
	used, err := o.segmentOctets()
	if err != nil {
		return err
	}
	live, err := b.liveOctets(o)
	if err != nil {
		return err
	}
	if err := o.drop(); err != nil {
		return err
	}
	ratio := float64(used) / float64(live)
	b.add(ratio <= 1.25, "disk used / live after four cycles of delete half, refill, retention 0", "at most 1.25",
		"%.2f (%.0f of %.0f MB)", ratio, float64(used)/1e6, float64(live)/1e6)
	b.add(true, "compaction of these, without pauses", "", "%.0f MB in %d files freed, %.0f MB in %d messages copied, in %.1f s",
		float64(all.Freed)/1e6, all.Removed, float64(all.Copied)/1e6, all.Moved, took.Seconds())
	return nil
}

// liveOctets is what the live messages of a store take when nothing else was ever there.
func (b *bench) liveOctets(o *opened) (int64, error) {
	ctx := context.Background()
	fresh, err := b.open("live", kv.Options{})
	if err != nil {
		return 0, err
	}
	defer fresh.drop()
	for id := mail.AccountID(1); id <= accounts; id++ {
		box, err := o.inbox(id)
		if err != nil {
			return 0, err
		}
		for rows, err := range o.s.Messages(ctx, box, []store.UIDRange{{First: 1, Last: 1<<32 - 1}}) {
			if err != nil {
				return 0, err
			}
			for _, m := range rows {
				if err := copyMessage(ctx, fresh, o, m); err != nil {
					return 0, fmt.Errorf("copy uid %d of account %d: %w", m.UID, id, err)
				}
			}
		}
	}
	if err := fresh.db.SettleAll(ctx); err != nil {
		return 0, err
	}
	return fresh.segmentOctets()
}

func copyMessage(ctx context.Context, to, from *opened, m store.Message) error {
	body, err := from.s.Open(ctx, m)
	if err != nil {
		return err
	}
	defer body.Close()
	text := make([]byte, body.Size())
	if n, err := body.ReadAt(text, 0); n != len(text) {
		return err
	}
	return to.deliver(0, text)
}
