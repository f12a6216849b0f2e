package store_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// expungeOne delivers a message and expunges it.
func expungeOne(t *testing.T, s *store.Store, id mail.AccountID) {
	t.Helper()
	storetest.Message(t, s, id, "Sent", text(fmt.Sprint("one of ", id)))
	if _, _, err := s.Expunge(t.Context(), boxID(t, s, id, "Sent"), everything(), false); err != nil {
		t.Fatal(err)
	}
}

// A clock that is wrong when the house starts, or that is put right then, does not make kept mail old.
func TestWrongClockKeepsDeletedMail(t *testing.T) {
	for name, c := range map[string]struct {
		expunge time.Time // what the clock says when the message is expunged
		start   time.Time // and when the house is started after it
	}{
		"ten years ahead at a start": {time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), time.Date(2036, 5, 1, 0, 0, 0, 0, time.UTC)},
		"1970 while it was expunged": {time.Unix(5, 0), time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)},
		"before 1970":                {time.Unix(-1e9, 0), time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)},
		"1970 at a start":            {time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), time.Unix(0, 0)},
		"after 2106":                 {time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC), time.Date(2200, 5, 1, 0, 0, 0, 0, time.UTC)},
	} {
		t.Run(name, func(t *testing.T) {
			h, now := keeping(t)
			now.at.Store(c.expunge.UnixNano())
			expungeOne(t, h.Store, 1)
			wantErr(t, "prune", h.Store.Prune(t.Context()), nil)
			for i := range 5 { // falls down again and again, with the same clock
				now.at.Store(c.start.UnixNano())
				h.Reopen()
				wantErr(t, "prune", h.Store.Prune(t.Context()), nil)
				now.advance(time.Hour)
				wantErr(t, "prune", h.Store.Prune(t.Context()), nil)
				if gone := goneOf(t, h.Store, 1); len(gone) != 1 {
					t.Fatalf("after start %d %d are kept; want the one", i, len(gone))
				}
			}
			now.advance(keepTime)
			wantErr(t, "prune", h.Store.Prune(t.Context()), nil)
			if gone := goneOf(t, h.Store, 1); len(gone) != 0 {
				t.Errorf("after %v of running %d are kept", keepTime, len(gone))
			}
		})
	}
}

// A house that is switched off every night counts the nights.
func TestDeletedMailAgesOverRestarts(t *testing.T) {
	h, now := keeping(t)
	expungeOne(t, h.Store, 1)
	for i := range 33 {
		if n := len(goneOf(t, h.Store, 1)); i < 30 && n != 1 || i > 31 && n != 0 {
			t.Fatalf("on day %d %d are kept", i, n)
		}
		now.advance(14 * time.Hour)
		wantErr(t, "prune", h.Store.Prune(t.Context()), nil)
		now.advance(10 * time.Hour)
		h.Reopen()
		wantErr(t, "prune", h.Store.Prune(t.Context()), nil)
	}
}
