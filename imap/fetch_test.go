package imap

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// mail is the hook "mail MAILBOX FILE": a mail of testdata/mail arrives for alice. The first of a dialogue arrives on
// 1 November 2026 at noon, each further one a day later.
func (h *house) mail(t *testing.T, arguments string) {
	name, file, _ := strings.Cut(arguments, " ")
	raw, err := os.ReadFile(filepath.Join("testdata", "mail", file+".eml"))
	if err != nil {
		t.Fatal(err)
	}
	received := time.Date(2026, 11, 1+h.arrived, 12, 0, 0, 0, time.UTC)
	h.arrived++
	h.deliver(t, store.Delivery{Account: 1, Mailbox: name, Received: received}, string(raw))
}

func (h *house) deliver(t testing.TB, d store.Delivery, raw string) {
	t.Helper()
	if _, err := h.Store.Deliver(t.Context(), storetest.Arrival(t, h.Store, raw), []store.Delivery{d}); err != nil {
		t.Fatal(err)
	}
}

func FuzzFetchItems(f *testing.F) {
	for _, seed := range []string{
		"(FLAGS UID BODY.PEEK[1.2.HEADER.FIELDS (a \"b c\")]<0.5>) (CHANGEDSINCE 7)", "ALL", "FULL", "BODY[]", "BODY[TEXT]<3.9223372036854775807>",
		"(BINARY[1] BINARY.PEEK[2.3]<1.2> BINARY.SIZE[4])", "BODY[1.MIME]", "RFC822.HEADER", "BODY[HEADER.FIELDS.NOT ({1+}\r\nx)]", "(BODY BODYSTRUCTURE ENVELOPE)",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, items []byte) {
		parse := func(items []byte) *fetchParser {
			c := scripted(t, append(append([]byte("a FETCH "), items...), "\r\n"...))
			if c == nil {
				return nil
			}
			c.d.SP()
			p := &fetchParser{c: c}
			p.items()
			p.modifiers()
			if c.d.End() != nil || len(p.list) > maxItems+1 {
				return nil
			}
			return p
		}
		p := parse(items)
		if p == nil {
			return
		}
		for i := range p.list {
			// What an answer calls an item is what a client can ask for.
			it := &p.list[i]
			label := strings.TrimSuffix(string(it.label), " ")
			if it.hasPartial {
				label = strings.TrimSuffix(label, ">") + ".1>"
			}
			again := parse([]byte(label))
			if again == nil || len(again.list) != 1 || string(again.list[0].label) != string(it.label) {
				t.Fatalf("%q", it.label)
			}
		}
	})
}
