package kv

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// Open opens or makes the folder's tables and log.
func Open(ctx context.Context, o Options) (*DB, error) {
	o = o.withDefaults()
	db := newDB(o)
	if err := db.open(ctx); err != nil {
		if b, ok := db.engine.(*bolt); ok {
			b.abort() // a folder that is refused is not touched
		} else if db.engine != nil {
			db.engine.close()
		}
		if db.lock != nil {
			db.lock.Close()
		}
		return nil, err
	}
	db.gauges()
	return db, nil
}

func newDB(o Options) *DB {
	db := &DB{o: o, kinds: map[byte]Kind{partOwner: {Apply: func(*Tx, Entry, []byte) error { return nil }}}, known: map[uint32]bool{}}
	db.journal, db.scribe = newJournal(), newScribe(db)
	db.committer, db.compactor = newCommitter(db), newCompactor(db)
	return db
}

func (o Options) withDefaults() Options {
	if o.FS == nil {
		o.FS = vfs.OS{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Pace == 0 {
		o.Pace = 20 * time.Millisecond
	}
	if o.Backlog == 0 {
		o.Backlog = 8 << 20
	}
	if o.BacklogAge == 0 {
		o.BacklogAge = time.Second
	}
	if o.Reserve == 0 {
		o.Reserve = 4 << 20
	}
	if o.DayEvery == 0 {
		o.DayEvery = 24 * time.Hour
	}
	if o.rebuildOver == 0 {
		o.rebuildOver = rebuildOver
	}
	if o.SegmentSize == 0 {
		o.SegmentSize = 64 << 20
	}
	if o.CompactEvery == 0 {
		o.CompactEvery = compactEvery
	}
	if o.CompactBelow == 0 {
		o.CompactBelow = compactBelow
	}
	if o.CompactShare <= 0 || o.CompactShare > 1 {
		o.CompactShare = compactShare
	}
	if o.Migrations == nil {
		o.Migrations = migrations()
	}
	return o
}

func (db *DB) open(ctx context.Context) error {
	o := db.o
	segDir := filepath.Join(o.Dir, "seg")
	sync := []string{o.Dir}
	if _, err := o.FS.Stat(o.Dir); errors.Is(err, fs.ErrNotExist) {
		sync = append(sync, filepath.Dir(o.Dir))
	}
	if err := o.FS.MkdirAll(segDir, 0o700); err != nil {
		return fmt.Errorf("make the data folder: %w", err)
	}
	if err := db.probe(); err != nil {
		return err
	}
	for _, dir := range sync {
		if err := o.FS.SyncDir(dir); err != nil {
			return fmt.Errorf("%w: the entries of %s cannot be made durable: %w", ErrUnfit, dir, err)
		}
	}
	if err := db.refuseHalf(); err != nil {
		return err
	}
	db.reserve = &reserve{fs: o.FS, dir: o.Dir, path: filepath.Join(o.Dir, "reserve"), size: o.Reserve}
	if err := db.openTables(segDir); err != nil {
		return err
	}
	key, err := db.settings()
	if err != nil {
		return err
	}
	db.scribe.openDay()
	db.log, err = blob.Open(ctx, blob.Options{
		FS: o.FS, Dir: segDir, UUID: db.uuid, Key: key, Metrics: o.Metrics, Plain: o.Plain,
		SegmentSize: o.SegmentSize, Floor: max(o.Reserve, 0),
		Admit: db.committer.admit, Logged: db.committer.logged, Began: db.scribe.began,
		Damaged: func(place blob.LSN, err error) {
			o.Logger.Error(logx.StoreBody, "segment", fmt.Sprintf("%08x", place.Segment()), "offset", place.Offset(), "error", err)
		},
		Abandoned: func(durable blob.LSN, err error) {
			db.scribe.lost()
			o.Logger.Error(logx.StoreAbandoned, "segment", durable.Segment(), "durable", durable.Offset(), "error", err)
		},
	})
	return err
}

// probe takes the lock and finds out whether the folder's file system keeps what it promises.
func (db *DB) probe() error {
	o := db.o
	path := filepath.Join(o.Dir, "lock")
	lock, err := o.FS.Lock(path)
	switch {
	case errors.Is(err, vfs.ErrLocked):
		return fmt.Errorf("%w: %s is locked; another posthouse is running on it: stop it, or use the commands that talk to the running server", ErrLocked, o.Dir)
	case errors.Is(err, fs.ErrPermission), errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("open the data folder: %w", err)
	case err != nil:
		return fmt.Errorf("%w: flock does not work in %s (a network file system?); put the data folder on a local disk: %w", ErrUnfit, o.Dir, err)
	}
	db.lock = lock
	f, err := o.FS.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("open the data folder: %w", err)
	}
	defer f.Close()
	if err := f.Datasync(); err != nil && !errors.Is(err, ErrFull) {
		return fmt.Errorf("%w: fdatasync does not work in %s; put the data folder on a local disk: %w", ErrUnfit, o.Dir, err)
	}
	return nil
}

func (db *DB) openTables(segDir string) error {
	if db.o.Memory {
		db.engine = newMemory()
		if db.o.Tables != nil {
			db.engine = db.o.Tables.open()
		}
		return db.wrapEngine()
	}
	path := filepath.Join(db.o.Dir, "meta.db")
	if err := os.MkdirAll(db.o.Dir, 0o700); err != nil { // the log may stand in another FS
		return fmt.Errorf("make the data folder: %w", err)
	}
	st, err := os.Stat(path)
	fresh := errors.Is(err, fs.ErrNotExist) || err == nil && st.Size() == 0
	if err != nil && !fresh {
		return fmt.Errorf("open the tables: %w", err)
	}
	if fresh {
		names, err := db.o.FS.ReadDir(segDir)
		if err != nil {
			return fmt.Errorf("read the segment folder: %w", err)
		}
		for _, name := range names {
			if strings.HasSuffix(name, ".seg") {
				return fmt.Errorf("%w: %s is missing, but %s holds mail; run: posthouse repair", ErrDamaged, path, segDir)
			}
		}
		if err := makeBolt(path); err != nil {
			return err
		}
	}
	if err := db.mend(path); err != nil {
		return err
	}
	b, err := openBolt(path, db.o.TableGrowth)
	if err != nil {
		return err
	}
	if b, err = db.shrink(b, path); err != nil {
		return err
	}
	b.db.NoSync = db.o.noSync
	db.engine = b
	if err := (vfs.OS{}).SyncDir(db.o.Dir); err != nil {
		return fmt.Errorf("%w: the entries of %s cannot be made durable: %w", ErrUnfit, db.o.Dir, err)
	}
	return db.wrapEngine()
}

func (db *DB) wrapEngine() error {
	if db.o.wrap != nil {
		db.engine = db.o.wrap(db.engine)
	}
	return nil
}

// settings reads what the folder is, or makes it up for a new one.
func (db *DB) settings() (key [32]byte, err error) {
	load := func(p pages) (err error) {
		if db.identity, err = readIdentity(p, db.o.Dir); err != nil {
			return err
		}
		id := &db.identity
		if id.version > db.o.newest() {
			return db.tooNew(id.version)
		}
		db.uuid, db.secret, key, db.committer.lag.applied = id.uuid, id.secret, id.key, id.applied
		for range (&Tx{pages: p}).Scan(tableAside, nil, nil) {
			db.committer.aside.Add(1)
		}
		db.journal.seq = number(p.get(tableSettings, []byte(keyJournal)))
		for k := range (&Tx{pages: p}).Scan(tableSegments, nil, nil) {
			if len(k) == 4 {
				db.known[binary.BigEndian.Uint32(k)] = true
			}
		}
		return nil
	}
	err = guard(func() error { return db.engine.view(load) })
	if !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	rand.Read(db.uuid[:])
	rand.Read(db.secret[:])
	rand.Read(key[:])
	db.uuid[6], db.uuid[8] = db.uuid[6]&0x0f|0x40, db.uuid[8]&0x3f|0x80 // RFC 9562 section 5.4
	err = db.engine.update(func(p pages) error {
		return errors.Join(
			p.put(tableSettings, []byte(keyUUID), db.uuid[:]),
			p.put(tableSettings, []byte(keySecret), db.secret[:]),
			p.put(tableSettings, []byte(keyLog), key[:]),
			p.put(tableSettings, []byte(keyVersion), binary.BigEndian.AppendUint32(nil, db.o.newest())),
		)
	})
	if err != nil {
		return key, fmt.Errorf("write the settings of a new data folder: %w", err)
	}
	db.identity.version = db.o.newest()
	return key, nil
}

// Start replays the log into the tables and starts logger and committer.
func (db *DB) Start(ctx context.Context) error {
	if db.started.Load() {
		return errors.New("kv: started twice")
	}
	if err := db.reserve.take(); err != nil {
		return fmt.Errorf("keep space for a full disk: %w", err)
	}
	if err := db.migrate(ctx); err != nil {
		return err
	}
	db.watchBefore()
	if err := db.replay(ctx); err != nil {
		return err
	}
	n, err := db.log.RemoveStray(func(n uint32) bool { return db.known[n] })
	if err != nil {
		return fmt.Errorf("remove segments that nothing refers to: %w", err)
	}
	if n > 0 {
		db.o.Logger.Info(logx.StoreStray, "segments", n)
	}
	if err := db.log.Start(); err != nil {
		return err
	}
	db.started.Store(true)
	go db.committer.run()
	db.scribe.start()
	return nil
}

// replay applies what is durable in the log and not in the tables.
func (db *DB) replay(ctx context.Context) error {
	c := db.committer
	b, weight, total := &batch{}, int64(0), 0
	apply := func() error {
		if len(b.entries) == 0 {
			return nil
		}
		c.unapplied.Add(int64(len(b.entries)))
		c.mu.Lock()
		c.lag.backlog += weight
		c.mu.Unlock()
		total += len(b.entries)
		err := c.commit(b)
		b, weight = &batch{}, 0
		return err
	}
	_, err := db.log.Replay(ctx, c.lag.applied, func(r blob.Record) error {
		e := &logged{Item: blob.Item{Meta: r.Meta, LSN: r.LSN, End: r.End, Place: r.Place, Size: r.Size}}
		if err := db.checkRecord(e); err != nil {
			return err
		}
		b.entries = append(b.entries, e)
		if weight += e.weight(); weight > db.o.Backlog/2 {
			return apply()
		}
		return nil
	})
	if err == nil {
		err = apply()
	}
	if errors.Is(err, ErrDamaged) && db.o.AcceptDamage {
		if err = apply(); err == nil {
			err = db.acceptDamage(ctx)
		}
	} else if errors.Is(err, ErrDamaged) {
		err = fmt.Errorf("%w; to start without what cannot be read: posthouse serve --accept-damage", err)
	}
	if err != nil {
		return fmt.Errorf("replay the log: %w", err)
	}
	if total > 0 {
		db.o.Logger.Info(logx.StoreReplayed, "records", total)
	}
	return nil
}

// checkRecord refuses to start without the owner of a part, or without a body that was durable before its record.
func (db *DB) checkRecord(e *logged) error {
	for part, err := range decodeParts(e.Meta) {
		if err != nil {
			return fmt.Errorf("record %s: %w", e.LSN, err)
		}
		if _, ok := db.kinds[part.Kind]; !ok {
			return fmt.Errorf("%w: record %s has a part of kind %q, which this program does not know; use the posthouse that wrote it or a newer one", ErrNewer, e.LSN, part.Kind)
		}
	}
	if e.Place == 0 || e.Place.Segment() == e.LSN.Segment() {
		return nil
	}
	r, err := db.log.OpenBody(e.Place)
	if err != nil {
		return fmt.Errorf("record %s: %w", e.LSN, err)
	}
	return r.Close()
}

// Close commits what is logged and closes the files.
func (db *DB) Close() error {
	db.mu.Lock()
	was := db.closed
	db.closed = true
	db.mu.Unlock()
	if was {
		return ErrClosed
	}
	db.scribe.end() // a round of compaction may wait for its copy of the tables
	db.compactor.close()
	db.forgetBefore()
	db.log.Stop()
	var err error
	if db.started.Load() {
		db.scribe.close()
		err = db.committer.close()
		db.signOff(err == nil)
	}
	if lost := db.log.Close(); lost != nil {
		db.o.Logger.Warn(logx.StoreJournal, "error", lost) // what repair reads, and nothing else
	} else if db.started.Load() && err == nil {
		db.journal.unmark(db)
	}
	if b, ok := db.engine.(*bolt); ok && db.committer.isFailed() {
		return errors.Join(err, b.abort(), db.lock.Close())
	}
	return errors.Join(err, db.engine.close(), db.lock.Close())
}
