package submission

import (
	"context"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/serve"
	"github.com/posthouse-mail/posthouse/internal/transcript"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// rig is a house with alice and bob at alpha.test, carol at beta.test, and the alias sales (alice; who may send as it).
type rig struct {
	store *store.Store
	db    *kv.DB
	queue *queue.Queue
	desk  *Desk
	ids   map[string]mail.AccountID
}

func address(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{ids: map[string]mail.AccountID{}}
	r.store, r.db = storetest.New(t, func(db *kv.DB, s *store.Store) {
		var err error
		if r.queue, err = queue.New(db, s, queue.Options{Hostname: "mx.alpha.test"}); err != nil {
			t.Fatal(err)
		}
	})
	dir := auth.New(r.db, auth.Options{ClearLoopback: true})
	secret, err := dir.Hash(t.Context(), "posthouse")
	if err != nil {
		t.Fatal(err)
	}
	err = r.db.Update(t.Context(), func(tx *kv.Tx) error {
		for _, d := range []mail.Domain{"alpha.test", "beta.test"} {
			if err := dir.PutDomain(tx, auth.Domain{Name: d}); err != nil {
				return err
			}
		}
		for _, name := range []string{"alice@alpha.test", "bob@alpha.test", "carol@beta.test"} {
			id, err := dir.CreateAccount(tx, auth.Account{Addresses: []mail.Address{address(t, name)}, Doors: auth.DoorAll}, secret)
			if err != nil {
				return err
			}
			if err := r.store.CreateAccount(tx, id, store.Quota{}); err != nil {
				return err
			}
			name, _, _ := strings.Cut(name, "@")
			r.ids[name] = id
		}
		if err := dir.PutAlias(tx, auth.Alias{Address: address(t, "sales@alpha.test"), Members: []mail.Address{address(t, "alice@alpha.test")}, SendAs: true}); err != nil {
			return err
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	trusted := []Trusted{{Networks: []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, Senders: []mail.Address{address(t, "printer@alpha.test")}}}
	r.desk = New(Options{Trusted: trusted, Across: strings.Contains(t.Name(), "across"), HideClient: strings.Contains(t.Name(), "hidden"), Temp: t.TempDir(), Hostname: "mx.alpha.test", Directory: dir, Store: r.store, Queue: r.queue, MaxSize: 4000, MaxHops: 5,
		Now:   func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) },
		Local: local.New(local.Options{Store: r.store, Directory: dir, Queue: r.queue})})
	return r
}

func dial(t testing.TB, s *smtp.Server, from string) net.Conn {
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer ours.Close()
		s.Handle(context.Background(), &serve.Conn{Conn: ours, ID: "c1", Service: "submission", Remote: netip.MustParseAddrPort(from), Local: netip.MustParseAddrPort("192.0.2.1:587")})
	}()
	t.Cleanup(func() { theirs.Close(); <-done })
	return theirs
}

// TestTranscripts: "RUN: count alice 2" counts a mailbox, "RUN: in alice Outbox 2" another one, "RUN: has alice TEXT" and "RUN: lacks alice TEXT" look into its newest message
// (TEXT in Go syntax), "RUN: queue 1" counts what waits to leave, "RUN: leaving TEXT" looks into the
// first that does.
func TestTranscripts(t *testing.T) {
	transcript.Run(t, filepath.Join("testdata", "*.txt"), func(t *testing.T) transcript.House {
		r := newRig(t)
		so := smtp.Options{Hostname: "mx.alpha.test", Desk: r.desk, MaxSize: 4000, Auth: true, FixLF: true}
		if strings.Contains(t.Name(), "future") {
			so.FutureRelease, so.Now = time.Hour, r.desk.o.Now
		}
		s := smtp.NewServer(so)
		return transcript.House{
			Dial: func(client string) (net.Conn, error) {
				if client == "printer" {
					return dial(t, s, "192.0.2.7:4711"), nil
				}
				return dial(t, s, "127.0.0.1:4711"), nil
			},
			Hooks: map[string]func(*testing.T, string){
				"count": func(t *testing.T, args string) {
					who, n, _ := strings.Cut(args, " ")
					if rows := storetest.Rows(t, r.store, r.ids[who], "INBOX"); strconv.Itoa(len(rows)) != n {
						t.Errorf("%s has %d messages, want %s", who, len(rows), n)
					}
				},
				"in": func(t *testing.T, args string) {
					words := strings.Fields(args)
					if rows := r.has(t, words[0], words[1]); strconv.Itoa(len(rows)) != words[2] {
						t.Errorf("%s has %d messages in %s, want %s", words[0], len(rows), words[1], words[2])
					}
				},
				"has":     func(t *testing.T, args string) { r.look(t, args, true) },
				"lacks":   func(t *testing.T, args string) { r.look(t, args, false) },
				"leaving": func(t *testing.T, args string) { r.leaving(t, args) },
				"queue": func(t *testing.T, n string) {
					items, err := r.queue.List(t.Context(), queue.Filter{})
					if err != nil || strconv.Itoa(len(items)) != n {
						t.Errorf("%d wait (%v), want %s", len(items), err, n)
					}
				},
			},
		}
	})
}

func (r *rig) look(t *testing.T, args string, want bool) {
	t.Helper()
	who, quoted, _ := strings.Cut(args, " ")
	text, err := strconv.Unquote(quoted)
	if err != nil {
		t.Fatal(err)
	}
	rows := storetest.Rows(t, r.store, r.ids[who], "INBOX")
	if len(rows) == 0 {
		t.Fatalf("%s has no mail", who)
	}
	if got := storetest.Text(t, r.store, rows[len(rows)-1]); strings.Contains(got, text) != want {
		t.Errorf("in %q, want %q: %t", got, text, want)
	}
}

// leaving looks into the message that waits to leave.
func (r *rig) leaving(t *testing.T, quoted string) {
	t.Helper()
	want, err := strconv.Unquote(strings.TrimPrefix(quoted, "!"))
	if err != nil {
		t.Fatal(err)
	}
	items, err := r.queue.List(t.Context(), queue.Filter{})
	if err != nil || len(items) == 0 {
		t.Fatal("nothing waits", err)
	}
	body, err := r.store.OpenAt(t.Context(), items[0].Place)
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	text, err := io.ReadAll(io.NewSectionReader(body, 0, body.Size()))
	if err != nil || strings.Contains(string(text), want) == strings.HasPrefix(quoted, "!") {
		t.Errorf("in %q (%v): %s", text, err, quoted)
	}
}
