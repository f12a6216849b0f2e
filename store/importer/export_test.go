package importer_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/importer"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// oddTexts are messages that a format with lines could lose something of.
var oddTexts = []string{
	"Subject: a\r\n\r\ntext\r\n", "", "\r\n", "\r\n\r\n", "x", "Subject: only a header\r\n", "Subject: no end", "Subject: a\r\n\r\nno end",
	"Subject: a\n\nbare\nlines\n", "Subject: a\r\n\r\nbare \r in it\r\n", "Subject: a\r\n\r\nFrom here\r\n>From there\r\n>>From far\r\n\r\nFrom x Thu Jan  2 03:04:05 2020\r\n",
	"From x@example.org Thu Jan  2 03:04:05 2020\r\nSubject: kept\r\n\r\n", " begins with white space\r\n\r\nx\r\n", "Status: RO\r\nX-UID: 7\r\n folded\r\nSubject: own fields\r\n\r\n",
	"X-Posthouse-Kept-Status: twice\r\nSubject: a\r\n\r\n", "Content-Length: 5\r\nX-IMAPbase: 1 2\r\n\r\n12345\r\n", "Subject: a\r\n\r\n\x00\x01\xff\r\n",
	"Subject: a\r\n\r\n\r\n\r\n\r\n", "Subject: a\n\r\nmixed\r\n", "\r", "\n", "a\r", "Subject: a\r\n\r\nends in CR\r", "no colon\r\nFrom y\r\n\r\nFrom z\r\n",
	"Subject: " + strings.Repeat("l", 70_000) + "\r\n\r\n" + strings.Repeat("m", 65_535) + "\r\n" + strings.Repeat("n", 65_536) + "\r\n",
	"Subject: big\r\n\r\n" + strings.Repeat("0123456789abcdef0123456789abcdef\r\n", 60_000), "X-UIDL: of the old server\r\n\r\n",
}

// fill gives an account every kind of message and mailbox.
func fill(t *testing.T, h *house) {
	t.Helper()
	ctx := t.Context()
	rnd := rand.New(rand.NewPCG(1, 2))
	names := []string{"INBOX", "A/B.c/D", "Grüße & Küsse", ".dot", "Work.mbox", "mbox", "Sent", "日本/x",
		strings.Repeat("l", 250) + "/" + strings.Repeat("m", 250), strings.Repeat("я", 120)}
	var keywords []string
	for i := range 40 {
		keywords = append(keywords, fmt.Sprintf("Key%d", i))
	}
	for _, name := range names {
		box, err := h.Store.Mailbox(ctx, account, name)
		if err != nil {
			if box, err = h.Store.CreateMailbox(ctx, account, name, 0); err != nil {
				t.Fatal(err)
			}
		}
		uid := store.UID(0)
		var msgs []store.ImportMessage
		for _, text := range oddTexts {
			uid += store.UID(1 + rnd.IntN(100))
			m := store.ImportMessage{UID: uid}
			m.Arrival = storetest.Arrival(t, h.Store, text)
			m.Flags = store.Flags(rnd.IntN(256))
			m.Received = time.Unix(int64(1+rnd.IntN(2_000_000_000)), 0)
			for range rnd.IntN(4) {
				m.Keywords = append(m.Keywords, keywords[rnd.IntN(len(keywords))])
			}
			if rnd.IntN(2) == 0 && name == "INBOX" {
				m.UIDL = fmt.Sprintf("old-%d", uid)
			}
			msgs = append(msgs, m)
		}
		if _, err := h.Store.Import(ctx, box.ID, msgs); err != nil {
			t.Fatal(err)
		}
		if err := h.Store.AdoptUIDs(ctx, box.ID, mustState(t, h, box.ID).UIDValidity, uid+1000); err != nil {
			t.Fatal(err)
		}
	}
}

func mustState(t *testing.T, h *house, id store.MailboxID) store.State {
	t.Helper()
	st, err := h.Store.State(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return st
}

// export writes the account with e.
func (h *house) export(e importer.Exporter, err error) *importer.ExportSummary {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
	sum, err := importer.Export(h.t.Context(), e, importer.ExportOptions{
		Give: func(ctx context.Context, w io.Writer) error { return importer.Give(ctx, h.Store, account, "", w) },
	})
	if err != nil {
		h.t.Fatalf("export: %v", err)
	}
	return sum
}

// TestRoundTrip: an import of an export is what was exported: octets, flags, keywords, dates, uids, unique-ids.
func TestRoundTrip(t *testing.T) {
	h := newHouse(t)
	fill(t, h)
	want := h.show(true)
	dir := t.TempDir()
	all := int64(10 * len(oddTexts))

	e, err := importer.CreateMaildir(filepath.Join(dir, "maildir"))
	if sum := h.export(e, err); sum.Messages != all {
		t.Errorf("exported %+v", sum)
	}
	again := newHouse(t)
	if sum := again.run(maildir(t, filepath.Join(dir, "maildir")), importer.Options{Kind: "maildir", Name: "x"}); sum.Taken.Messages != all {
		t.Errorf("imported %+v", sum)
	}
	differ(t, again.show(true), want)

	m, err := importer.CreateMbox(filepath.Join(dir, "mbox"))
	if sum := h.export(m, err); sum.Messages != all {
		t.Errorf("exported %+v", sum)
	}
	again = newHouse(t)
	if sum := again.run(mbox(t, filepath.Join(dir, "mbox"), importer.MboxOptions{}), importer.Options{Kind: "mbox", Name: "x"}); sum.Taken.Messages != all {
		t.Errorf("imported %+v", sum)
	}
	differ(t, again.show(true), want)
}

// differ compares line by line: whole texts say nothing when they are long.
func differ(t *testing.T, got, want string) {
	t.Helper()
	a, b := strings.Split(got, "\n"), strings.Split(want, "\n")
	for i := range max(len(a), len(b)) {
		var x, y string
		if i < len(a) {
			x = a[i]
		}
		if i < len(b) {
			y = b[i]
		}
		if x != y {
			t.Errorf("line %d: got\n%.300s\nwant\n%.300s", i, x, y)
		}
	}
}

// TestExportRefuses: two exports in one folder would be neither.
func TestExportRefuses(t *testing.T) {
	dir := write(t, t.TempDir(), map[string]string{"x": "y"})
	for _, create := range []func(string) error{
		func(p string) error { _, err := importer.CreateMaildir(p); return err },
		func(p string) error { _, err := importer.CreateMbox(p); return err },
	} {
		if err := create(dir); err == nil || !strings.Contains(err.Error(), "is not empty") {
			t.Errorf("%v", err)
		}
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("%v, %v", entries, err)
	}
}

func FuzzMbox(f *testing.F) {
	f.Add([]byte(from+"Status: RO\nSubject: a\n\n>From x\n\n"+from+"Content-Length: 3\n\nabc\n"), 0)
	f.Add([]byte("From \nX-Posthouse-Text: raw unended\n\nx\r\n\nFrom - Thu Jan 02 03:04:05 2020\nX-Gmail-Labels: a,\"b\n c\"\n"), 2)
	f.Add([]byte(from+"X-IMAPbase: 1 2 3\nX-UID: 99999999999\nX-Posthouse-Kept-From: x\nX-Posthouse-Text: empty bodyless\n\n\n"), 4)
	f.Fuzz(func(t *testing.T, data []byte, variant int) {
		path := filepath.Join(t.TempDir(), "mbox")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		src, err := importer.OpenMbox(path, importer.MboxOptions{Variant: importer.Variant(max(variant, 0) % 5), Note: func(string) {}})
		if err != nil {
			t.Fatal(err)
		}
		folders, err := src.Folders(t.Context())
		if err != nil {
			return
		}
		read := 0
		for it, err := range src.Items(t.Context(), folders[0]) {
			if err != nil {
				return
			}
			if it.UID > 1<<32-2 {
				t.Fatalf("uid %d", it.UID)
			}
			text, err := it.Open()
			if err != nil {
				continue
			}
			b, err := io.ReadAll(text)
			if err != nil {
				t.Fatal(err)
			}
			if read += len(b); read > 2*len(data)+64 {
				t.Fatalf("%d octets out of %d", read, len(data))
			}
		}
	})
}
