package kv

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/blob"
)

// office is a DB whose rows of tables m and n name bodies (place u64, octets u64), and what must be in them.
type office struct {
	t    testing.TB
	db   *DB
	mu   sync.Mutex
	want map[string][]byte // key -> text

	rolls int
}

var officeTables = []Table{"m", "n"}

func officePlaces(_, v []byte, at func(blob.LSN, int64) blob.LSN) ([]byte, error) {
	if len(v) != 16 {
		return nil, fmt.Errorf("row of %d octets: %w", len(v), ErrDamaged)
	}
	be := binary.BigEndian
	was := blob.LSN(be.Uint64(v))
	is := at(was, int64(be.Uint64(v[8:])))
	if is == was {
		return nil, nil
	}
	return be.AppendUint64(be.AppendUint64(nil, uint64(is)), be.Uint64(v[8:])), nil
}

func officeRow(e Entry) []byte {
	return binary.BigEndian.AppendUint64(lsnKey(e.Body), uint64(e.Size))
}

// startOffice opens a DB that may fail to start.
func startOffice(o Options) (*DB, error) {
	db, err := Open(context.Background(), o)
	if err != nil {
		return nil, err
	}
	db.compactor.window = 100
	db.Register(testKind, Kind{Apply: func(tx *Tx, e Entry, data []byte) error {
		if bytes.Equal(data, []byte("bad")) {
			return errors.New("cannot be applied")
		}
		if tx.Get("m", data) != nil {
			return fmt.Errorf("%s comes twice", data)
		}
		tx.Put("m", data, officeRow(e))
		return nil
	}})
	for _, t := range officeTables {
		db.Refer(t, officePlaces)
	}
	if err := db.Start(context.Background()); err != nil {
		db.Close()
		return nil, err
	}
	return db, nil
}

func newOffice(t testing.TB, o Options) *office {
	t.Helper()
	if o.SegmentSize == 0 {
		o.SegmentSize = 32 << 10
	}
	o.DayEvery, o.Plain = -1, true
	db, err := startOffice(o)
	if err != nil {
		t.Fatal(err)
	}
	return &office{t: t, db: db, want: map[string][]byte{}}
}

func inMemory(t testing.TB) (*office, *vfstest.FS) {
	fs := vfstest.New()
	return newOffice(t, Options{Memory: true, FS: fs, CompactShare: 1}), fs
}

func (o *office) body(text []byte) (*blob.Body, error) {
	w, err := o.db.NewBody(context.Background(), 0)
	if err != nil {
		return nil, err
	}
	if _, err := w.Write(text); err != nil {
		w.Discard()
		return nil, err
	}
	return w.Finish([]byte("head"))
}

// deliver brings a text in by a record.
func (o *office) deliver(key string, text []byte) error {
	b, err := o.body(text)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.want[key] = text // it may be there whatever the answer
	o.mu.Unlock()
	_, err = o.db.Log(context.Background(), Record{Accounts: []uint32{1}, Parts: []Part{{testKind, []byte(key)}}, Body: b})
	return err
}

func (o *office) must(err error) {
	o.t.Helper()
	if err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) remove(keys ...string) error {
	return o.db.Update(context.Background(), func(tx *Tx) error {
		for _, k := range keys {
			for _, t := range officeTables {
				tx.Delete(t, []byte(k))
			}
		}
		return nil
	})
}

func (o *office) roll() {
	o.t.Helper()
	_, err := o.db.Roll(context.Background())
	o.must(err)
	o.rolls++
	o.must(o.deliver(fmt.Sprint("last", o.rolls), []byte("last")))
	o.must(o.db.SettleAll(context.Background()))
}

// rows are the places by table and key, and the segments of table g.
func (o *office) rows() (map[string]blob.LSN, map[uint32]bool) {
	o.t.Helper()
	places, segments := map[string]blob.LSN{}, map[uint32]bool{}
	o.must(o.db.View(context.Background(), func(tx *Tx) error {
		for _, t := range officeTables {
			for k, v := range tx.Scan(t, nil, nil) {
				places[string(t)+"/"+string(k)] = blob.LSN(binary.BigEndian.Uint64(v))
			}
		}
		for k := range tx.Scan(tableSegments, nil, nil) {
			segments[binary.BigEndian.Uint32(k)] = true
		}
		return nil
	}))
	return places, segments
}

// check reads every body, compares it octet for octet, and looks at table g: what a row names stands in it.
func (o *office) check() int {
	o.t.Helper()
	o.must(o.db.SettleAll(context.Background()))
	places, segments := o.rows()
	for name, at := range places {
		if !segments[at.Segment()] {
			o.t.Errorf("%s names segment %08x, which is not in table g", name, at.Segment())
		}
		head, text := readAll(o.t, o.db, at)
		if string(head) != "head" || !bytes.Equal(text, o.want[name[2:]]) {
			o.t.Errorf("%s: its body at %s is another one", name, at)
		}
	}
	for n := range segments {
		if _, err := o.db.log.FileSize(n); err != nil {
			o.t.Errorf("table g: %v", err)
		}
	}
	return len(places)
}

func (o *office) used() (octets int64) {
	o.t.Helper()
	numbers, err := o.db.log.Segments()
	o.must(err)
	for _, n := range numbers {
		size, err := o.db.log.FileSize(n)
		o.must(err)
		octets += size
	}
	return octets
}

func noise(r *rand.Rand, n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(r.Uint32())
	}
	return p
}

// TestCompact: half of the mail goes, its disk space comes back, the other half is as it was, now and after a restart.
func TestCompact(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	dir := t.TempDir()
	o := newOffice(t, Options{Dir: dir, CompactShare: 1})
	live := int64(0)
	for cycle := range 4 {
		var gone []string
		for key := range o.want {
			if r.IntN(2) == 0 {
				gone = append(gone, key)
			}
		}
		for _, k := range gone {
			live -= int64(len(o.want[k]))
			delete(o.want, k)
		}
		o.must(o.remove(gone...))
		for i := len(o.want); i < 300; i++ {
			n := 100 + r.IntN(4000)
			if i%50 == 0 {
				n = 100_000 // a segment of its own
			}
			live += int64(n)
			o.must(o.deliver(fmt.Sprintf("%d/%d", cycle, i), noise(r, n)))
		}
		o.roll()
		out, err := o.db.Compact(t.Context(), false)
		o.must(err)
		if cycle > 0 && (out.Removed == 0 || out.Moved == 0 || out.Freed < out.Copied) {
			t.Errorf("cycle %d: %+v", cycle, out)
		}
		if used := o.used(); float64(used) > 1.25*float64(live) {
			t.Errorf("cycle %d: %d octets used for %d", cycle, used, live)
		}
		if n := o.check(); n != len(o.want) {
			t.Errorf("cycle %d: %d rows, want %d", cycle, n, len(o.want))
		}
	}
	for range 2 {
		_, before := o.rows()
		o.must(o.db.Close())
		db, err := startOffice(Options{Dir: dir, Plain: true, DayEvery: -1, SegmentSize: 32 << 10})
		o.must(err)
		o.db = db
		if n := o.check(); n != len(o.want) {
			t.Errorf("after a restart: %d rows, want %d", n, len(o.want))
		}
		if _, after := o.rows(); len(after) != len(before) {
			t.Errorf("a start changed table g: %d segments, then %d", len(before), len(after))
		}
	}
	for k := range o.want {
		o.must(o.remove(k))
	}
	o.must(o.deliver("z", nil))
	o.must(o.db.SettleAll(t.Context()))
	if _, err := o.db.Compact(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if _, segments := o.rows(); len(segments) > 1 {
		t.Errorf("%d segments are left of nothing", len(segments))
	}
	o.must(o.db.Close())
}

// TestReadersAcrossCompaction: who has a body open reads on, who has a place only gets fs.ErrNotExist.
func TestReadersAcrossCompaction(t *testing.T) {
	o, _ := inMemory(t)
	defer o.db.Close()
	r := rand.New(rand.NewPCG(2, 2))
	for i := range 40 {
		o.must(o.deliver(fmt.Sprint(i), noise(r, 1000)))
	}
	o.roll()
	places, _ := o.rows()
	rd, err := o.db.OpenBody(places["m/7"])
	o.must(err)
	defer rd.Close()
	for i := range 40 {
		if i != 8 {
			o.must(o.remove(fmt.Sprint(i)))
		}
	}
	out, err := o.db.Compact(t.Context(), false)
	if err != nil || out.Removed == 0 {
		t.Fatalf("%+v, %v", out, err)
	}
	got := make([]byte, rd.Size())
	if _, err := rd.ReadAt(got, 0); err != nil || !bytes.Equal(got, o.want["7"]) {
		t.Errorf("an open body: %v", err)
	}
	if _, err := o.db.OpenBody(places["m/8"]); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the old place of a moved body: %v", err)
	}
	if n := o.check(); n != 2 { // 8 and the last one
		t.Errorf("%d rows", n)
	}
}

// TestHold: while somebody holds the segments nothing moves, and afterwards it does.
func TestHold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := inMemory(t)
		defer o.db.Close()
		for i := range 100 {
			o.must(o.deliver(fmt.Sprint(i), make([]byte, 1000)))
		}
		o.roll()
		for i := range 80 {
			o.must(o.remove(fmt.Sprint(i)))
		}
		places, segments := o.rows()
		first, second := o.db.Hold(), o.db.Hold()
		done := make(chan Compacted, 1)
		go func() {
			out, err := o.db.Compact(t.Context(), false)
			if err != nil {
				t.Error(err)
			}
			done <- out
		}()
		for _, release := range []func(){first, first, second} {
			synctest.Wait()
			if p, s := o.rows(); len(done) != 0 || len(p) != len(places) || len(s) != len(segments) {
				t.Fatal("something was moved")
			}
			release()
		}
		if out := <-done; out.Removed == 0 {
			t.Errorf("after the last release: %+v", out)
		}
		o.check()
	})
}

// TestCompactionEndsWithClose: a round that waits ends at once, and so does one that is asked for afterwards.
func TestCompactionEndsWithClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := inMemory(t)
		o.db.Hold() // for ever
		done := make(chan error, 2)
		go func() {
			_, err := o.db.Compact(t.Context(), false)
			done <- err
		}()
		go func() { done <- o.db.RunCompaction(t.Context()) }()
		time.Sleep(time.Hour) // the background begins
		synctest.Wait()
		o.must(o.db.Close())
		a, b := <-done, <-done
		if err := errors.Join(a, b); !errors.Is(err, ErrClosed) || a != nil && b != nil {
			t.Errorf("%v, %v", a, b)
		}
		if _, err := o.db.Compact(t.Context(), false); !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	})
}

// TestBackground: the background finds dead mail by itself, also when it is woken, and does not look when nothing has changed.
func TestBackground(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o, _ := inMemory(t)
		defer o.db.Close()
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- o.db.RunCompaction(ctx) }()
		fill := func() {
			for i := range 100 {
				o.must(o.deliver(fmt.Sprint(i), make([]byte, 1000)))
			}
			o.must(o.db.SettleAll(ctx))
			for i := range 100 {
				o.must(o.remove(fmt.Sprint(i)))
			}
		}
		segments := func() int { _, s := o.rows(); return len(s) }
		fill()
		before := segments()
		time.Sleep(2 * time.Minute)
		if n := segments(); n >= before {
			t.Errorf("%d segments, before the first round %d", n, before)
		}
		fill()
		before = segments()
		o.db.WakeCompaction()
		time.Sleep(time.Minute)
		if n := segments(); n >= before {
			t.Errorf("%d segments, before it was woken %d", n, before)
		}
		fill()
		before = segments()
		time.Sleep(16 * time.Minute)
		if n := segments(); n >= before {
			t.Errorf("%d segments, a quarter of an hour before %d", n, before)
		}
		stop()
		o.must(<-done)
	})
}

// TestKeptBodiesStay: a body that is in the log and that no row names yet is not removed before its Update has run.
func TestKeptBodiesStay(t *testing.T) {
	o, _ := inMemory(t)
	defer o.db.Close()
	for _, size := range []int{500, 100_000} {
		text := bytes.Repeat([]byte("k"), size)
		b, err := o.body(text)
		o.must(err)
		inside, sure := make(chan struct{}), make(chan error, 1)
		go func() {
			first := true
			sure <- o.db.KeepUpdate(context.Background(), 1, []*blob.Body{b}, func(tx *Tx, e []Entry) error {
				if first { // between its record and its row
					first = false
					close(inside)
				}
				tx.Put("m", []byte("kept"), officeRow(e[0]))
				return nil
			})
		}()
		<-inside
		o.must(<-sure)
		o.want["kept"] = text

		b, err = o.body(text)
		o.must(err)
		var held []uint32
		e, err := o.db.keep(context.Background(), nil, []*blob.Body{b}, &held)
		o.must(err)
		o.roll()
		for range 2 {
			if _, err := o.db.Compact(t.Context(), true); err != nil {
				t.Fatal(err)
			}
		}
		o.must(o.db.Update(context.Background(), func(tx *Tx) error { tx.Put("n", []byte("kept"), officeRow(e[0])); return nil }))
		o.db.compactor.pins.drop(held...)
		_, err = o.db.Compact(t.Context(), true)
		o.must(err)
		if n := o.check(); n != len(o.want)+1 { // m/kept and n/kept
			t.Errorf("%d octets: %d rows", size, n)
		}
		o.must(o.remove("kept"))
		delete(o.want, "kept")
		_, err = o.db.Compact(t.Context(), true)
		o.must(err)
		if _, segments := o.rows(); segments[e[0].Body.Segment()] {
			t.Errorf("%d octets: the segment stays when nothing needs it", size)
		}
	}
	if n := len(o.db.compactor.pins.n); n != 0 {
		t.Errorf("%d pins are left", n)
	}
}

// lines counts the log lines with a text.
type lines struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lines) count(text string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.b.String(), text)
}

// TestDamagedBodyStays: a segment with a body that cannot be read is not touched, told once, and does not keep others from going.
func TestDamagedBodyStays(t *testing.T) {
	dir, log := t.TempDir(), &lines{}
	o := newOffice(t, Options{Dir: dir, CompactShare: 1, Logger: slog.New(slog.NewTextHandler(log, nil))})
	defer o.db.Close()
	r := rand.New(rand.NewPCG(3, 3))
	for i := range 100 {
		o.must(o.deliver(fmt.Sprintf("%02d", i), noise(r, 1000)))
	}
	o.roll()
	places, _ := o.rows()
	bad := places["m/00"]
	path := filepath.Join(dir, "seg", fmt.Sprintf("%08x.seg", bad.Segment()))
	f, err := os.OpenFile(path, os.O_RDWR, 0)
	o.must(err)
	_, err = f.WriteAt([]byte{0xff, 0, 0xff}, bad.Offset()+500)
	o.must(err)
	o.must(f.Close())
	var gone []string
	for i := range 100 {
		if i%10 != 0 {
			gone = append(gone, fmt.Sprintf("%02d", i))
		}
	}
	o.must(o.remove(gone...))
	for round := range 3 {
		out, err := o.db.Compact(t.Context(), false)
		if err != nil || out.Damaged != 1 || round == 0 && (out.Removed == 0 || out.Moved == 0) {
			t.Errorf("round %d: %+v, %v", round, out, err)
		}
	}
	if n := log.count("segment cannot be compacted"); n != 1 {
		t.Errorf("told %d times", n)
	}
	after, _ := o.rows()
	for name, at := range after {
		if at.Segment() == bad.Segment() && at != places[name] {
			t.Errorf("%s was moved within the damaged segment", name)
		}
		if at == bad {
			continue
		}
		if _, text := readAll(t, o.db, at); !bytes.Equal(text, o.want[name[2:]]) {
			t.Errorf("%s: its body at %s is another one", name, at)
		}
	}
	if after["m/00"] != bad {
		t.Error("the damaged body was given up")
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	o.must(o.remove("00")) // the operator gives it up
	out, err := o.db.Compact(t.Context(), false)
	if err != nil || out.Damaged != 0 {
		t.Errorf("afterwards: %+v, %v", out, err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("afterwards: %v", err)
	}
}

// TestUnreadableRowStopsCompaction: what cannot be read may name anything.
func TestUnreadableRowStopsCompaction(t *testing.T) {
	o, _ := inMemory(t)
	defer o.db.Close()
	o.must(o.deliver("a", []byte("a")))
	o.roll()
	o.must(o.remove("a"))
	o.must(o.db.Update(t.Context(), func(tx *Tx) error { tx.Put("n", []byte("x"), []byte("short")); return nil }))
	out, err := o.db.Compact(t.Context(), true)
	if !errors.Is(err, ErrDamaged) || out.Removed != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

// TestSetAsideStays: mail that was acknowledged and could not be applied is on the disk as long as its row in table z.
func TestSetAsideStays(t *testing.T) {
	o, _ := inMemory(t)
	defer o.db.Close()
	for _, size := range []int{10, 100_000} {
		o.must(o.deliver("bad", make([]byte, size)))
	}
	o.roll()
	for range 2 {
		_, err := o.db.Compact(t.Context(), true)
		o.must(err)
	}
	var aside []blob.LSN
	o.must(o.db.View(t.Context(), func(tx *Tx) error {
		for k := range tx.Scan(tableAside, nil, nil) {
			aside = append(aside, blob.LSN(binary.BigEndian.Uint64(k)))
		}
		return nil
	}))
	if len(aside) != 2 {
		t.Fatalf("%d records were set aside", len(aside))
	}
	for i, at := range aside {
		body, err := o.db.log.BodyOf(at)
		o.must(err)
		if _, text := readAll(t, o.db, body); len(text) != []int{10, 100_000}[i] {
			t.Errorf("%d octets", len(text))
		}
	}
}

// TestCompactFullDisk: without room for the copies nothing happens; what is wholly dead goes, and with the room the rest.
func TestCompactFullDisk(t *testing.T) {
	o, fs := inMemory(t)
	defer o.db.Close()
	r := rand.New(rand.NewPCG(4, 4))
	for i := range 400 {
		o.must(o.deliver(fmt.Sprintf("%03d", i), noise(r, 1000)))
	}
	o.roll()
	var gone []string
	for i := range 400 {
		if i >= 200 || i%2 == 1 {
			gone = append(gone, fmt.Sprintf("%03d", i))
		}
	}
	o.must(o.remove(gone...))
	fs.SetCapacity(o.used() + 4<<20) // the reserve of the tables, and the space that they leave free
	out, err := o.db.Compact(t.Context(), false)
	if !errors.Is(err, ErrFull) || out.Removed == 0 || out.Moved != 0 {
		t.Errorf("%+v, %v", out, err)
	}
	o.check()
	fs.SetCapacity(0)
	out, err = o.db.Compact(t.Context(), false)
	o.must(err)
	if out.Moved == 0 {
		t.Errorf("with room: %+v", out)
	}
	if n := o.check(); n != 101 {
		t.Errorf("%d rows", n)
	}
}

// TestStrayLogSegments: a log segment in which nothing that counts has ever stood goes.
func TestStrayLogSegments(t *testing.T) {
	o, fs := inMemory(t)
	defer o.db.Close()
	o.must(o.deliver("a", []byte("a")))
	o.must(o.deliver("b", []byte("b")))
	fail := errors.New("no sync")
	var bad string
	fs.SetFail(func(op vfstest.Op) error {
		if op.Kind == "sync" && strings.HasSuffix(op.Name, ".seg") && bad == "" {
			bad = op.Name
			return fail
		}
		return nil
	})
	if _, err := o.db.Roll(t.Context()); err != nil {
		t.Fatal(err)
	}
	_ = o.deliver("never", []byte("never"))
	delete(o.want, "never")
	fs.SetFail(nil)
	o.roll()
	if bad == "" {
		t.Fatal("no sync has failed")
	}
	o.must(o.remove("a", "b"))
	_, err := o.db.Compact(t.Context(), true)
	o.must(err)
	if _, err := fs.Stat(bad); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", bad, err)
	}
	o.check()
}

// TestCompactionUnderLoad: deliveries, copies, moves, deletions and rounds of compaction at the same time.
func TestCompactionUnderLoad(t *testing.T) {
	o := newOffice(t, Options{Dir: t.TempDir(), CompactShare: 1, noSync: true})
	stop := make(chan struct{})
	var work, rounds sync.WaitGroup
	for g := range 3 {
		work.Go(func() {
			r := rand.New(rand.NewPCG(uint64(g), 5))
			for i := range 300 {
				o.step(r, fmt.Sprintf("%d/%03d", g, i), fmt.Sprintf("%d/%03d", g, r.IntN(i+1)))
			}
		})
	}
	moved := 0
	rounds.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
			}
			out, err := o.db.Compact(context.Background(), true)
			if err != nil {
				t.Error(err)
				return
			}
			moved += out.Moved
		}
	})
	work.Wait()
	close(stop)
	rounds.Wait()
	if moved == 0 {
		t.Error("no body was moved")
	}
	n := o.check()
	if _, err := o.db.Compact(t.Context(), true); err != nil {
		t.Fatal(err)
	}
	if m := o.check(); m != n {
		t.Errorf("%d rows, then %d", n, m)
	}
	o.must(o.db.Close())
}

// step does one thing with key, a new one, or with old, one that may be there.
func (o *office) step(r *rand.Rand, key, old string) {
	ctx := context.Background()
	o.mu.Lock()
	text := noise(r, 100+r.IntN(3000))
	if r.IntN(20) == 0 {
		text = noise(r, 70_000)
	}
	o.want[key] = text
	o.mu.Unlock()
	switch r.IntN(8) {
	case 0, 1, 2:
		_ = o.deliver(key, text)
	case 3:
		if b, err := o.body(text); err == nil {
			_ = o.db.KeepUpdate(ctx, 1, []*blob.Body{b}, func(tx *Tx, e []Entry) error { tx.Put("n", []byte(key), officeRow(e[0])); return nil })
		}
	case 4, 5:
		_ = o.remove(old)
	case 6, 7: // copy to the other table, or move
		from, to := officeTables[0], officeTables[1]
		if r.IntN(2) == 0 {
			from, to = to, from
		}
		move := r.IntN(2) == 0
		_ = o.db.Update(ctx, func(tx *Tx) error {
			v := slices.Clone(tx.Get(from, []byte(old)))
			if v == nil {
				return nil
			}
			tx.Put(to, []byte(old), v)
			if move {
				tx.Delete(from, []byte(old))
			}
			return nil
		})
	}
}

// A caller who gives up while another round has its turn touches nothing of it: the watch that makes removal safe stays on.
func TestGivenUpTurn(t *testing.T) {
	o := newOffice(t, Options{Dir: t.TempDir(), SegmentSize: 8 << 10})
	c := o.db.compactor
	c.turn <- struct{}{} // a round that is under way
	if err := c.watch.switchOn(t.Context(), o.db); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := o.db.Compact(ctx, true); !errors.Is(err, context.Canceled) {
		t.Errorf("Compact: %v", err)
	}
	on := false
	if err := o.db.Update(t.Context(), func(*Tx) error { on = c.watch.on; return nil }); err != nil || !on {
		t.Errorf("the watch is off while a round needs it (%v)", err)
	}
	<-c.turn
}
