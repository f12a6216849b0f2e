package kv

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// keyEpochDue in table s: what is given next must differ from all that another life of these tables may have given.
const keyEpochDue = "epoch due"

// Copy is where the parts of a copied folder stand.
type Copy struct {
	Tables   string // file of a Snapshot, on a local disk
	Segments string // folder with files like 0000002a.seg
	FS       vfs.FS // of Segments; nil: the operating system's
}

// OpenCopy opens a copy to be read: nothing is locked, written or replayed, so that records which are logged and not in the tables are
// not seen. Every page of the tables is checked first. It takes View, OpenBody, Settle (which never waits) and the checks below, no Update.
func OpenCopy(ctx context.Context, c Copy) (*DB, error) {
	if err := WalkTables(c.Tables); err != nil {
		return nil, err
	}
	db := &DB{o: Options{Dir: filepath.Dir(c.Tables), FS: c.FS}.withDefaults(), kinds: map[byte]Kind{}, known: map[uint32]bool{}}
	db.journal, db.scribe = newJournal(), newScribe(db)
	db.committer, db.compactor = newCommitter(db), newCompactor(db)
	file, err := openFile(c.Tables, &bbolt.Options{ReadOnly: true, Timeout: lockWait})
	if err != nil {
		return nil, err
	}
	db.engine = &bolt{db: file, readOnly: true}
	err = guard(func() error {
		return db.engine.view(func(p pages) error {
			if len(p.get(tableSettings, []byte(keyVersion))) == 0 {
				return fmt.Errorf("%w: %s has no settings", ErrDamaged, c.Tables)
			}
			return nil
		})
	})
	var key [32]byte
	if err == nil {
		key, err = db.settings()
	}
	if err == nil {
		db.log, err = blob.Open(ctx, blob.Options{FS: db.o.FS, Dir: c.Segments, UUID: db.uuid, Key: key, Plain: true})
	}
	if err != nil {
		return nil, errors.Join(err, db.engine.close())
	}
	return db, nil
}

// CloseCopy closes what OpenCopy opened.
func (db *DB) CloseCopy() error { return errors.Join(db.log.Close(), db.engine.close()) }

// Behind reports whether the tables have an older format than this program's: they are read right only after a start, which
// brings them up to date.
func (db *DB) Behind() bool { return db.identity.hasMigration || db.identity.version < db.o.newest() }

// Dir is the data folder.
func (db *DB) Dir() string { return db.o.Dir }

// Applied is how far the tables have come in the log.
func (db *DB) Applied(ctx context.Context) (at blob.LSN, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		if v := tx.Get(tableSettings, []byte(keyApplied)); len(v) == 8 {
			at = blob.LSN(binary.BigEndian.Uint64(v))
		}
		return nil
	})
	return at, err
}

// Needed lists the segments that the tables of pic, a picture of db, need: those that its rows may name, and the log from where pic has
// come to the end of segment closed, with the bodies it names. Nothing may be removed meanwhile (Hold).
func (db *DB) Needed(ctx context.Context, pic *DB, closed uint32) ([]uint32, error) {
	var out []uint32
	err := pic.View(ctx, func(tx *Tx) error {
		for k := range tx.Scan(tableSegments, nil, nil) {
			if len(k) == 4 {
				out = append(out, binary.BigEndian.Uint32(k))
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	from, err := pic.Applied(ctx)
	if err != nil {
		return nil, err
	}
	tail, err := db.log.Tail(ctx, from, closed)
	if err != nil {
		return nil, fmt.Errorf("the log behind the tables' picture: %w", err)
	}
	out = append(out, tail...)
	slices.SortFunc(out, cmp.Compare)
	return slices.Compact(out), nil
}

// Bodies yields the place of every body that the rows of a picture name, in the order of the tables; those of db's owners (Refer) say which
// these are. Nobody works with the picture meanwhile.
func (db *DB) Bodies(ctx context.Context, pic *DB, at func(place blob.LSN)) error {
	for _, t := range db.compactor.order {
		places := db.compactor.watch.tables[t]
		err := pic.View(ctx, func(tx *Tx) error {
			for k, v := range tx.Scan(t, nil, nil) {
				_, err := places(k, v, func(place blob.LSN, _ int64) blob.LSN {
					at(place)
					return place
				})
				if err != nil {
					return fmt.Errorf("row %x of table %s: %w", k, t, err)
				}
			}
			return ctx.Err()
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// CheckSegment reads a whole segment and checks every record of it, to the first that does not read back as written.
func (db *DB) CheckSegment(ctx context.Context, number uint32) (blob.Checked, error) {
	return db.log.Check(ctx, number)
}

// DemandEpoch makes the tables in a file that nobody has open ask for a new epoch at the next start.
func DemandEpoch(path string) error {
	db, err := openFile(path, &bbolt.Options{NoFreelistSync: true, PageSize: pageSize, Timeout: lockWait})
	if err != nil {
		return err
	}
	err = guard(func() error {
		return db.Update(func(tx *bbolt.Tx) error {
			b, err := tx.CreateBucketIfNotExists([]byte(tableSettings))
			if err != nil {
				return err
			}
			return b.Put([]byte(keyEpochDue), []byte{1})
		})
	})
	return errors.Join(err, db.Close())
}

// EpochDue reports whether the tables ask for a new epoch; EpochBegun says that it has begun.
func (db *DB) EpochDue(ctx context.Context) (due bool, err error) {
	err = db.View(ctx, func(tx *Tx) error {
		due = tx.Get(tableSettings, []byte(keyEpochDue)) != nil
		return nil
	})
	return due, err
}

// EpochBegun is part of the transaction that begins it.
func EpochBegun(tx *Tx) {
	if tx.Get(tableSettings, []byte(keyEpochDue)) != nil {
		tx.Delete(tableSettings, []byte(keyEpochDue))
	}
}
