package kv

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store/blob"
)

var (
	// ErrNoWayBack: no migration has kept a folder of before, or its time is over.
	ErrNoWayBack = errors.New("kv: there is nothing to go back to")
	// ErrWouldLose: something happened since the migration that a rollback does not bring along.
	ErrWouldLose = errors.New("kv: going back would lose what happened since")

	errInterrupted = errors.New("kv: a rollback was interrupted")
)

const (
	rollbackMark  = "rollback"       // in the folder: everything is staged, only names are left to change
	rollbackStage = "rollback.stage" // the folder of before, being made
)

// RollbackOptions of a Rollback.
type RollbackOptions struct {
	Dir        string
	Lose       bool        // go back although something is lost
	Keep       string      // part kinds that are kept of what was logged since
	Migrations []Migration // of tests; nil: the program's own

	interrupt func(step string) error // tests
}

// RolledBack says what a rollback did, or would do.
type RolledBack struct {
	From, To uint32
	Made     time.Time // of the folder of before
	Kept     int       // messages that arrived since and are kept
	Lost     int       // of those that arrived since: what of them was for the queue, or cannot be read
	Changes  uint64    // everything else that happened since (flags, moves, deletions, mail that clients put there, accounts): lost
	Unknown  string    // not empty: why nobody knows what happened since
	Aside    string    // the folder with what the newer program had
}

// rollback is one under way.
type rollback struct {
	o     RollbackOptions
	db    *DB // the lock and the options
	b     Before
	now   identity // of the tables of today
	then  identity
	since []blob.Record
	links []string // segments that were brought back to be read
	r     RolledBack
}

// Rollback gives a folder that nobody serves back the format, the tables and the segments of before its last migration. Mail
// that was delivered to mailboxes since is logged again for the older program; everything else since is lost, and Lose must say that
// this is meant (else ErrWouldLose, with the same report). When anything happened since, every mailbox gets a new UIDVALIDITY: uids
// given since are never given again. What the newer program had stays in the folder Aside. When it is interrupted it is run again.
func Rollback(ctx context.Context, o RollbackOptions) (RolledBack, error) {
	w := &rollback{o: o, db: &DB{o: Options{Dir: o.Dir, Migrations: o.Migrations}.withDefaults()}}
	if _, err := os.Stat(filepath.Join(o.Dir, "meta.db")); err != nil {
		return w.r, fmt.Errorf("open the data folder: %w", err)
	}
	if err := w.db.probe(); err != nil {
		return w.r, err
	}
	defer w.db.lock.Close()
	if err := w.resume(); err == nil || !errors.Is(err, fs.ErrNotExist) {
		return w.r, err
	}
	if err := w.look(ctx); err != nil {
		for _, path := range w.links {
			err = errors.Join(err, os.Remove(path))
		}
		return w.r, err
	}
	if err := w.stage(ctx); err != nil {
		return w.r, fmt.Errorf("make the folder of before again: %w", err)
	}
	return w.r, w.swap()
}

func (w *rollback) path(names ...string) string {
	return filepath.Join(append([]string{w.o.Dir}, names...)...)
}

func (w *rollback) step(name string) error {
	if w.o.interrupt != nil {
		return w.o.interrupt(name)
	}
	return nil
}

// resume ends a rollback that was interrupted when everything was staged; fs.ErrNotExist: there is none.
func (w *rollback) resume() error {
	text, err := os.ReadFile(w.path(rollbackMark))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(text, &w.r); err != nil {
		return fmt.Errorf("%s: %w: %w", w.path(rollbackMark), ErrDamaged, err)
	}
	w.b.dir = w.path(beforeName(w.r.To))
	return w.swap()
}

// look finds out what happened since, and whether it may be lost.
func (w *rollback) look(ctx context.Context) (err error) {
	if w.b, err = findBefore(vfs.OS{}, w.o.Dir); err != nil {
		return err
	}
	if w.b.Format == 0 {
		return fmt.Errorf("%w: no upgrade of %s has kept one, or it was given up after a week", ErrNoWayBack, w.o.Dir)
	}
	if w.then, err = identityOf(filepath.Join(w.b.dir, "meta.db")); err != nil {
		return err
	}
	w.r = RolledBack{To: w.b.Format, Made: w.b.Made}
	w.now, err = identityOf(w.path("meta.db"))
	switch {
	case err != nil:
		w.r.Unknown, w.now = err.Error(), w.then
	case w.now.version <= w.b.Format:
		return fmt.Errorf("%w: %s has format %d already", ErrNoWayBack, w.o.Dir, w.now.version)
	default:
		w.r.From, w.r.Changes = w.now.version, w.now.changes
	}
	if err := w.linkKept(); err != nil {
		return err
	}
	if err := w.gather(ctx); err != nil {
		w.r.Unknown = strings.TrimPrefix(w.r.Unknown+"; "+err.Error(), "; ")
	}
	if !w.o.Lose && (w.r.Unknown != "" || w.r.Lost > 0 || w.r.Changes > 0) {
		return ErrWouldLose
	}
	return nil
}

// identityOf reads table s of a file that nobody has open.
func identityOf(path string) (id identity, err error) {
	b, err := openReadOnly(path)
	if err != nil {
		return id, err
	}
	err = guard(func() error {
		return b.view(func(p pages) (err error) {
			id, err = readIdentity(p, filepath.Dir(path))
			return err
		})
	})
	return id, errors.Join(err, b.db.Close())
}

// linkKept brings the segments back that compaction has removed since.
func (w *rollback) linkKept() error {
	names, err := os.ReadDir(filepath.Join(w.b.dir, "seg"))
	if err != nil {
		return err
	}
	for _, e := range names {
		to := w.path("seg", e.Name())
		if _, err := os.Stat(to); errors.Is(err, fs.ErrNotExist) {
			err = linkOrCopy(vfs.OS{}, filepath.Join(w.b.dir, "seg", e.Name()), to)
			if err != nil {
				return err
			}
			w.links = append(w.links, to)
		}
	}
	return nil
}

// gather reads the records that were logged since.
func (w *rollback) gather(ctx context.Context) error {
	log, err := w.openLog(ctx, w.path("seg"))
	if err != nil {
		return err
	}
	defer log.Close()
	_, err = log.Replay(ctx, w.then.applied, func(r blob.Record) error {
		if r.LSN.Segment() <= w.b.Last || len(r.Meta) == 0 {
			return nil // the older program replays it itself; or a body that an Update refers to, which is counted
		}
		keep, other := w.kept(r.Meta)
		whole := len(keep) == 0 || readable(ctx, log, &r)
		if err := ctx.Err(); err != nil {
			return err
		}
		if other || !whole {
			w.r.Lost++
		}
		if len(keep) > 0 && whole {
			w.r.Kept++
			r.Meta = keep
			w.since = append(w.since, r)
		}
		return nil
	})
	return err
}

// readable reads the body of a record. One that was given up and removed since, or that is damaged, must not keep all others here.
func readable(ctx context.Context, log *blob.Log, r *blob.Record) bool {
	if r.Place == 0 {
		return true
	}
	body, err := log.OpenBody(r.Place)
	if err != nil {
		return false
	}
	defer body.Close()
	if _, err := body.Head(); err != nil {
		return false
	}
	buf := make([]byte, 64<<10)
	for at := int64(0); at < body.Size() && ctx.Err() == nil; at += int64(len(buf)) {
		if _, err := body.ReadAt(buf[:min(int64(len(buf)), body.Size()-at)], at); err != nil {
			return false
		}
	}
	return true
}

// kept is what of a record's parts is logged again.
func (w *rollback) kept(meta []byte) (keep []byte, other bool) {
	var parts []Part
	for part, err := range decodeParts(meta) {
		if err != nil {
			return nil, true
		}
		if strings.IndexByte(w.o.Keep, part.Kind) < 0 || w.unknownThen(part.Kind) {
			other = true
			continue
		}
		parts = append(parts, part)
	}
	return encodeParts(parts), other
}

// unknownThen reports whether programs of the older format do not know a part kind.
func (w *rollback) unknownThen(kind byte) bool {
	for _, m := range w.db.o.Migrations[min(int(w.b.Format-firstFormat), len(w.db.o.Migrations)):] {
		if strings.IndexByte(m.Kinds, kind) >= 0 {
			return true
		}
	}
	return false
}

func (w *rollback) openLog(ctx context.Context, dir string) (*blob.Log, error) {
	return blob.Open(ctx, blob.Options{Dir: dir, UUID: w.then.uuid, Key: w.then.key, Plain: true, Floor: 1 << 20})
}

// segments is the version of segments that programs of the older format read.
func (w *rollback) segments() uint16 {
	for _, m := range w.db.o.Migrations[min(int(w.b.Format-firstFormat), len(w.db.o.Migrations)):] {
		if m.OlderSegments != 0 {
			return m.OlderSegments
		}
	}
	return 0
}

// stage makes the whole folder of before in rollback.new, and at its end the mark that it is whole.
func (w *rollback) stage(ctx context.Context) error {
	stage, seg := w.path(rollbackStage), w.path(rollbackStage, "seg")
	if err := os.RemoveAll(stage); err != nil {
		return err
	}
	if err := os.MkdirAll(seg, 0o700); err != nil {
		return err
	}
	names, err := blob.List(vfs.OS{}, filepath.Join(w.b.dir, "seg"))
	if err != nil {
		return err
	}
	for _, n := range names {
		if n <= w.b.Last {
			name := blob.SegmentName(n)
			if err := linkOrCopy(vfs.OS{}, filepath.Join(w.b.dir, "seg", name), filepath.Join(seg, name)); err != nil {
				return err
			}
		}
	}
	tables := filepath.Join(stage, "meta.db")
	if err := copyFile(vfs.OS{}, filepath.Join(w.b.dir, "meta.db"), tables); err != nil {
		return err
	}
	if err := w.step("staged"); err != nil {
		return err
	}
	if w.r.Kept+w.r.Lost > 0 || w.r.Changes > 0 || w.r.Unknown != "" {
		if err := w.moveOn(ctx, tables, seg); err != nil {
			return err
		}
	}
	if w.r.From == 0 {
		w.r.From = w.db.o.newest() // the tables of today cannot be read
	}
	w.r.Aside = w.path(fmt.Sprintf("after-%d", w.r.From))
	for n := 2; ; n++ { // that of an earlier rollback stays
		names, err := os.ReadDir(w.r.Aside)
		if len(names) == 0 && (err == nil || errors.Is(err, fs.ErrNotExist)) {
			break
		}
		if err != nil {
			return err
		}
		w.r.Aside = w.path(fmt.Sprintf("after-%d-%d", w.r.From, n))
	}
	mark, err := json.Marshal(w.r)
	if err != nil {
		return err
	}
	for _, d := range []string{seg, stage} {
		if err := (vfs.OS{}).SyncDir(d); err != nil {
			return err
		}
	}
	if err := writeFile(vfs.OS{}, w.path(rollbackMark+".new"), mark); err != nil {
		return err
	}
	if err := os.Rename(w.path(rollbackMark+".new"), w.path(rollbackMark)); err != nil {
		return err
	}
	return vfs.OS{}.SyncDir(w.o.Dir)
}

// moveOn makes the staged folder one that gives nothing that was given since, with the mail of since in its log.
func (w *rollback) moveOn(ctx context.Context, tables, seg string) error {
	if err := w.beginEpoch(tables); err != nil {
		return err
	}
	all, err := blob.List(vfs.OS{}, w.path("seg"))
	if err != nil {
		return err
	}
	ahead := w.b.Last + epochStep
	if len(all) > 0 {
		ahead = all[len(all)-1] + epochStep
	}
	if err := os.WriteFile(filepath.Join(seg, blob.SegmentName(ahead)), nil, 0o600); err != nil {
		return err // empty: the next number is above it, and every start removes such files
	}
	if len(w.since) == 0 {
		return nil
	}
	if err := w.logAgain(ctx, seg); err != nil {
		return fmt.Errorf("log the mail of since again: %w", err)
	}
	if v := w.segments(); v != 0 {
		return blob.SetVersion(blob.Options{Dir: seg, UUID: w.then.uuid, Key: w.then.key}, ahead, v)
	}
	return nil
}

// logAgain appends the records of since to the staged log.
func (w *rollback) logAgain(ctx context.Context, seg string) (err error) {
	from, err := w.openLog(ctx, w.path("seg"))
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := w.openLog(ctx, seg)
	if err != nil {
		return err
	}
	if _, err = to.Replay(ctx, w.then.applied, func(blob.Record) error { return nil }); err == nil {
		err = to.Start()
	}
	for i := 0; i < len(w.since) && err == nil; i++ {
		err = again(ctx, from, to, &w.since[i])
	}
	return errors.Join(err, to.Close())
}

// again copies one record from log to log.
func again(ctx context.Context, from, to *blob.Log, r *blob.Record) error {
	item := &blob.Item{Meta: r.Meta}
	if r.Place != 0 {
		body, err := from.OpenBody(r.Place)
		if err != nil {
			return err
		}
		defer body.Close()
		head, err := body.Head()
		if err != nil {
			return err
		}
		w, err := to.NewBody(ctx, body.Size())
		if err != nil {
			return err
		}
		buf := make([]byte, 64<<10)
		for at := int64(0); at < body.Size(); at += int64(len(buf)) {
			p := buf[:min(int64(len(buf)), body.Size()-at)]
			if _, err = body.ReadAt(p, at); err == nil {
				_, err = w.Write(p)
			}
			if err != nil {
				w.Discard()
				return err
			}
		}
		if item.Body, err = w.Finish(head); err != nil {
			return err
		}
	}
	return to.Append(ctx, item)
}

// swap gives the staged folder its place. Every step may have been taken before.
func (w *rollback) swap() error {
	if err := os.MkdirAll(w.r.Aside, 0o700); err != nil {
		return err
	}
	for _, f := range []func() error{w.swapSegments, w.swapTables, w.putAside, w.tidy} {
		if err := f(); err != nil {
			return fmt.Errorf("%w; run it again: %w", errInterrupted, err)
		}
		if err := errors.Join((vfs.OS{}).SyncDir(w.r.Aside), (vfs.OS{}).SyncDir(w.o.Dir)); err != nil {
			return err
		}
	}
	return nil
}

func (w *rollback) swapSegments() error {
	staged, is, aside := w.path(rollbackStage, "seg"), w.path("seg"), filepath.Join(w.r.Aside, "seg")
	if _, err := os.Stat(staged); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(aside); errors.Is(err, fs.ErrNotExist) {
		if err := os.Rename(is, aside); err != nil {
			return err
		}
	}
	if err := w.step("segments aside"); err != nil {
		return err
	}
	if err := os.Remove(is); err != nil && !errors.Is(err, fs.ErrNotExist) { // empty, if somebody tried to open the folder
		return err
	}
	return errors.Join(os.Rename(staged, is), w.step("segments"))
}

func (w *rollback) swapTables() error {
	staged, is, aside := w.path(rollbackStage, "meta.db"), w.path("meta.db"), filepath.Join(w.r.Aside, "meta.db")
	if _, err := os.Stat(staged); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if _, err := os.Stat(aside); errors.Is(err, fs.ErrNotExist) {
		if err := linkOrCopy(vfs.OS{}, is, aside); err != nil {
			return err
		}
	}
	if err := w.step("tables aside"); err != nil {
		return err
	}
	return errors.Join(os.Rename(staged, is), w.step("tables"))
}

// putAside moves what else the newer program made of its tables.
func (w *rollback) putAside() error {
	names, err := os.ReadDir(w.o.Dir)
	if err != nil {
		return err
	}
	for _, e := range names {
		if name := e.Name(); strings.HasPrefix(name, "meta.") && name != "meta.db" {
			if err := os.Rename(w.path(name), filepath.Join(w.r.Aside, name)); err != nil {
				return err
			}
		}
	}
	return w.step("aside")
}

// tidy removes the mark first: from then on the folder is the older program's.
func (w *rollback) tidy() error {
	if err := os.Remove(w.path(rollbackMark)); err != nil {
		return err
	}
	if err := (vfs.OS{}).SyncDir(w.o.Dir); err != nil {
		return err
	}
	return errors.Join(os.RemoveAll(w.path(rollbackStage)), removeBefore(vfs.OS{}, w.b.dir))
}

// refuseHalf keeps everybody out of a folder whose rollback was interrupted.
func (db *DB) refuseHalf() error {
	if db.o.Memory {
		return nil
	}
	if _, err := os.Stat(filepath.Join(db.o.Dir, rollbackMark)); err == nil {
		return fmt.Errorf("%w in %s; run `posthouse rollback` again", errInterrupted, db.o.Dir)
	}
	return nil
}
