package kv

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// Base is what a repair begins with.
type Base string

const (
	BaseTables    Base = "meta.db"
	BaseDay       Base = "meta.db.day"
	BaseDirectory Base = "the directory records of the log"
)

// repairName is the file that the new tables are made in. Nothing else of the folder changes before they are complete.
const repairName = "meta.db.repair"

// Candidate is a base that a folder may offer; Err says why it cannot be used, ErrNotExist that it is not there.
type Candidate struct {
	Base Base
	Time time.Time // of its file
	Err  error
}

// Bases looks for what a repair could begin with, the best first. It changes nothing. The folder must be at rest (ErrLocked).
func Bases(ctx context.Context, o Options) ([]Candidate, error) {
	o = o.withDefaults()
	if _, err := o.FS.Stat(filepath.Join(o.Dir, "seg")); err != nil {
		return nil, fmt.Errorf("open the data folder: %w", err)
	}
	db := &DB{o: o}
	err := db.probe()
	if db.lock != nil {
		defer db.lock.Close()
	}
	if err != nil {
		return nil, err
	}
	var out []Candidate
	for _, b := range []Base{BaseTables, BaseDay} {
		c := Candidate{Base: b}
		path := filepath.Join(o.Dir, string(b))
		if st, err := os.Stat(path); err != nil {
			c.Err = err
		} else if c.Time = st.ModTime(); st.Size() == 0 {
			c.Err = fmt.Errorf("%w: the file is empty", ErrDamaged)
		} else if c.Err = WalkTables(path); c.Err == nil {
			c.Err = usable(path, o.newest())
		}
		out = append(out, c)
	}
	c := Candidate{Base: BaseDirectory}
	d, err := findDirectory(ctx, o)
	switch {
	case err != nil:
		return nil, err
	case d == nil:
		c.Err = fmt.Errorf("no log segment has a directory record: %w", fs.ErrNotExist)
	}
	return append(out, c), nil
}

// usable says whether tables whose pages are sound are ours.
func usable(path string, newest uint32) error {
	v, err := settingOf(path, keyVersion)
	switch {
	case err != nil:
		return err
	case len(v) != 4:
		return fmt.Errorf("%w: it has no settings", ErrDamaged)
	case binary.BigEndian.Uint32(v) > newest:
		return ErrNewer
	case binary.BigEndian.Uint32(v) < newest:
		return fmt.Errorf("it has the older format %d: repair with the posthouse that wrote it, then upgrade", binary.BigEndian.Uint32(v))
	}
	key, err := settingOf(path, keyLog)
	if err == nil && len(key) != 32 {
		err = fmt.Errorf("%w: its settings are not complete", ErrDamaged)
	}
	return err
}

// RepairReport is what a repair found and did.
type RepairReport struct {
	Base       Base
	Deliveries int         // records of the log that were applied
	Commits    int         // journaled commits that were done again
	Holes      []blob.Hole // ranges of the log that cannot be read
	Broken     []blob.LSN  // records whose message cannot be read as a whole
	Gaps       [][2]uint64 // numbers of journaled commits that are lost, first and last
	Mismatches []string    // journaled changes that did not fit to what there was
	Kept       []Kept      // bodies that were made durable for an Update which nobody knows of
	Ended      bool        // the last run ended well, so that nothing can be missing behind the end
	Complete   bool        // nothing is missing: what clients know is all true
}

// Kept is a body whose row is missing; Account 0: nobody knows whose it is.
type Kept struct {
	Entry
	Account uint32
}

// Repair makes new tables beside the old ones. OpenRepair, then the owners register with DB, then Run; DB takes Updates and Views
// from then on, and no mail. Finish puts the new tables into the place of the old ones, Abort gives them up.
type Repair struct {
	DB     *DB
	Report RepairReport
	path   string
}

// OpenRepair begins a repair on a copy of the base.
func OpenRepair(ctx context.Context, o Options, base Base) (*Repair, error) {
	o = o.withDefaults()
	r := &Repair{Report: RepairReport{Base: base}, path: filepath.Join(o.Dir, repairName)}
	db := newDB(o)
	db.repairing, db.o.DayEvery = true, -1
	if err := db.probe(); err != nil {
		if db.lock != nil {
			db.lock.Close()
		}
		return nil, err
	}
	err := r.copyBase(ctx, o, base)
	if err == nil {
		err = db.openRepair(ctx, r.path)
	}
	if err != nil {
		if db.engine != nil {
			db.engine.close()
		}
		db.lock.Close()
		os.Remove(r.path)
		return nil, fmt.Errorf("repair from %s: %w", base, err)
	}
	r.DB = db
	return r, nil
}

func (r *Repair) copyBase(ctx context.Context, o Options, base Base) error {
	if err := os.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if base == BaseDirectory {
		return r.makeBase(ctx, o)
	}
	path := filepath.Join(o.Dir, string(base))
	if err := WalkTables(path); err != nil {
		return err
	}
	return copyFile(vfs.OS{}, path, r.path)
}

// makeBase makes empty tables with the settings that the newest directory record has: without the store key no record can be read.
func (r *Repair) makeBase(ctx context.Context, o Options) error {
	d, err := findDirectory(ctx, o)
	if err != nil {
		return err
	}
	if d == nil {
		return fmt.Errorf("%w: no log segment has a directory record; bring the folder back from a backup", ErrDamaged)
	}
	if err := makeBolt(r.path); err != nil {
		return err
	}
	b, err := openBolt(r.path, 0)
	if err != nil {
		return err
	}
	err = b.update(func(p pages) error {
		_, err := readCommit(d.octets, func(c change) error {
			name := string(c.key)
			if c.table != tableSettings || name != keyVersion && name != keyUUID && name != keySecret && name != keyLog {
				return nil // counters come out of the log, or with the record when its turn comes
			}
			return p.put(c.table, c.key, c.value)
		})
		return err
	})
	return errors.Join(err, b.close())
}

// openRepair is open for tables at path; nothing in the folder is made, mended or removed.
func (db *DB) openRepair(ctx context.Context, path string) error {
	b, err := openBolt(path, db.o.TableGrowth)
	if err != nil {
		return err
	}
	b.db.NoSync = true // Finish syncs
	db.engine = b
	if err := db.wrapEngine(); err != nil {
		return err
	}
	key, err := db.settings()
	if err != nil {
		return err
	}
	db.reserve = &reserve{fs: db.o.FS, dir: db.o.Dir, size: -1}
	db.log, err = blob.Open(ctx, blob.Options{
		FS: db.o.FS, Dir: filepath.Join(db.o.Dir, "seg"), UUID: db.uuid, Key: key, Plain: db.o.Plain, SegmentSize: db.o.SegmentSize,
	})
	return err
}

// Abort gives the new tables up.
func (r *Repair) Abort() error {
	err := errors.Join(r.DB.log.Close(), r.DB.engine.close(), os.Remove(r.path))
	return errors.Join(err, r.DB.lock.Close())
}

// Finish puts the new tables into the place of the old ones, which stay under a name that Finish returns. Segments with holes
// are linked into the folder "damaged", because compaction will remove what is of no use to the store. When it is cut short, a
// repair can be done again. It ends the Repair whatever its outcome.
func (r *Repair) Finish(ctx context.Context) (aside []string, err error) {
	db := r.DB
	defer db.lock.Close()
	if err := r.close(); err != nil {
		os.Remove(r.path)
		return nil, fmt.Errorf("the new tables: %w", err)
	}
	stamp := time.Now().UTC().Format("20060102-150405")
	for _, name := range []Base{BaseTables, BaseDay} {
		path := filepath.Join(db.o.Dir, string(name))
		if _, err := os.Stat(path); err != nil || name == BaseDay && WalkTables(path) == nil {
			continue
		}
		kept := fmt.Sprintf("%s.before-repair-%s", path, stamp)
		if err := os.Link(path, kept); err != nil && !errors.Is(err, fs.ErrExist) {
			if err := copyFile(vfs.OS{}, path, kept); err != nil {
				return aside, fmt.Errorf("keep %s: %w", path, err)
			}
		}
		aside = append(aside, kept)
	}
	err = os.Rename(r.path, filepath.Join(db.o.Dir, string(BaseTables)))
	if err == nil {
		err = vfs.OS{}.SyncDir(db.o.Dir)
	}
	if err == nil {
		if rerr := os.Remove(suspectName(db.o.Dir)); rerr != nil && !errors.Is(rerr, fs.ErrNotExist) {
			err = rerr
		}
	}
	return aside, err
}

// adopt gives every segment its row, so that none is taken for a stray.
func (db *DB) adopt(p pages) error {
	numbers, err := db.log.Segments()
	if err != nil {
		return err
	}
	for _, n := range numbers {
		if p.get(tableSegments, segmentKey(n)) != nil {
			continue
		}
		kind := segmentOfLog
		if db.log.HoldsBodies(n) {
			kind = segmentOfBodies
		}
		if err := p.put(tableSegments, segmentKey(n), segmentRow(kind, 0)); err != nil {
			return err
		}
	}
	return nil
}

// close makes the new tables durable and reads them once more.
func (r *Repair) close() error {
	db := r.DB
	err := r.settleLog()
	for _, h := range r.Report.Holes {
		if err == nil {
			err = db.keepDamaged(h.Segment)
		}
	}
	b := db.engine.(*bolt)
	b.db.NoSync = false
	err = errors.Join(err, b.db.Sync(), db.log.Close(), b.close())
	if err == nil {
		err = WalkTables(r.path)
	}
	if err == nil {
		err = syncFile(r.path)
	}
	return err
}

// settleLog lets the log begin anew behind all that was read.
func (r *Repair) settleLog() error {
	db := r.DB
	begin, err := db.log.Begin()
	if err != nil {
		return err
	}
	return db.engine.update(func(p pages) error {
		if err := db.adopt(p); err != nil {
			return err
		}
		if !r.Report.Complete {
			if err := p.put(tableSettings, []byte(keyEpochDue), []byte{1}); err != nil {
				return err
			}
			// What was mended stands in no journal. A number that no commit has tells the next repair, should it begin with an older copy.
			if err := p.put(tableSettings, []byte(keyJournal), binary.BigEndian.AppendUint64(nil, db.journal.seq+1)); err != nil {
				return err
			}
		}
		return p.put(tableSettings, []byte(keyApplied), lsnKey(begin))
	})
}

// damagedDir is where files with damage stay, whatever becomes of the store.
func damagedDir(dir string) string { return filepath.Join(dir, "damaged") }

// keepDamaged links a segment into the folder of damaged files.
func (db *DB) keepDamaged(number uint32) error {
	dir := damagedDir(db.o.Dir)
	if err := db.o.FS.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("keep a damaged segment: %w", err)
	}
	name := fmt.Sprintf("%08x.seg", number)
	err := db.o.FS.Link(filepath.Join(db.o.Dir, "seg", name), filepath.Join(dir, name))
	if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("keep a damaged segment: %w", err)
	}
	return db.o.FS.SyncDir(dir)
}
