package kv

import (
	"encoding/binary"
	"fmt"
	"io/fs"

	"github.com/posthouse-mail/posthouse/store/blob"
)

// The format of a folder is a number in table s. What an older program may pass over without harm (a new table, a field at
// the end of a row, a journal record) needs no new one; whatever else changes gets a Migration.

const firstFormat = 1

// Migration makes the next format of a folder. Released ones are never changed.
type Migration struct {
	Name string // for the log: what it does
	// Step does a bounded piece of the work, beginning at from (nil at first), and returns where the next piece begins, nil at the end. It
	// is committed together with where it has come, so that a crash between two steps costs nothing. It works on
	// the tables as bytes and uses no code of their owners of today.
	Step func(tx *Tx, from []byte) (next []byte, err error)
	// Kinds are the part kinds that programs of the format before do not know: what is logged with one is lost in a rollback.
	Kinds string
	// OlderSegments is the segment version of programs of the format before, if they do not read those of today.
	OlderSegments uint16
}

// migrations are the program's own: entry 0 makes format 2 of format 1, and so on.
func migrations() []Migration {
	return []Migration{
		{ // 2: rows and records of before stay as they are; programs of before must not write beside them
			Name:          "expunged mail in bins, reserved uids, packed frames, bodies that move",
			Step:          func(*Tx, []byte) ([]byte, error) { return nil, nil },
			OlderSegments: 1,
		},
	}
}

// newest is the format that this program writes.
func (o *Options) newest() uint32 { return firstFormat + uint32(len(o.Migrations)) }

// tooNew says what to do with a folder of tomorrow.
func (db *DB) tooNew(format uint32) error {
	hint := "use a newer posthouse"
	if before, err := findBefore(db.o.FS, db.o.Dir); err == nil && before.Format > 0 && before.Format <= db.o.newest() {
		hint += ", or give the folder back its format of before with the newer one's `posthouse rollback`"
	}
	return fmt.Errorf("%w: %s has format %d, this program knows %d; %s", ErrNewer, db.o.Dir, format, db.o.newest(), hint)
}

// identity is what table s says of a folder.
type identity struct {
	version      uint32
	uuid         [16]byte
	secret, key  [32]byte
	applied      blob.LSN
	changes      uint64 // see keyChanges
	progress     []byte // see keyMigrating
	hasMigration bool
}

// readIdentity answers fs.ErrNotExist for tables that nothing was written to yet.
func readIdentity(p pages, dir string) (id identity, err error) {
	v := p.get(tableSettings, []byte(keyVersion))
	if len(v) != 4 {
		return id, fs.ErrNotExist
	}
	id.version = binary.BigEndian.Uint32(v)
	a := copy(id.uuid[:], p.get(tableSettings, []byte(keyUUID)))
	b := copy(id.secret[:], p.get(tableSettings, []byte(keySecret)))
	c := copy(id.key[:], p.get(tableSettings, []byte(keyLog)))
	if a != len(id.uuid) || b != len(id.secret) || c != len(id.key) {
		return id, fmt.Errorf("%w: the settings of %s are not complete", ErrDamaged, dir)
	}
	if v := p.get(tableSettings, []byte(keyApplied)); len(v) == 8 {
		id.applied = blob.LSN(binary.BigEndian.Uint64(v))
	}
	if v := p.get(tableSettings, []byte(keyChanges)); len(v) == 8 {
		id.changes = binary.BigEndian.Uint64(v)
	}
	if v := p.get(tableSettings, []byte(keyMigrating)); v != nil {
		id.hasMigration, id.progress = true, append([]byte(nil), v...)
	}
	return id, nil
}
