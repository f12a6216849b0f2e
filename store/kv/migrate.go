package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/posthouse-mail/posthouse/internal/logx"
)

// migrate brings the tables to the newest format, before the log is replayed into them. The first commit raises the folder's
// version, so that no older program works on tables that are half changed; a copy of everything has been made before it.
func (db *DB) migrate(ctx context.Context) error {
	o := &db.o
	if db.identity.version == o.newest() && !db.identity.hasMigration {
		return nil
	}
	at, cursor := db.identity.version, []byte(nil)
	if db.identity.hasMigration {
		if at, cursor = decodeProgress(db.identity.progress); at < firstFormat || at >= o.newest() {
			return fmt.Errorf("%w: a migration has come to format %d", ErrDamaged, at)
		}
	}
	if !db.identity.hasMigration || db.identity.version < o.newest() {
		if !db.identity.hasMigration {
			if err := db.keepBefore(at); err != nil {
				return fmt.Errorf("keep the data folder as it is before its format changes: %w", err)
			}
		}
		err := db.migrationCommit(func(tx *Tx) error {
			tx.Put(tableSettings, []byte(keyVersion), binary.BigEndian.AppendUint32(nil, o.newest()))
			tx.Put(tableSettings, []byte(keyMigrating), encodeProgress(at, cursor))
			tx.Put(tableSettings, []byte(keyChanges), make([]byte, 8))
			return nil
		})
		if err != nil {
			return err
		}
	}
	for ; at < o.newest(); at, cursor = at+1, nil {
		m := o.Migrations[at-firstFormat]
		o.Logger.Info(logx.StoreMigrating, "from", at, "to", at+1, "what", m.Name)
		if err := db.runMigration(ctx, m, at, cursor); err != nil {
			return fmt.Errorf("migration to format %d (%s): %w", at+1, m.Name, err)
		}
	}
	db.identity.version, db.identity.hasMigration = o.newest(), false
	o.Logger.Info(logx.StoreMigrated, "format", at)
	return nil
}

// runMigration makes format at+1, one commit a step.
func (db *DB) runMigration(ctx context.Context, m Migration, at uint32, cursor []byte) error {
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		var next []byte
		err := db.migrationCommit(func(tx *Tx) error {
			n, err := m.Step(tx, cursor)
			if err != nil {
				return err
			}
			next = append([]byte(nil), n...)
			switch {
			case n != nil:
				tx.Put(tableSettings, []byte(keyMigrating), encodeProgress(at, n))
			case at+1 < db.o.newest():
				tx.Put(tableSettings, []byte(keyMigrating), encodeProgress(at+1, nil))
			default:
				tx.Delete(tableSettings, []byte(keyMigrating))
			}
			return nil
		})
		if err != nil {
			return err
		}
		if len(next) == 0 {
			return nil
		}
		cursor = next
	}
}

// migrationCommit is one synced commit before the committer runs.
func (db *DB) migrationCommit(fn func(tx *Tx) error) error {
	for {
		err := guard(func() error {
			return db.engine.update(func(p pages) error {
				tx := &Tx{pages: p, writable: true}
				return errors.Join(fn(tx), tx.err)
			})
		})
		switch {
		case errors.Is(err, ErrFull) && db.reserve.release():
			continue
		case errors.Is(err, ErrFull):
			return fmt.Errorf("%w; make room and start again: it goes on where it stopped", err)
		case errors.Is(err, errFatal):
			db.markSuspect()
			db.committer.mu.Lock()
			db.committer.failed = fmt.Errorf("%w: %w", ErrClosed, err)
			db.committer.mu.Unlock()
		}
		return err
	}
}

// progress is the format that is complete, and where the step to the next one has come.
func encodeProgress(at uint32, cursor []byte) []byte {
	return append(binary.BigEndian.AppendUint32(nil, at), cursor...)
}

func decodeProgress(v []byte) (at uint32, cursor []byte) {
	if len(v) < 4 {
		return 0, nil
	}
	if len(v) > 4 {
		cursor = v[4:]
	}
	return binary.BigEndian.Uint32(v), cursor
}
