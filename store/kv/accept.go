package kv

import (
	"context"
	"errors"
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// Damage is what a start with AcceptDamage went past.
type Damage struct {
	Holes  []blob.Hole // ranges of the log that cannot be read: mail that came in there is lost
	Broken []blob.LSN  // places of messages that cannot be read as a whole; they are in their mailboxes
}

// Damage tells what this start went past; nil: nothing.
func (db *DB) Damage() *Damage { return db.damage }

// acceptDamage applies what of the log can be read, and lets it begin anew behind all of it, so that the next start meets no
// damage. The segments stay, and links to them stand in the folder "damaged". Nothing that a client knows of is touched: uids are given
// when a record is applied, and what is lost here never was.
func (db *DB) acceptDamage(ctx context.Context) error {
	d := &Damage{}
	var entries []*logged
	_, err := db.log.Salvage(ctx, db.committer.lag.applied, func(f blob.Found) error {
		if f.Note != 0 {
			return nil
		}
		e := &logged{Item: blob.Item{Meta: f.Meta, LSN: f.LSN, End: f.End, Place: f.Place, Size: f.Size}}
		err := db.checkRecord(e)
		if errors.Is(err, ErrNewer) {
			return err
		}
		if err != nil || f.Broken != nil {
			d.Broken = append(d.Broken, e.Place)
		}
		entries = append(entries, e)
		if len(entries) < 1024 {
			return nil
		}
		return db.takeIn(&entries)
	}, func(h blob.Hole) error {
		d.Holes = append(d.Holes, h)
		return nil
	})
	if err == nil {
		err = db.takeIn(&entries)
	}
	if err != nil {
		return err
	}
	for _, h := range d.Holes {
		db.o.Logger.Error(logx.StoreDamage, "segment", h.Segment, "from", h.From, "to", h.To, "error", h.Err)
		if err := db.keepDamaged(h.Segment); err != nil {
			return err
		}
	}
	for _, at := range d.Broken {
		db.o.Logger.Error(logx.StoreDamage, "segment", at.Segment(), "from", at.Offset(), "error", "a message cannot be read as a whole")
		if err := db.keepDamaged(at.Segment()); err != nil {
			return err
		}
	}
	db.damage = d
	db.scribe.gap.Store(true) // what the journal had there is lost too: the tables are copied soon
	return db.beginAnew(ctx)
}

func (db *DB) takeIn(entries *[]*logged) error {
	if len(*entries) == 0 {
		return nil
	}
	b := &batch{entries: *entries}
	*entries = nil
	db.committer.unapplied.Add(int64(len(b.entries)))
	db.committer.mu.Lock()
	for _, e := range b.entries {
		db.committer.lag.backlog += e.weight()
	}
	db.committer.mu.Unlock()
	return db.committer.commit(b)
}

// beginAnew lets the log go on in a new segment that knows of none before it.
func (db *DB) beginAnew(ctx context.Context) error {
	begin, err := db.log.Begin()
	if err != nil {
		return err
	}
	err = db.engine.update(func(p pages) error {
		if err := db.adopt(p); err != nil {
			return err
		}
		return p.put(tableSettings, []byte(keyApplied), lsnKey(begin))
	})
	if err != nil {
		return fmt.Errorf("let the log begin anew: %w", err)
	}
	numbers, err := db.log.Segments()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		db.known[n] = true
	}
	db.committer.lag.applied = begin
	_, err = db.log.Replay(ctx, begin, func(blob.Record) error { return nil })
	return err
}
