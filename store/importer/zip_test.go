package importer_test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/importer"
)

// zipped makes the file and opens it.
func zipped(t *testing.T, h *house, o importer.ZipOptions) *zip.Reader {
	t.Helper()
	var b bytes.Buffer
	o.Account, o.Now = 1, time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	if err := importer.Zip(t.Context(), h.Store, o, &b); err != nil {
		t.Fatal(err)
	}
	z, err := zip.NewReader(bytes.NewReader(b.Bytes()), int64(b.Len()))
	if err != nil {
		t.Fatal(err)
	}
	return z
}

func content(t *testing.T, f *zip.File) string {
	t.Helper()
	r, err := f.Open()
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func (h *house) place(t *testing.T, mailbox, text string, m store.AppendMessage) {
	t.Helper()
	b, err := h.Store.Mailbox(t.Context(), 1, mailbox)
	if errors.Is(err, store.ErrNoMailbox) {
		b, err = h.Store.CreateMailbox(t.Context(), 1, mailbox, 0)
	}
	if err != nil {
		t.Fatal(err)
	}
	w, err := h.Store.NewMessage(t.Context(), int64(len(text)))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	a, err := w.Finish()
	if err != nil {
		t.Fatal(err)
	}
	m.Arrival, m.Received = a, time.Unix(1_700_000_000, 0)
	if _, _, err := h.Store.Append(t.Context(), b.ID, []store.AppendMessage{m}); err != nil {
		t.Fatal(err)
	}
}

// TestZip: names that can stand on every system, texts to the octet, flags in the names; an mbox can be imported again.
func TestZip(t *testing.T) {
	h := newHouse(t)
	texts := []string{"Subject: one\r\n\r\nFrom here\r\n", "Subject: bare\n\nline\n", ""}
	for _, text := range texts {
		h.place(t, "INBOX", text, store.AppendMessage{Flags: store.Seen | store.Flagged, Keywords: []string{"work"}})
	}
	h.place(t, "Archive/a:b", "Subject: odd\r\n\r\n", store.AppendMessage{})
	h.place(t, "Archive/a*b", "Subject: odd too\r\n\r\n", store.AppendMessage{})
	z := zipped(t, h, importer.ZipOptions{Form: importer.ZipMaildir})
	var got, names []string
	for _, f := range z.File {
		names = append(names, f.Name)
		if strings.HasPrefix(f.Name, "INBOX/cur/1") {
			got = append(got, content(t, f))
			if !strings.HasSuffix(f.Name, ":2,FSa") {
				t.Error(f.Name)
			}
		}
	}
	if !slices.Equal(got, texts) {
		t.Errorf("%q", got)
	}
	for _, want := range []string{"Archive/a_b/cur/", "Archive/a_b (2)/cur/", "INBOX/dovecot-keywords", "Sent/new/"} {
		if !slices.Contains(names, want) {
			t.Errorf("no %s in %q", want, names)
		}
	}
	z = zipped(t, h, importer.ZipOptions{Form: importer.ZipMbox, Mailbox: "inbox"})
	if len(z.File) != 1 || z.File[0].Name != "INBOX.mbox" {
		t.Fatalf("%d files", len(z.File))
	}
	dir := t.TempDir()
	w, err := importer.CreateMbox(filepath.Join(dir, "same"))
	if err != nil {
		t.Fatal(err)
	}
	_, err = importer.Export(t.Context(), w, importer.ExportOptions{Give: func(ctx context.Context, out io.Writer) error { return importer.Give(ctx, h.Store, 1, "INBOX", out) }})
	if err != nil {
		t.Fatal(err)
	}
	same, err := os.ReadFile(filepath.Join(dir, "same", "INBOX.mbox"))
	if err != nil {
		t.Fatal(err)
	}
	if text := content(t, z.File[0]); text != string(same) {
		t.Errorf("the zip has\n%q\nand the export\n%q", text, same)
	}
	if err := importer.Zip(t.Context(), h.Store, importer.ZipOptions{Account: 1, Mailbox: "none", Form: importer.ZipMbox}, io.Discard); !errors.Is(err, store.ErrNoMailbox) {
		t.Error(err)
	}
}

// TestZipNames: whatever mailboxes are called, no file of the zip is a folder of it too, none is one that some system does not take,
// and none leads out.
func TestZipNames(t *testing.T) {
	h := newHouse(t)
	for _, name := range []string{
		"A", "A.mbox/B", "a", "INBOX/cur", "INBOX/new", "INBOX/dovecot-keywords", "NOT EXPORTED.txt", "NOT EXPORTED.txt/x", "con", "COM1.old/aux", "x/" + strings.Repeat("y ", 100), "dots.../.hidden", "A (2)",
	} {
		h.place(t, name, "Subject: one\r\n\r\ntext\r\n", store.AppendMessage{Keywords: []string{"work"}})
	}
	devices := regexp.MustCompile(`(?i)(^|/)(con|prn|aux|nul|com[0-9]|lpt[0-9])(\.[^/]*)?(/|$)|[. ](/|$)|(^|/)\.|//`)
	for _, form := range []string{importer.ZipMbox, importer.ZipMaildir} {
		files, folders := map[string]bool{}, map[string]bool{}
		for _, f := range zipped(t, h, importer.ZipOptions{Form: form}).File {
			name, isFolder := strings.CutSuffix(strings.ToLower(f.Name), "/")
			if devices.MatchString(name) {
				t.Errorf("%s: %q", form, f.Name)
			}
			if files[name] || isFolder && folders[name] {
				t.Errorf("%s: %q twice", form, f.Name)
			}
			if isFolder {
				folders[name] = true
			} else {
				files[name] = true
			}
			for dir := filepath.Dir(name); dir != "."; dir = filepath.Dir(dir) {
				folders[dir] = true
			}
		}
		if len(files) < 13 {
			t.Errorf("%s: %d files", form, len(files))
		}
		for name := range files {
			if folders[name] {
				t.Errorf("%s: %q is a folder too", form, name)
			}
		}
	}
}
