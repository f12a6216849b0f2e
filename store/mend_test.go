package store_test

import (
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// A common quota whose row was lost limits nobody and hinders nobody: mail that has its 250 is filed.
func TestLostPool(t *testing.T) {
	h := sharing(t)
	s := h.Store
	update(t, h, "lose the row", func(tx *kv.Tx) error {
		tx.Delete("o", []byte(alpha))
		return nil
	})
	storetest.Deliver(t, s, 1, "INBOX", aText)
	if rows := storetest.Rows(t, s, 1, "INBOX"); len(rows) != 2 {
		t.Errorf("%d messages, want both", len(rows))
	}
	r, err := s.Reserve(t.Context(), 2, 10)
	wantErr(t, "reserve", err, nil)
	r.Release()
	for id := range mail.AccountID(2) {
		_, err = s.Recount(t.Context(), id+1)
		wantErr(t, "recount", err, nil)
	}
	update(t, h, "set it again", func(tx *kv.Tx) error {
		return s.SetPool(tx, alpha, store.Quota{Messages: 5}, []mail.AccountID{1, 2})
	})
	poolMessages(t, s, 2)
}

// Whatever a repair could not bring back, what is left fits together afterwards, and every message is in a mailbox.
func TestMendWhatIsLost(t *testing.T) {
	for name, lose := range map[string]func(tx *kv.Tx){
		"a common quota": func(tx *kv.Tx) { tx.Delete("o", []byte(alpha)) },
		"the members of a common quota": func(tx *kv.Tx) {
			tx.Put("o", []byte("other.test"), tx.Get("o", []byte(alpha)))
		},
		"where deleted mail was": func(tx *kv.Tx) {
			var keys [][]byte
			for k := range tx.Scan("x", nil, nil) {
				keys = append(keys, append([]byte(nil), k...))
			}
			tx.Put("x", keys[0], []byte{99})
		},
		"counters and INBOX": func(tx *kv.Tx) {
			tx.Put("s", []byte("mailbox"), []byte{0, 0, 0, 0, 0, 0, 0, 2}) // the next id is that of Sent
			tx.Delete("n", append([]byte{0, 0, 0, 1}, "INBOX"...))
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := sharing(t)
			s := h.Store
			expungeOne(t, s, 1)
			sent := boxID(t, s, 1, "Sent")
			storetest.Message(t, s, 1, "Sent", text("stays"))
			update(t, h, "lose", func(tx *kv.Tx) error { lose(tx); return nil })
			mended, err := s.Mend(t.Context(), nil)
			if err != nil {
				t.Fatalf("mend: %v", err)
			}
			if len(mended.Changes) == 0 {
				t.Error("nothing is said")
			}
			if rows := storetest.Rows(t, s, 1, "Sent"); len(rows) != 1 || boxID(t, s, 1, "Sent") != sent {
				t.Errorf("Sent has %d messages", len(rows))
			}
			storetest.Deliver(t, s, 1, "INBOX", aText)
			storetest.Rows(t, s, 1, "INBOX")
			update(t, h, "make room", func(tx *kv.Tx) error {
				return s.SetPool(tx, alpha, store.Quota{Messages: 100}, []mail.AccountID{1, 2})
			})
			expungeOne(t, s, 1)
		})
	}
}

// An account whose bin was lost goes on to expunge, into a new one.
func TestLostBin(t *testing.T) {
	h, _ := keeping(t)
	s := h.Store
	expungeOne(t, s, 1)
	bin, err := s.Bin(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	update(t, h, "lose the row", func(tx *kv.Tx) error {
		tx.Delete("m", append([]byte{0, 0, 0, byte(bin.ID)}, 0xff, 0xff, 0xff, 0xff))
		return nil
	})
	expungeOne(t, s, 1)
	if gone := goneOf(t, s, 1); len(gone) != 2 || gone[1].UID != 2 {
		t.Errorf("kept %+v", gone)
	}
}
