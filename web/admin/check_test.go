package admin_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// TestCheckNamesWhoIsHit: a flipped bit is told with address, mailbox, uid, subject, file and what to do; the others are sound.
func TestCheckNamesWhoIsHit(t *testing.T) {
	dir := t.TempDir()
	var q *queue.Queue
	house := storetest.Start(t, storetest.Options{KV: kv.Options{Dir: dir, Plain: true}, Register: []func(*kv.DB, *store.Store){func(db *kv.DB, s *store.Store) {
		var err error
		if q, err = queue.New(db, s, queue.Options{Hostname: "mail.example.org"}); err != nil {
			t.Fatal(err)
		}
	}}})
	h := admin.New(admin.Options{DB: house.DB, Directory: auth.New(house.DB, auth.Options{}), Store: house.Store, Queue: q})
	if _, err := h.AddDomain(t.Context(), admin.Domain{Name: "alpha.test"}); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddAccount(t.Context(), admin.NewAccount{Addresses: []string{"anna@alpha.test"}, Password: "secret word"}); err != nil {
		t.Fatal(err)
	}
	s := house.Store
	text := strings.Repeat("a text that is worth reading\r\n", 3)
	storetest.Deliver(t, s, 1, "INBOX", "Subject: whole\r\nFrom: bob@beta.test\r\n\r\n"+text)
	storetest.Deliver(t, s, 1, "INBOX", "Subject: hit\r\nFrom: bob@beta.test\r\n\r\n"+strings.Repeat("0123456789abcdef\r\n", 3000)+"the end\r\n")
	if found, err := h.CheckStore(t.Context(), admin.CheckRequest{Deep: true}); err != nil || len(found) > 0 {
		t.Fatal(found, err)
	}
	files, _ := filepath.Glob(filepath.Join(dir, "seg", "*.seg"))
	hit := 0
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if at := bytes.Index(b, []byte("the end\r\n")); at >= 0 {
			b[at] ^= 1
			hit++
			if err := os.WriteFile(path, b, 0o600); err != nil {
				t.Fatal(err)
			}
			defer func() {
				b[at] ^= 1 // the store is checked when the test ends
				if err := os.WriteFile(path, b, 0o600); err != nil {
					t.Error(err)
				}
			}()
		}
	}
	found, err := h.CheckStore(t.Context(), admin.CheckRequest{Deep: true, Pace: 1 << 30})
	if err != nil || hit != 1 || len(found) != 1 {
		t.Fatalf("%d files hit, %+v %v", hit, found, err)
	}
	f := found[0]
	if f.Account != "anna@alpha.test" || f.Mailbox != "INBOX" || f.UID != 2 || f.Subject != "hit" || f.From != "bob@beta.test" || f.File == "" || f.Advice == "" {
		t.Fatalf("%+v", f)
	}
	if want := `anna@alpha.test, mailbox INBOX, uid 2 ("hit" from bob@beta.test): `; !strings.HasPrefix(f.String(), want) {
		t.Fatal(f)
	}
}

// TestCheckNamesWaitingMail: mail that waits and whose file is gone is told, also without a deep look.
func TestCheckNamesWaitingMail(t *testing.T) {
	dir := t.TempDir()
	var q *queue.Queue
	house := storetest.Start(t, storetest.Options{KV: kv.Options{Dir: dir}, Register: []func(*kv.DB, *store.Store){func(db *kv.DB, s *store.Store) {
		var err error
		if q, err = queue.New(db, s, queue.Options{Hostname: "mail.example.org"}); err != nil {
			t.Fatal(err)
		}
	}}})
	e := mail.Envelope{From: mail.Address{Local: "a", Domain: "alpha.test"}, Recipients: []mail.Recipient{{Address: mail.Address{Local: "b", Domain: "beta.test"}}}}
	long := storetest.Arrival(t, house.Store, "Subject: long\r\n\r\n"+strings.Repeat("0123456789abcdef\r\n", 10_000)) // a file of its own
	if _, err := house.Store.Deliver(t.Context(), long, nil, q.Part(q.NewID(), e)); err != nil {
		t.Fatal(err)
	}
	house.Reopen() // no file is open
	items, err := q.List(t.Context(), queue.Filter{})
	if err != nil || len(items) != 1 {
		t.Fatal(items, err)
	}
	h := admin.New(admin.Options{DB: house.DB, Directory: auth.New(house.DB, auth.Options{}), Store: house.Store, Queue: q})
	path := filepath.Join(dir, "seg", fmt.Sprintf("%08x.seg", items[0].Place.Segment()))
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	found, err := h.CheckStore(t.Context(), admin.CheckRequest{})
	if err != nil || len(found) != 1 || !strings.Contains(found[0].Problem, items[0].ID) {
		t.Errorf("%+v, %v", found, err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if found, err := h.CheckStore(t.Context(), admin.CheckRequest{Deep: true}); err != nil || len(found) > 0 {
		t.Errorf("%+v, %v", found, err)
	}
}
