package kv

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/posthouse-mail/posthouse/store/blob"
)

// commitsOf reads the journal of a closed folder.
func commitsOf(t testing.TB, o Options, uuid [16]byte, key [32]byte) (commits []string, ended bool) {
	t.Helper()
	l, err := blob.Open(t.Context(), blob.Options{FS: o.FS, Dir: o.Dir + "/seg", UUID: uuid, Key: key})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var a assembly
	_, err = l.Salvage(t.Context(), 0, func(f blob.Found) error {
		if f.Note != blob.Journal {
			return nil
		}
		ended = false
		return readFrames(f.Meta, func(f frame) error {
			if f.kind == frameClose {
				ended = true
				return nil
			}
			octets, whole := a.add(f)
			if !whole {
				return nil
			}
			text := fmt.Sprint(f.seq)
			_, err := readCommit(octets, func(c change) error {
				text += fmt.Sprintf(" %s%d%s=%s", c.table, c.op, c.key, c.value)
				return nil
			})
			commits = append(commits, text)
			return err
		})
	}, func(h blob.Hole) error { t.Errorf("%+v", h); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return commits, ended
}

func logKey(t testing.TB, db *DB) (key [32]byte) {
	t.Helper()
	err := db.View(t.Context(), func(tx *Tx) error { copy(key[:], tx.Get(tableSettings, []byte(keyLog))); return nil })
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// TestJournal: what Updates change is in the journal, once and in order; what fails, and what deliveries do, is not.
func TestJournal(t *testing.T) {
	o := Options{Dir: t.TempDir()}.withDefaults()
	db := openTest(t, o)
	key := logKey(t, db)
	update := func(fn func(tx *Tx) error) {
		t.Helper()
		if err := db.Update(t.Context(), fn); err != nil {
			t.Fatal(err)
		}
	}
	update(func(tx *Tx) error { tx.Put("n", []byte("key1"), []byte("a")); return nil })
	failed := errors.New("no")
	if err := db.Update(t.Context(), func(tx *Tx) error { tx.Put("n", []byte("no"), nil); return failed }); !errors.Is(err, failed) {
		t.Fatal(err)
	}
	if _, err := db.Log(t.Context(), Record{Parts: []Part{{testKind, []byte("mail")}}, Body: body(t, db, nil, []byte("x"))}); err != nil {
		t.Fatal(err)
	}
	update(func(tx *Tx) error {
		tx.Put("n", []byte("key2"), []byte("b"))
		tx.Put("n", []byte("key2"), []byte("c"))
		tx.Delete("n", []byte("key1"))
		tx.Put("s", []byte("count"), []byte("1"))
		tx.Put("s", []byte("count"), []byte("2"))
		return nil
	})
	update(func(tx *Tx) error { return nil })
	large := bytes.Repeat([]byte("l"), 3*journalChunk)
	update(func(tx *Tx) error { tx.Put("n", []byte("l"), large); return nil })
	if err := db.SyncJournal(t.Context()); err != nil {
		t.Fatal(err)
	}
	uuid := db.UUID()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	commits, ended := commitsOf(t, o, uuid, key)
	want := []string{"1 n1key1=a", "2 n1key2=b n1key2=c n2key1= s1count=2", "3 n1l=" + string(large)}
	if !slices.Equal(commits, want) || !ended {
		t.Fatalf("%.200q, ended %v", commits, ended)
	}
	// A run that changes nothing writes nothing: the journal ends well still.
	openTest(t, o).Close()
	db = openTest(t, o)
	if err := db.Update(t.Context(), func(tx *Tx) error { tx.Put("n", []byte("m"), nil); return nil }); err != nil {
		t.Fatal(err)
	}
	db.Close()
	if commits, ended := commitsOf(t, o, uuid, key); len(commits) != 4 || commits[3] != "4 n1m=" || !ended {
		t.Fatalf("%.100q, ended %v", commits[3:], ended)
	}
}

// TestJournalCostsNoSync: an Update has its two syncs and no more.
func TestJournalCostsNoSync(t *testing.T) {
	db := openTest(t, Options{Dir: t.TempDir()})
	before := db.Counts()
	for i := range 20 {
		if err := db.Update(t.Context(), func(tx *Tx) error { tx.Put("n", fmt.Append(nil, i), nil); return nil }); err != nil {
			t.Fatal(err)
		}
	}
	after := db.Counts()
	if after.CommitSyncs-before.CommitSyncs != 40 || after.Log.Syncs != before.Log.Syncs || after.Log.NoteSyncs != before.Log.NoteSyncs {
		t.Fatalf("%+v\n%+v", before, after)
	}
	db.Close()
}

// TestDirectory: a directory record stands near the head of a log segment and holds what the owners name.
func TestDirectory(t *testing.T) {
	o := Options{Dir: t.TempDir()}.withDefaults()
	db, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	db.Outline(Outline{Whole: []Table{"n"}, Rows: func(tx *Tx, yield func(t Table, key, value []byte) error) error {
		return yield("m", []byte("row"), []byte("value"))
	}})
	db.Register(testKind, Kind{Apply: func(*Tx, Entry, []byte) error { return nil }})
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := db.Update(t.Context(), func(tx *Tx) error { tx.Put("n", []byte("name"), []byte("id")); return nil }); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Keep(t.Context(), body(t, db, nil, []byte("x"))); err != nil {
		t.Fatal(err)
	}
	if err := db.scribe.outline(t.Context(), 1<<20); err != nil {
		t.Fatal(err)
	}
	uuid := db.UUID()
	db.Close()
	d, err := findDirectory(t.Context(), o)
	if err != nil || d == nil || d.uuid != uuid || d.seq != 1 {
		t.Fatalf("%+v %v", d, err)
	}
	var rows []string
	if _, err := readCommit(d.octets, func(c change) error { rows = append(rows, string(c.table)+string(c.key)); return nil }); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"nname", "mrow", "suuid", "ssecret", "slogkey"} {
		if !slices.Contains(rows, want) {
			t.Errorf("%s is missing in %q", want, rows)
		}
	}
}

// TestDirectoryIsBounded: directory records are a small part of the log, however often it goes on in a new segment.
func TestDirectoryIsBounded(t *testing.T) {
	db, err := Open(t.Context(), Options{Dir: t.TempDir(), SegmentSize: 16 << 10, Plain: true})
	if err != nil {
		t.Fatal(err)
	}
	db.Outline(Outline{Whole: []Table{"n"}})
	db.Register(testKind, Kind{Apply: func(*Tx, Entry, []byte) error { return nil }})
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for i := range 200 {
		if _, err := db.Keep(t.Context(), body(t, db, nil, bytes.Repeat(fmt.Append(nil, i), 1000))); err != nil {
			t.Fatal(err)
		}
	}
	octets := db.Counts().Log.Bytes
	n := 0
	numbers, _ := db.log.Segments()
	for _, number := range numbers {
		_, err := blob.FindNotes(db.o.FS, db.o.Dir+"/seg", number, func(_ blob.Ident, kind blob.NoteKind, note []byte) error {
			if kind == blob.Directory {
				n += len(note)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n == 0 || uint64(n) > octets/outlineShare+1000 {
		t.Fatalf("%d octets of directory records in a log of %d", n, octets)
	}
}

// FuzzJournal: no note and no commit makes the readers fail badly, and what the writer wrote is read.
func FuzzJournal(f *testing.F) {
	j := newJournal()
	j.change("m", opPut, []byte("abc"), []byte("value"))
	j.change("m", opDelta, []byte("abd"), []byte("delta"))
	j.change("n", opDelete, []byte("abd"), nil)
	frames(frameCommit, 7, append([]byte{1}, j.buf...), func(b []byte) bool { f.Add(bytes.Clone(b)); return true })
	f.Add(appendBytes([]byte{frameClose}, []byte{9}))
	f.Fuzz(func(t *testing.T, note []byte) {
		var a assembly
		readFrames(note, func(f frame) error {
			octets, whole := a.add(f)
			if !whole {
				return nil
			}
			_, err := readCommit(octets, func(c change) error {
				if len(c.key) == 0 || len(c.key) > maxKey {
					t.Fatalf("a key of %d octets", len(c.key))
				}
				return nil
			})
			return err
		})
	})
}
