package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"sync"
	"testing"

	"github.com/posthouse-mail/posthouse/store/blob"
)

const testKind = 't'

// openTest opens a DB whose kind 't' puts part data -> body place into table m and rings nothing.
func openTest(t testing.TB, o Options) *DB {
	t.Helper()
	db, err := Open(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	db.Register(testKind, Kind{Apply: func(tx *Tx, e Entry, data []byte) error {
		if tx.Get("m", data) != nil {
			tx.Put("m", append([]byte("twice-"), data...), nil)
		}
		tx.Put("m", data, binary.BigEndian.AppendUint64(nil, uint64(e.Body)))
		return nil
	}})
	if err := db.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return db
}

func body(t testing.TB, db *DB, head, text []byte) *blob.Body {
	t.Helper()
	w, err := db.NewBody(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(text); err != nil {
		t.Fatal(err)
	}
	b, err := w.Finish(head)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func get(t testing.TB, db *DB, key string) (v []byte) {
	t.Helper()
	err := db.View(context.Background(), func(tx *Tx) error {
		v = bytes.Clone(tx.Get("m", []byte(key)))
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func readAll(t testing.TB, db *DB, at blob.LSN) (head, text []byte) {
	t.Helper()
	r, err := db.OpenBody(at)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	head, err = r.Head()
	if err != nil {
		t.Fatal(err)
	}
	text = make([]byte, r.Size())
	if n, err := r.ReadAt(text, 0); n != len(text) {
		t.Fatal(n, err)
	}
	return head, text
}

func TestLogSettleReopen(t *testing.T) {
	dir := t.TempDir()
	db := openTest(t, Options{Dir: dir})
	texts := map[string][]byte{}
	for i, n := range []int{0, 1, 100, 600, 5000, 33000, 65536, 65537, 300000, 1 << 20} {
		key := fmt.Sprint("k", i)
		text := bytes.Repeat([]byte("Subject: x\r\n\r\n"+key), n/16+1)[:n]
		texts[key] = text
		_, err := db.Log(t.Context(), Record{Accounts: []uint32{7}, Parts: []Part{{testKind, []byte(key)}}, Body: body(t, db, []byte("head of "+key), text)})
		if err != nil {
			t.Fatal(err)
		}
	}
	check := func() {
		t.Helper()
		if err := db.Settle(t.Context(), 7); err != nil {
			t.Fatal(err)
		}
		for key, text := range texts {
			v := get(t, db, key)
			if len(v) != 8 {
				t.Fatalf("%s is not there", key)
			}
			head, got := readAll(t, db, blob.LSN(binary.BigEndian.Uint64(v)))
			if string(head) != "head of "+key || !bytes.Equal(got, text) {
				t.Fatalf("%s: head %q, %d octets", key, head, len(got))
			}
			if get(t, db, "twice-"+key) != nil {
				t.Fatalf("%s was applied twice", key)
			}
		}
	}
	check()
	for range 2 {
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
		db = openTest(t, Options{Dir: dir})
		check()
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestManyLoggersAndUpdates(t *testing.T) {
	db := openTest(t, Options{Dir: t.TempDir(), SegmentSize: 1 << 18})
	var wg sync.WaitGroup
	text := bytes.Repeat([]byte("body "), 800)
	for g := range 20 {
		wg.Go(func() {
			for i := range 30 {
				key := fmt.Sprintf("%d/%d", g, i)
				w, err := db.NewBody(t.Context(), 0)
				if err != nil {
					t.Error(err)
					return
				}
				w.Write(text)
				b, err := w.Finish([]byte(key))
				if err != nil {
					t.Error(err)
					return
				}
				_, err = db.Log(t.Context(), Record{Accounts: []uint32{uint32(g)}, Parts: []Part{{testKind, []byte(key)}}, Body: b})
				if err != nil {
					t.Error(err)
					return
				}
				if err := db.Settle(t.Context(), uint32(g)); err != nil {
					t.Error(err)
				}
				if get(t, db, key) == nil {
					t.Errorf("%s is not there after Settle", key)
				}
				err = db.Update(t.Context(), func(tx *Tx) error {
					if tx.Get("m", []byte(key)) == nil {
						return fmt.Errorf("%s is not there in an Update", key)
					}
					tx.Put("n", []byte(key), []byte("x"))
					return nil
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}
