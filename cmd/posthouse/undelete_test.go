package main

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// seedDeleted makes a folder whose account alice@one.test (1) had mail, of which some was expunged and some was in a mailbox that
// was deleted. Pages that begin with "# deleted" get it.
func seedDeleted(t *testing.T, dir string) {
	t.Helper()
	for _, line := range []string{"posthouse domain add one.test", "posthouse account add alice@one.test --password-stdin"} {
		if out := typed(t, filepath.Dir(dir), line, "secret\n", false); strings.Contains(out, "= ") {
			t.Fatal(out)
		}
	}
	h := storetest.Start(t, storetest.Options{KV: kv.Options{Dir: dir}})
	defer h.Close()
	ctx := t.Context()
	made, err := h.Store.CreateMailbox(ctx, 1, "Projects/Bridge", 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		deleted(t, h.Store, "INBOX", fmt.Sprintf("From: Bob <bob@far.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= %d\r\n\r\nx\r\n", i+1))
	}
	deleted(t, h.Store, "Sent", "From: alice@one.test\r\nSubject: the plan\r\n\r\nx\r\n")
	storetest.Message(t, h.Store, 1, "Projects/Bridge", "From: carol@far.test\r\nSubject: drawings\r\n\r\nx\r\n")
	if err := h.Store.DeleteMailbox(ctx, 1, made.Name); err != nil {
		t.Fatal(err)
	}
}

// deleted is a message that came and went.
func deleted(t *testing.T, s *store.Store, mailbox, raw string) {
	t.Helper()
	m := storetest.Message(t, s, 1, mailbox, raw)
	box, err := s.Mailbox(t.Context(), mail.AccountID(1), mailbox)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.ExpungeAtOnce(t.Context(), box.ID, []store.UIDRange{{First: m.UID, Last: m.UID}}); err != nil {
		t.Fatal(err)
	}
}

func TestPastMoment(t *testing.T) {
	now := time.Date(2026, 5, 10, 12, 0, 0, 0, time.Local)
	for _, c := range []struct {
		in   string
		want time.Time
	}{
		{"2h", now.Add(-2 * time.Hour)},
		{"3d", now.Add(-72 * time.Hour)},
		{"2026-05-01", time.Date(2026, 5, 1, 0, 0, 0, 0, time.Local)},
		{"2026-05-01 14:30", time.Date(2026, 5, 1, 14, 30, 0, 0, time.Local)},
		{"2026-05-01T14:30:00Z", time.Date(2026, 5, 1, 14, 30, 0, 0, time.UTC)},
		{"yesterday", time.Time{}},
		{"-2h", time.Time{}},
		{"", time.Time{}},
	} {
		got, err := pastMoment(c.in, now)
		if !got.Equal(c.want) || (err == nil) == c.want.IsZero() {
			t.Errorf("%q: %v, %v; want %v", c.in, got, err, c.want)
		}
	}
}

func TestShort(t *testing.T) {
	if got := short("a\r\nb\x1b[2J"+strings.Repeat("ü", 50), 12); got != "a  b [2Jüüü…" {
		t.Errorf("%q", got)
	}
	if got := short("", 3); got != "" {
		t.Errorf("%q", got)
	}
}
