package importer_test

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/importer"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// house is a store that is imported into; it is the Target, as web/admin is in the product.
type house struct {
	*storetest.House
	t      testing.TB
	refuse string // the name of a mailbox that cannot be made
}

const account = mail.AccountID(1)

func newHouse(t testing.TB, quota ...store.Quota) *house {
	h := &house{House: storetest.Start(t, storetest.Options{}), t: t}
	storetest.Account(t, h.Store, h.DB, account, quota...)
	return h
}

func (h *house) ImportPlace(ctx context.Context, p importer.Place) (importer.Placed, error) {
	box, err := h.Store.Mailbox(ctx, account, p.Mailbox)
	if err != nil {
		if p.Mailbox == h.refuse {
			return importer.Placed{Refused: "it is refused"}, nil
		}
		box, err = h.Store.CreateMailbox(ctx, account, p.Mailbox, 0)
		if err != nil {
			return importer.Placed{}, err
		}
	}
	if p.Subscribe {
		if err := h.Store.Subscribe(ctx, account, p.Mailbox, true); err != nil {
			return importer.Placed{}, err
		}
	}
	out := importer.Placed{ID: uint32(box.ID), Name: box.Name}
	if p.UIDValidity != 0 {
		adopt := h.Store.ReserveUIDs
		if p.Whole {
			adopt = h.Store.AdoptUIDs
		}
		out.Adopted = adopt(ctx, box.ID, p.UIDValidity, max(p.UIDNext, 1)) == nil
	}
	return out, nil
}

func (h *house) Imported(ctx context.Context, _ string, source uint64, w io.Writer) error {
	for page, err := range h.Store.Imported(ctx, account, source) {
		if err != nil {
			return err
		}
		for i := range page {
			if _, err := w.Write(importer.AppendEntry(nil, &page[i])); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *house) Import(ctx context.Context, _ string, r io.Reader) (importer.Taken, error) {
	return importer.Take(ctx, h.Store, account, r)
}

// run imports and fails the test when that fails.
func (h *house) run(src importer.Source, o importer.Options) *importer.Summary {
	h.t.Helper()
	sum, err := importer.Run(h.t.Context(), src, h, o)
	if err != nil {
		h.t.Fatalf("import: %v", err)
	}
	return sum
}

// maildir opens a Maildir for import.
func maildir(t testing.TB, path string) importer.Source {
	t.Helper()
	src, err := importer.OpenMaildir(path, func(s string) { t.Log(s) })
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func mbox(t testing.TB, path string, o importer.MboxOptions) importer.Source {
	t.Helper()
	o.Note = func(s string) { t.Log(s) }
	src, err := importer.OpenMbox(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// write makes files: name -> text.
func write(t testing.TB, dir string, files map[string]string) string {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(name, "/") {
			if err := os.MkdirAll(path, 0o700); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// show is all that clients see of the account: one line for each mailbox, one for each message.
func (h *house) show(withText bool) string {
	h.t.Helper()
	ctx := h.t.Context()
	boxes, err := h.Store.Mailboxes(ctx, account)
	if err != nil {
		h.t.Fatal(err)
	}
	var out strings.Builder
	for _, b := range boxes {
		if b.ID == 0 {
			continue
		}
		st, err := h.Store.State(ctx, b.ID)
		if err != nil {
			h.t.Fatal(err)
		}
		if st.UIDNext == 1 {
			continue
		}
		fmt.Fprintf(&out, "%s %d %d\n", b.Name, st.UIDValidity, st.UIDNext)
		names, err := h.Store.Keywords(ctx, b.ID)
		if err != nil {
			h.t.Fatal(err)
		}
		rows := storetest.Rows(h.t, h.Store, account, b.Name)
		uidls, err := h.Store.UIDLs(ctx, b.ID, rows)
		if err != nil {
			h.t.Fatal(err)
		}
		for i, m := range rows {
			fmt.Fprintf(&out, "  %d %s %s", m.UID, m.Received.UTC().Format(time.DateTime), flagWords(m.Flags, names))
			if b.Name == store.Inbox {
				fmt.Fprintf(&out, " %s", uidls[i])
			}
			if withText {
				fmt.Fprintf(&out, " %q", storetest.Text(h.t, h.Store, m))
			}
			out.WriteString("\n")
		}
	}
	return out.String()
}

func flagWords(f store.Flags, names []string) string {
	var out []string
	for i, n := range []string{`\Seen`, `\Answered`, `\Flagged`, `\Deleted`, `\Draft`, "$Forwarded", "$Junk", "$NotJunk"} {
		if f&(1<<i) != 0 {
			out = append(out, n)
		}
	}
	for i, n := range names {
		if f&(1<<(8+i)) != 0 {
			out = append(out, n)
		}
	}
	slices.Sort(out)
	return "(" + strings.Join(out, " ") + ")"
}

func equal(t testing.TB, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
