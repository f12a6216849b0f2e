package store_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

func TestMetrics(t *testing.T) {
	set := metrics.New()
	h := storetest.Start(t, storetest.Options{Metrics: set})
	storetest.Account(t, h.Store, h.DB, 1)
	storetest.Account(t, h.Store, h.DB, 2)
	storetest.Deliver(t, h.Store, 1, "INBOX", aText)
	storetest.Message(t, h.Store, 2, "Sent", aText)
	if _, err := h.Store.State(t.Context(), boxID(t, h.Store, 1, "INBOX")); err != nil {
		t.Fatal(err)
	}
	families, err := set.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]float64{
		"posthouse_store_accounts": 2, "posthouse_store_mailboxes": 12, "posthouse_store_messages": 2,
		"posthouse_store_messages_bytes": float64(2 * len(aText)), "posthouse_store_deliveries_total": 1,
	}
	for _, f := range families {
		v, ok := want[f.GetName()]
		if m := f.GetMetric()[0]; ok && m.GetGauge().GetValue()+m.GetCounter().GetValue() != v {
			t.Errorf("%s = %v; want %v", f.GetName(), m, v)
		}
		delete(want, f.GetName())
	}
	if len(want) > 0 {
		t.Errorf("missing: %v", want)
	}
}

// Without anybody who bounces, mail of a removed account is at least told of.
func TestOrphanIsLogged(t *testing.T) {
	var mu sync.Mutex
	var text bytes.Buffer
	log := slog.New(slog.NewTextHandler(writer(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return text.Write(p)
	}), nil))
	h := storetest.Start(t, storetest.Options{Logger: log})
	_, err := h.DB.Log(t.Context(), kv.Record{Parts: []kv.Part{store.PartFor(5, 0, "INBOX")}})
	wantErr(t, "log", err, nil)
	wantErr(t, "settle", h.DB.SettleAll(t.Context()), nil)
	mu.Lock()
	defer mu.Unlock()
	if want := fmt.Sprintf("%q account=5", logx.StoreOrphan); !bytes.Contains(text.Bytes(), []byte(want)) {
		t.Errorf("log %q; want %s", text.String(), want)
	}
}

type writer func([]byte) (int, error)

func (w writer) Write(p []byte) (int, error) { return w(p) }

// Deliveries remember which mailbox a name stands for: every change of names must be seen by the next one.
func TestNamesAreForgotten(t *testing.T) {
	h := house(t)
	s := h.Store
	storetest.Deliver(t, s, 1, "Lists", aText) // is not there: INBOX
	wantCount(t, s, "INBOX", 1)
	if _, err := s.CreateMailbox(t.Context(), 1, "Lists", 0); err != nil {
		t.Fatal(err)
	}
	storetest.Deliver(t, s, 1, "Lists", aText)
	wantCount(t, s, "Lists", 1)
	wantErr(t, "rename", s.RenameMailbox(t.Context(), 1, "Lists", "Old"), nil)
	storetest.Deliver(t, s, 1, "Lists", aText)
	wantCount(t, s, "INBOX", 2)
	if _, err := s.CreateMailbox(t.Context(), 1, "Lists", 0); err != nil {
		t.Fatal(err)
	}
	storetest.Deliver(t, s, 1, "Lists", aText)
	wantCount(t, s, "Lists", 1)
	wantCount(t, s, "Old", 1)
	wantErr(t, "delete", s.DeleteMailbox(t.Context(), 1, "Lists"), nil)
	storetest.Deliver(t, s, 1, "Lists", aText)
	wantCount(t, s, "INBOX", 3)
}

func wantCount(t *testing.T, s *store.Store, name string, n int) {
	t.Helper()
	if got := len(storetest.Rows(t, s, 1, name)); got != n {
		t.Errorf("%q has %d messages; want %d", name, got, n)
	}
}
