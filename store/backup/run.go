package backup

import (
	"bytes"
	"cmp"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// run is one backup.
type run struct {
	o       Options
	w       *writer
	keys    *keys
	folder  string // of the store, in o.To
	temp    string // on the local disk
	live    vfs.FS
	journal *journal
	known   map[string]File // segments that are in the folder
	pic     *kv.DB          // the picture of the tables, over the living segments
	gen     *Generation
	content Contents
	fresh   map[string]bool // segments copied now
	named   int             // bodies that the tables name, where that was checked with the picture
	report  Report
	problem []string
}

// Run makes a backup and proves it. Mail goes on meanwhile; segments are kept where they are until they are copied.
//
// The order makes it safe to end anywhere: a file gets its name when it is whole, a generation gets its manifest last, and
// only then is anything old removed. What a backup that was cut short has copied is taken up by the next one.
func Run(ctx context.Context, o Options) (rep Report, err error) {
	o = o.withDefaults()
	began := o.Now()
	r := &run{o: o, known: map[string]File{}, fresh: map[string]bool{}, live: o.live}
	o.Logger.InfoContext(ctx, logx.BackupBegun, "to", o.To)
	err = r.run(ctx)
	r.report.Took = o.Now().Sub(began)
	o.Metrics.note(&r.report, err)
	if err != nil {
		return r.report, err
	}
	o.Logger.InfoContext(ctx, logx.BackupDone, "to", o.To, "generation", r.report.Generation, "segments", r.report.Segments,
		"copied", r.report.Copied, "written", r.report.Bytes, "verified", r.report.Verified != nil, "problems", len(r.report.Problems),
		"took", r.report.Took)
	return r.report, nil
}

func (r *run) run(ctx context.Context) (err error) {
	o := r.o
	uuid := StoreName(o.DB.UUID())
	r.folder = filepath.Join(o.To, uuid)
	if inside, err := within(o.DB.Dir(), o.To); err != nil {
		return fmt.Errorf("look where the folder of backups is: %w", err)
	} else if inside {
		return fmt.Errorf("%w: %s stands in the data folder, and would be lost with it; name a folder on another disk", ErrPlace, o.To)
	}
	if err := o.FS.MkdirAll(filepath.Join(r.folder, segmentsDir), 0o700); err != nil {
		return fmt.Errorf("make the folder of backups: %w", err)
	}
	host, _ := os.Hostname()
	lock, err := lockFolder(o.FS, r.folder, host+":"+o.DB.Dir(), o.Now)
	if err != nil {
		return fmt.Errorf("take the folder of backups: %w", err)
	}
	defer func() { err = errors.Join(err, lock.release()) }()
	if r.keys, err = o.Secrets.forWriting(o.FS, r.folder); err != nil {
		return err
	}
	r.w = &writer{fs: o.FS, keys: r.keys, pace: pace{o.Share}, tell: func(int) {}}
	if err := r.takeUp(uuid); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, r.journal.close()) }()
	if r.temp, err = os.MkdirTemp(o.Temp, "posthouse-backup-"); err != nil {
		return fmt.Errorf("make a folder for the picture of the tables: %w", err)
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.temp)) }()
	if err := r.copyHouse(ctx, uuid); err != nil {
		return err
	}
	if err := r.verify(ctx); err != nil {
		return fmt.Errorf("verify the backup: %w", err)
	}
	if err := r.finish(); err != nil {
		return fmt.Errorf("finish the backup: %w", err)
	}
	return r.retain()
}

// takeUp learns what is in the folder and removes the halves of an earlier run.
func (r *run) takeUp(uuid string) error {
	list, torn, err := generationsOf(r.o.FS, r.o.To, uuid)
	if err != nil {
		return err
	}
	for _, name := range torn {
		dir := filepath.Join(r.folder, name)
		r.o.Logger.Warn(logx.BackupTorn, "generation", dir)
		r.report.Warnings = append(r.report.Warnings, fmt.Sprintf("the manifest of %s cannot be read: it and all segments stay until somebody removes that folder", dir))
	}
	for _, g := range list {
		for _, f := range g.Manifest.Segments {
			r.known[f.Name] = f
		}
	}
	j, half, err := openJournal(r.o.FS, r.folder)
	if err != nil {
		return err
	}
	r.journal = j
	for _, f := range half {
		r.known[f.Name] = f
	}
	if err := r.sweep(list, torn); err != nil {
		return errors.Join(err, j.close())
	}
	if err := r.present(); err != nil {
		return errors.Join(err, j.close())
	}
	return nil
}

// present forgets the known segments that are not in the folder any more, or have another size.
func (r *run) present() error {
	dir := filepath.Join(r.folder, segmentsDir)
	for name, f := range r.known {
		st, err := r.o.FS.Stat(filepath.Join(dir, name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		if err != nil || st.Size() != f.Size {
			delete(r.known, name)
		}
	}
	return nil
}

// copyHouse copies tables, segments and the rest into a generation that has no manifest yet.
func (r *run) copyHouse(ctx context.Context, uuid string) (err error) {
	o := r.o
	if err := o.DB.SettleAll(ctx); err != nil {
		return err
	}
	release := o.DB.Hold()
	defer release()
	tables := filepath.Join(r.temp, tablesName)
	if _, err := o.DB.Snapshot(ctx, tables); err != nil {
		return err
	}
	closed, err := o.DB.Roll(ctx)
	if err != nil {
		return err
	}
	segments := filepath.Join(o.DB.Dir(), "seg")
	if r.pic, err = kv.OpenCopy(ctx, kv.Copy{Tables: tables, Segments: segments}); err != nil {
		return fmt.Errorf("open the picture of the tables: %w", err)
	}
	defer func() { err = errors.Join(err, r.pic.CloseCopy()) }()
	numbers, err := o.DB.Needed(ctx, r.pic, closed)
	if err != nil {
		return err
	}
	if err := r.begin(uuid); err != nil {
		return err
	}
	if err := r.copySegments(ctx, segments, numbers); err != nil {
		return err
	}
	release()
	s, err := store.New(r.pic, store.Options{})
	if err != nil {
		return err
	}
	if r.content.Accounts, err = o.Accounts(ctx, r.pic, s); err != nil {
		return fmt.Errorf("list the accounts: %w", err)
	}
	if !r.keys.canOpen() {
		if err := r.checkPicture(ctx, s); err != nil {
			return err
		}
	}
	return r.copyFiles(ctx, tables)
}

// begin makes the folder of the generation.
func (r *run) begin(uuid string) error {
	now := r.o.Now().UTC()
	name := now.Format(nameLayout)
	for n := 2; ; n++ {
		_, err := r.o.FS.Stat(filepath.Join(r.folder, name))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		name = fmt.Sprintf("%s-%d", now.Format(nameLayout), n)
	}
	r.gen = &Generation{Name: name, Temp: r.o.Temp, root: r.o.To, fs: r.o.FS}
	r.gen.Manifest = Manifest{Format: formatVersion, Program: r.o.Program, Store: uuid, Taken: now, Sealed: r.keys.sealed()}
	r.content = Contents{Segments: map[string]uint32{}, Settings: filepath.Base(r.o.Settings)}
	if r.o.Settings == "" {
		r.content.Settings = ""
	}
	return r.o.FS.MkdirAll(r.gen.dir(), 0o700)
}

// copySegments copies those that the folder has not.
func (r *run) copySegments(ctx context.Context, segments string, numbers []uint32) error {
	type source struct {
		number uint32
		path   string
		size   int64
		name   string
	}
	var wanted []source
	var total, done int64
	for _, n := range numbers {
		s := source{number: n, path: filepath.Join(segments, fmt.Sprintf("%08x.seg", n))}
		st, err := r.live.Stat(s.path)
		if errors.Is(err, fs.ErrNotExist) {
			r.problem = append(r.problem, fmt.Sprintf("segment %08x is missing in the living house: posthouse check store --deep says who is hit", n))
			continue
		}
		if err != nil {
			return err
		}
		s.size, s.name = st.Size(), r.keys.segmentName(r.o.DB.Secret(), n, st.Size())
		r.content.Segments[s.name] = n
		if f, ok := r.known[s.name]; ok {
			r.gen.Manifest.Segments = append(r.gen.Manifest.Segments, f)
			continue
		}
		wanted, total = append(wanted, s), total+s.size
	}
	r.w.tell = func(n int) {
		done += int64(n)
		r.o.Progress(Progress{Stage: "copy", Done: done, Total: total})
	}
	for _, s := range wanted {
		f, err := r.copySegment(ctx, s.number, s.path, s.name, s.size)
		if errors.Is(err, errSource) && ctx.Err() == nil {
			// One bad sector must not keep everything else out of the backup.
			r.problem = append(r.problem, fmt.Sprintf("segment %08x of the living house cannot be read, and is not in the backup: %v", s.number, err))
			delete(r.content.Segments, s.name)
			continue
		}
		if err != nil {
			return fmt.Errorf("copy segment %08x: %w", s.number, err)
		}
		r.gen.Manifest.Segments = append(r.gen.Manifest.Segments, f)
		r.fresh[f.Name] = true
		if err := r.journal.add(f); err != nil {
			return fmt.Errorf("note segment %08x: %w", s.number, err)
		}
	}
	r.report.Copied = len(r.fresh)
	slices.SortFunc(r.gen.Manifest.Segments, func(a, b File) int { return cmp.Compare(a.Name, b.Name) })
	return nil
}

// copySegment copies one. Where the copy cannot be decrypted here, its records are checked on the way in.
func (r *run) copySegment(ctx context.Context, number uint32, path, name string, size int64) (File, error) {
	src, err := r.live.OpenFile(path, os.O_RDONLY, 0)
	if err != nil {
		return File{}, err
	}
	defer src.Close()
	whole := io.NewSectionReader(src, 0, size)
	dst := filepath.Join(r.folder, segmentsDir, name)
	if r.keys.canOpen() {
		f, err := r.w.put(ctx, dst, whole)
		if !r.keys.sealed() {
			f.Number = number
		}
		return f, err
	}
	c, sum, err := r.checkPlain(ctx, number, src, size)
	if err != nil {
		return File{}, err
	}
	h := newHashReader(whole)
	f, err := r.w.put(ctx, dst, h)
	if err == nil && h.sum() != sum {
		err = fmt.Errorf("%w: two reads of the original differ", errSource)
	}
	f.Good, f.Log, f.Before = c.End, c.Log, uint64(c.Before)
	return f, err
}

// copyFiles copies the tables, what else is in the data folder, and the list of contents.
func (r *run) copyFiles(ctx context.Context, tables string) error {
	r.w.tell = func(int) {}
	put := func(name string, src io.Reader) error {
		if r.keys.sealed() {
			name += sealedSuffix
		}
		f, err := r.w.put(ctx, filepath.Join(r.gen.dir(), name), src)
		if err != nil {
			return fmt.Errorf("copy %s: %w", name, err)
		}
		r.gen.Manifest.Files = append(r.gen.Manifest.Files, f)
		return nil
	}
	t, err := os.Open(tables)
	if err != nil {
		return err
	}
	defer t.Close()
	if err := put(tablesName, struct{ io.Reader }{t}); err != nil {
		return err
	}
	tarball, left, err := packFolder(r.temp, r.o.DB.Dir(), r.o.Settings)
	if err != nil {
		return fmt.Errorf("pack the settings and keys: %w", err)
	}
	defer tarball.Close()
	if err := put(folderName, struct{ io.Reader }{tarball}); err != nil {
		return err
	}
	r.content.Left, r.report.Left = left, left
	text, err := json.MarshalIndent(r.content, "", " ")
	if err != nil {
		return err
	}
	if err := put(contentsName, bytes.NewReader(text)); err != nil {
		return err
	}
	if r.o.Secrets.Passphrase == "" {
		return nil
	}
	key, err := readAll(r.o.FS, filepath.Join(r.folder, keyName)) // a second place for what opens everything
	if err != nil {
		return err
	}
	return writeAll(r.o.FS, filepath.Join(r.gen.dir(), keyName), key)
}

// finish writes the manifest: from now on the generation counts.
func (r *run) finish() error {
	m := &r.gen.Manifest
	m.Problems = r.problem
	if err := writeJSON(r.o.FS, filepath.Join(r.gen.dir(), manifestName), m); err != nil {
		return err
	}
	rep := &r.report
	rep.Folder, rep.Generation, rep.Taken, rep.Segments = r.o.To, r.gen.Name, m.Taken, len(m.Segments)
	rep.Bytes, rep.Total, rep.Verified, rep.Problems = r.w.wrote, r.gen.Bytes(), m.Verified, m.Problems
	return r.journal.done()
}

// StoreName is a house's folder in a folder of backups.
func StoreName(u [16]byte) string {
	h := hex.EncodeToString(u[:])
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}
