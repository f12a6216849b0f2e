package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// repairOwners registers what openTest registers, and the directory.
func repairOwners(db *DB) {
	db.Register(testKind, Kind{Apply: func(tx *Tx, e Entry, data []byte) error {
		if tx.Get("m", data) != nil {
			tx.Put("m", append([]byte("twice-"), data...), nil)
		}
		tx.Put("m", data, binary.BigEndian.AppendUint64(nil, uint64(e.Body)))
		return nil
	}})
	db.Outline(Outline{Whole: []Table{"n"}})
}

func openHouse(t testing.TB, o Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	repairOwners(db)
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

// dump is what the owners' tables hold.
func dump(t testing.TB, db *DB) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := db.View(t.Context(), func(tx *Tx) error {
		for _, table := range []Table{"m", "n", "k", "z"} {
			for k, v := range tx.Scan(table, nil, nil) {
				out[string(table)+" "+string(k)] = string(v)
			}
		}
		out["count"] = string(tx.Get(tableSettings, []byte("count")))
		out["uuid"] = string(tx.Get(tableSettings, []byte(keyUUID)))
		out["secret"] = string(tx.Get(tableSettings, []byte(keySecret)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// live does n random things: deliveries, changes, both kinds of body.
func live(t testing.TB, db *DB, r *rand.Rand, name string, n int) {
	t.Helper()
	for i := range n {
		key := fmt.Appendf(nil, "%s.%d", name, i)
		var err error
		switch r.IntN(4) {
		case 0:
			text := bytes.Repeat(key, 1+r.IntN(400))
			if r.IntN(10) == 0 {
				text = bytes.Repeat(key, 20000)
			}
			_, err = db.Log(t.Context(), Record{Accounts: []uint32{1}, Parts: []Part{{testKind, key}}, Body: body(t, db, nil, text)})
		case 1:
			err = db.KeepUpdate(t.Context(), 1, []*blob.Body{body(t, db, nil, key)}, func(tx *Tx, e []Entry) error {
				tx.Put("m", key, binary.BigEndian.AppendUint64(nil, uint64(e[0].Body)))
				return nil
			})
		default:
			err = db.Update(t.Context(), func(tx *Tx) error {
				var some []byte
				for k := range tx.Scan("m", key, nil) {
					some = bytes.Clone(k)
					break
				}
				if some != nil && r.IntN(2) == 0 {
					tx.Delete("m", some)
				}
				tx.Put("k", key, key)
				tx.Put("n", fmt.Append(nil, "name", r.IntN(50)), key)
				c := number(tx.Get(tableSettings, []byte("count")))
				tx.Put(tableSettings, []byte("count"), binary.BigEndian.AppendUint64(nil, c+1))
				return nil
			})
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func differ(t testing.TB, got, want map[string]string) {
	t.Helper()
	n := 0
	for _, k := range slices.Sorted(maps.Keys(want)) {
		if got[k] != want[k] {
			if n++; n < 10 {
				t.Errorf("%q is %x, was %x", k, got[k], want[k])
			}
		}
	}
	for _, k := range slices.Sorted(maps.Keys(got)) {
		if _, ok := want[k]; !ok {
			if n++; n < 10 {
				t.Errorf("%q was not there", k)
			}
		}
	}
	if n > 0 {
		t.Errorf("%d differences", n)
	}
}

// mustRepair repairs from base to the end and opens the folder.
func mustRepair(t testing.TB, o Options, base Base) (RepairReport, *DB) {
	t.Helper()
	r, err := OpenRepair(t.Context(), o, base)
	if err != nil {
		t.Fatal(err)
	}
	repairOwners(r.DB)
	if err := r.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Finish(t.Context()); err != nil {
		t.Fatal(err)
	}
	return r.Report, openHouse(t, o)
}

// copyFolder is what a second machine would see if the power went out here now, with everything written.
func copyFolder(t testing.TB, from string) string {
	t.Helper()
	to := t.TempDir()
	if err := os.CopyFS(filepath.Join(to, "data"), os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(to, "data")
}

func repairTestOptions(dir string) Options {
	return Options{Dir: dir, Plain: true, SegmentSize: 64 << 10, TableGrowth: 32 << 10}
}

// TestRepairFromDay: the daily copy and the log since give every table as it was, after a clean end and after none.
func TestRepairFromDay(t *testing.T) {
	for _, clean := range []bool{true, false} {
		t.Run(fmt.Sprint("clean=", clean), func(t *testing.T) {
			r := rand.New(rand.NewPCG(1, 1))
			dir := t.TempDir()
			db := openHouse(t, repairTestOptions(dir))
			live(t, db, r, "a", 150)
			if err := db.CopyDay(t.Context()); err != nil {
				t.Fatal(err)
			}
			live(t, db, r, "b", 150)
			db.Close()
			db = openHouse(t, repairTestOptions(dir))
			live(t, db, r, "c", 150)
			if err := errors.Join(db.SettleAll(t.Context()), db.SyncJournal(t.Context())); err != nil {
				t.Fatal(err)
			}
			want := dump(t, db)
			if clean {
				db.Close()
			} else {
				dir = copyFolder(t, dir)
				defer db.Close()
			}
			o := repairTestOptions(dir)
			if err := os.Remove(filepath.Join(dir, "meta.db")); err != nil {
				t.Fatal(err)
			}
			if _, err := Open(t.Context(), o); err == nil || !strings.Contains(err.Error(), "posthouse repair") {
				t.Fatal(err)
			}
			report, db := mustRepair(t, o, BaseDay)
			defer db.Close()
			differ(t, dump(t, db), want)
			due, err := db.EpochDue(t.Context())
			if report.Complete != clean || due == clean || err != nil {
				t.Fatalf("%+v, epoch due %v, %v", report, due, err)
			}
			if report.Commits == 0 || report.Deliveries == 0 {
				t.Fatalf("%+v", report)
			}
		})
	}
}

// TestRepairFromNothing: without any copy of the tables, a log that is there from its beginning gives everything.
func TestRepairFromNothing(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 1))
	o := repairTestOptions(t.TempDir())
	db := openHouse(t, o)
	live(t, db, r, "a", 200)
	db.Close()
	db = openHouse(t, o)
	live(t, db, r, "b", 100)
	if err := db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := dump(t, db)
	db.Close()
	os.Remove(filepath.Join(o.Dir, "meta.db"))
	bases, err := Bases(t.Context(), o)
	if err != nil || !errors.Is(bases[0].Err, fs.ErrNotExist) || !errors.Is(bases[1].Err, fs.ErrNotExist) || bases[2].Err != nil {
		t.Fatal(bases, err)
	}
	report, db := mustRepair(t, o, BaseDirectory)
	defer db.Close()
	differ(t, dump(t, db), want)
	if !report.Complete {
		t.Fatalf("%+v", report)
	}
}

// TestRepairFromDirectory: when the first segments are gone too, names come from a directory record and mail from what is left.
func TestRepairFromDirectory(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 1))
	o := repairTestOptions(t.TempDir())
	db := openHouse(t, o)
	live(t, db, r, "a", 200)
	if err := db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	db.Close()
	gone, _ := filepath.Glob(filepath.Join(o.Dir, "seg", "*.seg"))
	db = openHouse(t, o)
	live(t, db, r, "b", 300)
	if err := db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := dump(t, db)
	db.Close()
	for _, name := range append(gone, filepath.Join(o.Dir, "meta.db")) {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	report, db := mustRepair(t, o, BaseDirectory)
	defer db.Close()
	got := dump(t, db)
	for k, v := range want {
		lost := strings.HasPrefix(k, "m a.") || strings.HasPrefix(k, "k a.")
		if !lost && got[k] != v {
			t.Errorf("%q is %x, was %x", k, got[k], v)
		}
	}
	if report.Complete || len(report.Gaps) == 0 {
		t.Fatalf("%+v", report)
	}
}

// TestRepairBrokenTables: whatever is wrong with the files of the tables, the next base is found, and the old files stay.
func TestRepairBrokenTables(t *testing.T) {
	r := rand.New(rand.NewPCG(4, 1))
	dir := t.TempDir()
	db := openHouse(t, repairTestOptions(dir))
	live(t, db, r, "a", 100)
	if err := db.CopyDay(t.Context()); err != nil {
		t.Fatal(err)
	}
	live(t, db, r, "b", 100)
	if err := db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := dump(t, db)
	db.Close()
	damage := map[string]func(path string){
		"missing":   func(path string) { os.Remove(path) },
		"empty":     func(path string) { os.Truncate(path, 0) },
		"truncated": func(path string) { os.Truncate(path, 9000) },
		"garbage": func(path string) {
			f, err := os.OpenFile(path, os.O_RDWR, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			f.WriteAt(bytes.Repeat([]byte{0xa5}, 4096), 2*4096)
			f.WriteAt(bytes.Repeat([]byte{0xa5}, 3*4096), 4*4096)
		},
	}
	for tables, hurtTables := range damage {
		for day, hurtDay := range damage {
			dir := copyFolder(t, dir)
			o := repairTestOptions(dir)
			hurtTables(filepath.Join(dir, "meta.db"))
			if day != "garbage" {
				hurtDay = nil
			} else {
				hurtDay(filepath.Join(dir, "meta.db.day"))
			}
			bases, err := Bases(t.Context(), o)
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(bases, func(c Candidate) bool { return c.Err == nil })
			if i < 1 || bases[i].Base == BaseDay != (hurtDay == nil) {
				t.Fatalf("tables %s, copy %s: %+v", tables, day, bases)
			}
			report, db := mustRepair(t, o, bases[i].Base)
			differ(t, dump(t, db), want)
			db.Close()
			if !report.Complete {
				t.Errorf("tables %s, copy %s: %+v", tables, day, report)
			}
			aside, _ := filepath.Glob(filepath.Join(dir, "*.before-repair-*"))
			if tables != "missing" && !slices.ContainsFunc(aside, func(s string) bool { return strings.Contains(s, "meta.db.before") }) {
				t.Errorf("tables %s: the old file is gone: %q", tables, aside)
			}
		}
	}
}

// TestRepairRandomDamage flips, zeroes and cuts segments while the tables are lost: what was not hit is there.
func TestRepairRandomDamage(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	dir := t.TempDir()
	db := openHouse(t, repairTestOptions(dir))
	live(t, db, r, "a", 60)
	if err := db.CopyDay(t.Context()); err != nil {
		t.Fatal(err)
	}
	live(t, db, r, "b", 250)
	if err := db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := dump(t, db)
	db.Close()
	for round := range 25 {
		dir := copyFolder(t, dir)
		os.Remove(filepath.Join(dir, "meta.db"))
		segments, _ := filepath.Glob(filepath.Join(dir, "seg", "*.seg"))
		path := segments[r.IntN(len(segments)-1)] // the last one is a spare
		file, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		at := r.IntN(len(file))
		switch round % 3 {
		case 0:
			file[at] ^= 4
		case 1:
			clear(file[at:min(len(file), at+5000)])
		case 2:
			file = file[:at]
		}
		if err := os.WriteFile(path, file, 0o600); err != nil {
			t.Fatal(err)
		}
		report, db := mustRepair(t, repairTestOptions(dir), BaseDay)
		got := dump(t, db)
		missing := 0
		for k, v := range want {
			if got[k] != v {
				missing++
			}
		}
		sound := len(report.Holes)+len(report.Broken)+len(report.Gaps) == 0
		if (sound && report.Ended || report.Complete) && missing > 0 {
			t.Errorf("round %d, %s at %x: %d rows differ, and nothing is told", round, filepath.Base(path), at, missing)
		}
		if missing > 220 {
			t.Errorf("round %d: %d of %d rows differ", round, missing, len(want))
		}
		if due, err := db.EpochDue(context.Background()); err != nil || due == report.Complete {
			t.Errorf("round %d: due %v, %+v", round, due, report)
		}
		if len(report.Holes) > 0 {
			if kept, _ := filepath.Glob(filepath.Join(dir, "damaged", "*.seg")); len(kept) == 0 {
				t.Errorf("round %d: the damaged segment is not kept", round)
			}
		}
		live(t, db, r, "after", 20)
		if err := db.Close(); err != nil {
			t.Errorf("round %d: %v", round, err)
		}
	}
}

// TestRepairCutShort makes the n-th operation on the log's files fail during a repair, n = 1, 2, 3 and so on; the next try begins anew,
// and the one that meets no failure gives back everything.
func TestRepairCutShort(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 1))
	fs := vfstest.New()
	o := repairTestOptions(t.TempDir())
	o.FS = fs
	db := openHouse(t, o)
	live(t, db, r, "a", 40)
	if err := db.CopyDay(t.Context()); err != nil {
		t.Fatal(err)
	}
	live(t, db, r, "b", 40)
	if err := db.SettleAll(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := dump(t, db)
	db.Close()
	tables := filepath.Join(o.Dir, "meta.db")
	os.Remove(tables)
	for n := 1; ; n += 1 + n/20 {
		tried := fs.Crash(r) // a copy: everything is durable
		o.FS = tried
		first, hit := tried.Counts().Ops, false
		tried.SetFail(func(op vfstest.Op) error {
			if op.N == first+n {
				hit = true
				return syscall.EIO
			}
			return nil
		})
		report, err := tryRepair(t, o)
		tried.SetFail(nil)
		_, there := os.Stat(tables)
		switch {
		case !hit && (err != nil || !report.Complete || n < 10):
			t.Fatalf("operation %d: %v, %+v", n, err, report)
		case err != nil && there == nil:
			t.Fatalf("operation %d failed with %v, and the tables are there", n, err)
		case err != nil: // the next try finds what this one left
			report, err = tryRepair(t, o)
			if err != nil || !report.Complete {
				t.Fatalf("after operation %d: %v, %+v", n, err, report)
			}
			db := openHouse(t, o)
			differ(t, dump(t, db), want)
			db.Close()
		}
		if err := os.Remove(tables); err != nil {
			t.Fatal(err)
		}
		if !hit {
			return
		}
	}
}

func tryRepair(t *testing.T, o Options) (RepairReport, error) {
	r, err := OpenRepair(t.Context(), o, BaseDay)
	if err != nil {
		return RepairReport{}, err
	}
	repairOwners(r.DB)
	if err := r.Run(t.Context()); err != nil {
		return r.Report, errors.Join(err, r.Abort())
	}
	_, err = r.Finish(t.Context())
	return r.Report, err
}

// TestOpenAfterACrashOnABrokenPage: bbolt looks at such a file on a goroutine of its own; the error comes before that.
func TestOpenAfterACrashOnABrokenPage(t *testing.T) {
	dir := t.TempDir()
	db := openHouse(t, repairTestOptions(dir))
	live(t, db, rand.New(rand.NewPCG(7, 1)), "a", 100)
	crashed := copyFolder(t, dir)
	db.Close()
	st, err := os.Stat(filepath.Join(crashed, "meta.db"))
	if err != nil {
		t.Fatal(err)
	}
	broken := 0
	for page := int64(2); page < st.Size()/pageSize; page++ {
		dir := copyFolder(t, crashed)
		f, err := os.OpenFile(filepath.Join(dir, "meta.db"), os.O_RDWR, 0)
		if err != nil {
			t.Fatal(err)
		}
		f.WriteAt(bytes.Repeat([]byte{0xff}, pageSize), page*pageSize)
		f.Close()
		db, err := Open(t.Context(), repairTestOptions(dir))
		if err == nil {
			db.Close() // nothing of the tree stood there
			continue
		}
		if broken++; !errors.Is(err, ErrDamaged) || !strings.Contains(err.Error(), "posthouse repair") {
			t.Fatalf("page %d: %v", page, err)
		}
	}
	if broken == 0 {
		t.Fatal("no page matters")
	}
}
