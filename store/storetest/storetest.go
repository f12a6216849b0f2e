// Package storetest gives tests a real store in a temporary folder, checked whole when the test ends.
package storetest

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// New returns a started store; its cleanup runs the full consistency check and closes it.
// register is called between kv.Open and Start, for owners of other part kinds.
func New(t testing.TB, register ...func(db *kv.DB, s *store.Store)) (*store.Store, *kv.DB) {
	t.Helper()
	h := Start(t, Options{Register: register})
	return h.Store, h.DB
}

// Options of a House; the zero value is a store in a fresh folder.
type Options struct {
	KV       kv.Options // Dir empty: a temporary folder
	Now      func() time.Time
	Keep     time.Duration // of expunged mail; 0: 30 days, less: none
	Warn     int           // percent of a quota
	Metrics  *metrics.Set
	Logger   *slog.Logger
	Register []func(db *kv.DB, s *store.Store)
}

// House is a running store that can be closed and opened again.
type House struct {
	Store *store.Store
	DB    *kv.DB

	t    testing.TB
	o    Options
	stop context.CancelFunc
	done sync.WaitGroup
}

// Start opens a store, and checks and closes it when the test ends.
func Start(t testing.TB, o Options) *House {
	t.Helper()
	if o.KV.Dir == "" {
		o.KV.Dir = t.TempDir()
	}
	if o.Keep == 0 {
		o.Keep = 30 * 24 * time.Hour
	}
	h := &House{t: t, o: o}
	h.open()
	t.Cleanup(func() {
		if h.DB == nil {
			return
		}
		h.Check()
		h.Close()
	})
	return h
}

// Reopen closes the store and opens it again.
func (h *House) Reopen() {
	h.t.Helper()
	h.Close()
	h.open()
}

// Kill leaves the store as kill -9 does and opens it again. It needs kv.Options with FS of vfstest and with Tables.
func (h *House) Kill() {
	h.t.Helper()
	disk := h.o.KV.FS.(*vfstest.FS).Kill()
	tables := h.o.KV.Tables.Copy()
	h.stop()
	h.done.Wait()
	_ = h.DB.Close() // it has no disk any more
	h.o.KV.FS, h.o.KV.Tables = disk, tables
	h.open()
}

func (h *House) open() {
	h.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	db, err := kv.Open(ctx, h.o.KV)
	if err != nil {
		h.t.Fatalf("open the tables: %v", err)
	}
	s, err := store.New(db, store.Options{Logger: h.o.Logger, Now: h.o.Now, Metrics: h.o.Metrics, Keep: max(h.o.Keep, 0), Warn: h.o.Warn})
	if err != nil {
		h.t.Fatalf("open the store: %v", err)
	}
	for _, register := range h.o.Register {
		register(db, s)
	}
	if err := db.Start(ctx); err != nil {
		h.t.Fatalf("start the tables: %v", err)
	}
	h.Store, h.DB, h.stop = s, db, stop
	h.done.Go(func() {
		if err := s.Run(ctx); err != nil {
			h.t.Errorf("run the store: %v", err)
		}
	})
}

// Close ends the store without a check.
func (h *House) Close() {
	h.t.Helper()
	h.stop()
	h.done.Wait()
	if err := h.DB.Close(); err != nil {
		h.t.Errorf("close the tables: %v", err)
	}
	h.Store, h.DB = nil, nil
}

// Compact ends the active log segment and compacts everything, so that every message that can move has moved. On a full disk it
// does what it can.
func (h *House) Compact() {
	h.t.Helper()
	ctx := context.Background()
	_, err := h.DB.Roll(ctx)
	if err == nil {
		_, err = h.DB.Log(ctx, kv.Record{}) // the first record of the next segment
	}
	if err == nil {
		err = h.DB.SettleAll(ctx)
	}
	if err == nil {
		_, err = h.DB.Compact(ctx, true)
	}
	if err != nil && !errors.Is(err, kv.ErrFull) {
		h.t.Errorf("compact: %v", err)
	}
}

// Check compacts and runs the full consistency check.
func (h *House) Check() {
	h.t.Helper()
	h.Compact()
	problems, err := h.Store.Check(context.Background(), true)
	if err != nil {
		h.t.Errorf("check the store: %v", err)
	}
	for _, p := range problems {
		h.t.Errorf("check the store: %s", p)
	}
}

// Account makes an account with its mailboxes; quota is optional.
func Account(t testing.TB, s *store.Store, db *kv.DB, id mail.AccountID, quota ...store.Quota) {
	t.Helper()
	q := store.Quota{}
	if len(quota) > 0 {
		q = quota[0]
	}
	err := db.Update(context.Background(), func(tx *kv.Tx) error { return s.CreateAccount(tx, id, q) })
	if err != nil {
		t.Fatalf("create account %d: %v", id, err)
	}
}

// Arrival takes raw in as a message that has arrived.
func Arrival(t testing.TB, s *store.Store, raw string) *store.Arrival {
	t.Helper()
	w, err := s.NewMessage(context.Background(), int64(len(raw)))
	if err != nil {
		t.Fatalf("new message: %v", err)
	}
	if _, err := io.WriteString(w, raw); err != nil {
		t.Fatalf("write message: %v", err)
	}
	a, err := w.Finish()
	if err != nil {
		t.Fatalf("finish message: %v", err)
	}
	return a
}

// Deliver delivers raw the way mail comes in: durable, and in the tables soon after.
func Deliver(t testing.TB, s *store.Store, to mail.AccountID, mailbox, raw string) {
	t.Helper()
	if _, err := s.Deliver(context.Background(), Arrival(t, s, raw), []store.Delivery{{Account: to, Mailbox: mailbox}}); err != nil {
		t.Fatalf("deliver to account %d: %v", to, err)
	}
}

// Message appends raw to a mailbox and returns its row.
func Message(t testing.TB, s *store.Store, to mail.AccountID, mailbox, raw string) store.Message {
	t.Helper()
	ctx := context.Background()
	box, err := s.Mailbox(ctx, to, mailbox)
	if err != nil {
		t.Fatalf("mailbox %q of account %d: %v", mailbox, to, err)
	}
	_, uids, err := s.Append(ctx, box.ID, []store.AppendMessage{{Arrival: Arrival(t, s, raw)}})
	if err != nil {
		t.Fatalf("append to %q of account %d: %v", mailbox, to, err)
	}
	for rows, err := range s.Messages(ctx, box.ID, []store.UIDRange{{First: uids[0], Last: uids[0]}}) {
		if err != nil {
			t.Fatalf("read %q of account %d: %v", mailbox, to, err)
		}
		return rows[0]
	}
	t.Fatalf("message %d of %q of account %d is not there", uids[0], mailbox, to)
	return store.Message{}
}

// Rows reads all messages of a mailbox, settled.
func Rows(t testing.TB, s *store.Store, of mail.AccountID, mailbox string) []store.Message {
	t.Helper()
	ctx := context.Background()
	box, err := s.Mailbox(ctx, of, mailbox)
	if err != nil {
		t.Fatalf("mailbox %q of account %d: %v", mailbox, of, err)
	}
	runs, err := s.UIDs(ctx, box.ID)
	if err != nil {
		t.Fatalf("uids of %q of account %d: %v", mailbox, of, err)
	}
	var out []store.Message
	for rows, err := range s.Messages(ctx, box.ID, runs) {
		if err != nil {
			t.Fatalf("read %q of account %d: %v", mailbox, of, err)
		}
		out = append(out, rows...)
	}
	return out
}

// Text reads a message's body.
func Text(t testing.TB, s *store.Store, m store.Message) string {
	t.Helper()
	b, err := s.Open(context.Background(), m)
	if err != nil {
		t.Fatalf("open uid %d: %v", m.UID, err)
	}
	defer b.Close()
	text, err := io.ReadAll(io.NewSectionReader(b, 0, b.Size()))
	if err != nil {
		t.Fatalf("read uid %d: %v", m.UID, err)
	}
	return string(text)
}
