package queue

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// house is a queue over a real database. It can be closed and opened again.
type house struct {
	t     testing.TB
	dir   string
	o     Options
	kv    kv.Options // Dir is set by newHouse
	db    *kv.DB
	store *store.Store
	q     *Queue
	stop  func()
}

func newHouse(t testing.TB, o Options) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir(), o: o}
	h.open()
	t.Cleanup(h.close)
	return h
}

// newFragileHouse stands on files that the test can make fail.
func newFragileHouse(t testing.TB, o Options) (*house, *vfstest.FS) {
	t.Helper()
	fs := vfstest.New()
	h := &house{t: t, dir: "data", o: o, kv: kv.Options{FS: fs, Memory: true}}
	h.open()
	t.Cleanup(h.close)
	return h, fs
}

func (h *house) open() {
	h.t.Helper()
	must := func(err error) {
		h.t.Helper()
		if err != nil {
			h.t.Fatal(err)
		}
	}
	var err error
	h.kv.Dir = h.dir
	h.db, err = kv.Open(h.t.Context(), h.kv)
	must(err)
	h.store, err = store.New(h.db, store.Options{})
	must(err)
	h.q, err = New(h.db, h.store, h.o)
	must(err)
	must(h.db.Start(h.t.Context()))
}

// run starts the queue; close ends it.
func (h *house) run(transports ...Transport) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.q.Run(ctx, transports...) }()
	h.stop = func() {
		cancel()
		if err := <-done; err != nil {
			h.t.Error(err)
		}
	}
}

func (h *house) close() {
	if h.stop != nil {
		h.stop()
		h.stop = nil
	}
	if h.db == nil {
		return
	}
	h.checkTables()
	if err := h.db.Close(); err != nil {
		h.t.Error(err)
	}
	h.db = nil
}

// compact ends the log segment and compacts everything.
func (h *house) compact() error {
	ctx := context.Background()
	if _, err := h.db.Roll(ctx); err != nil {
		return err
	}
	if _, err := h.db.Log(ctx, kv.Record{}); err != nil {
		return err
	}
	if err := h.db.SettleAll(ctx); err != nil {
		return err
	}
	_, err := h.db.Compact(ctx, true)
	return err
}

// crash leaves the house as kill -9 would at this moment: what was acknowledged is in the log, perhaps not yet in the tables.
func (h *house) crash() {
	synctest.Wait()
	dir := h.t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(h.dir)); err != nil {
		h.t.Fatal(err)
	}
	h.close()
	h.dir = dir
}

// checkTables holds q against Q: each entry stands in both, once.
func (h *house) checkTables() {
	err := h.db.View(context.Background(), func(tx *kv.Tx) error {
		n := 0
		for key := range tx.Scan(rows, nil, nil) {
			n++
			if _, due, err := load(tx, be(key[8:])); err != nil || due != int64(be(key[:8])) {
				h.t.Errorf("row %x: due %d, %v", key, due, err)
			}
		}
		for range tx.Scan(dues, numberKey(1), nil) {
			n--
		}
		if n != 0 {
			h.t.Errorf("%d more rows than due times", n)
		}
		return nil
	})
	if err != nil {
		h.t.Error(err)
	}
}

func be(b []byte) (n uint64) {
	for _, c := range b {
		n = n<<8 | uint64(c)
	}
	return n
}

// send puts a message into the queue and returns its id.
func (h *house) send(e mail.Envelope, content string) string {
	h.t.Helper()
	id := h.q.NewID()
	ctx := context.Background()
	w, err := h.store.NewMessage(ctx, 0)
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := w.Write([]byte(content)); err != nil {
		h.t.Fatal(err)
	}
	a, err := w.Finish()
	if err != nil {
		h.t.Fatal(err)
	}
	if _, err := h.store.Deliver(ctx, a, nil, h.q.Part(id, e)); err != nil {
		h.t.Fatal(err)
	}
	return id
}

func (h *house) list() []Item {
	h.t.Helper()
	items, err := h.q.List(context.Background(), Filter{})
	if err != nil {
		h.t.Fatal(err)
	}
	return items
}

// envelope makes one of addresses; a recipient may carry NOTIFY behind a blank: "a@b.test SUCCESS,FAILURE".
func envelope(t testing.TB, from string, to ...string) mail.Envelope {
	t.Helper()
	var e mail.Envelope
	if from != "" {
		e.From = address(t, from)
	}
	for _, s := range to {
		a, notify, _ := strings.Cut(s, " ")
		r := mail.Recipient{Address: address(t, a)}
		for _, n := range strings.Split(notify, ",") {
			r.Notify |= map[string]mail.Notify{"NEVER": mail.NotifyNever, "SUCCESS": mail.NotifySuccess, "FAILURE": mail.NotifyFailure, "DELAY": mail.NotifyDelay}[n]
		}
		e.Recipients = append(e.Recipients, r)
	}
	return e
}

// recorder is a slog handler that hands each event to fn.
type recorder struct {
	fn func(r slog.Record, attrs map[string]slog.Value)
}

func (recorder) Enabled(context.Context, slog.Level) bool { return true }
func (h recorder) WithAttrs([]slog.Attr) slog.Handler     { return h }
func (h recorder) WithGroup(string) slog.Handler          { return h }
func (h recorder) Handle(_ context.Context, r slog.Record) error {
	attrs := map[string]slog.Value{}
	r.Attrs(func(a slog.Attr) bool { attrs[a.Key] = a.Value; return true })
	h.fn(r, attrs)
	return nil
}
