package inbound

import (
	"context"
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

// rig is a house with alice, bob (a small mailbox) and the aliases team (alice, bob) and out (alice, dora@away.test).
type rig struct {
	store *store.Store
	db    *kv.DB
	queue *queue.Queue
	desk  *Desk
	ids   map[string]mail.AccountID
}

func parse(t testing.TB, s string) mail.Address {
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
	dir := auth.New(r.db, auth.Options{})
	err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
		if err := dir.PutDomain(tx, auth.Domain{Name: "alpha.test"}); err != nil {
			return err
		}
		for _, name := range []string{"alice", "bob"} {
			id, err := dir.CreateAccount(tx, auth.Account{Addresses: []mail.Address{parse(t, name+"@alpha.test")}, Doors: auth.DoorAll}, auth.Secret{})
			if err != nil {
				return err
			}
			var q store.Quota
			if name == "bob" {
				q.Bytes = 5000
			}
			if err := r.store.CreateAccount(tx, id, q); err != nil {
				return err
			}
			r.ids[name] = id
		}
		for alias, members := range map[string][]string{"team": {"alice@alpha.test", "bob@alpha.test"}, "out": {"alice@alpha.test", "dora@away.test"}} {
			a := auth.Alias{Address: parse(t, alias+"@alpha.test")}
			for _, m := range members {
				a.Members = append(a.Members, parse(t, m))
			}
			if err := dir.PutAlias(tx, a); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	r.desk = New(Options{Hostname: "mx.alpha.test", Directory: dir, Store: r.store, Queue: r.queue, MaxSize: 4000, MaxHops: 5,
		Now:   func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) },
		Local: local.New(local.Options{Store: r.store, Directory: dir, Queue: r.queue})})
	return r
}

func dial(t testing.TB, s *smtp.Server) net.Conn {
	ours, theirs := net.Pipe()
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer ours.Close()
		s.Handle(context.Background(), &serve.Conn{Conn: ours, ID: "c1", Service: "smtp", Remote: netip.MustParseAddrPort("192.0.2.7:4711"), Local: netip.MustParseAddrPort("192.0.2.1:25")})
	}()
	t.Cleanup(func() { theirs.Close(); <-done })
	return theirs
}

// TestTranscripts: "RUN: count alice 2" counts a mailbox, "RUN: has alice TEXT" and "RUN: lacks alice TEXT" look into its newest message
// (TEXT in Go syntax), "RUN: queue 1" counts what waits to leave.
func TestTranscripts(t *testing.T) {
	transcript.Run(t, filepath.Join("testdata", "*.txt"), func(t *testing.T) transcript.House {
		r := newRig(t)
		s := smtp.NewServer(smtp.Options{Hostname: "mx.alpha.test", Desk: r.desk, MaxSize: 4000, LMTP: strings.Contains(t.Name(), "lmtp")})
		return transcript.House{
			Dial: func(string) (net.Conn, error) { return dial(t, s), nil },
			Hooks: map[string]func(*testing.T, string){
				"count": func(t *testing.T, args string) {
					who, n, _ := strings.Cut(args, " ")
					if rows := storetest.Rows(t, r.store, r.ids[who], "INBOX"); strconv.Itoa(len(rows)) != n {
						t.Errorf("%s has %d messages, want %s", who, len(rows), n)
					}
				},
				"has":   func(t *testing.T, args string) { r.look(t, args, true) },
				"lacks": func(t *testing.T, args string) { r.look(t, args, false) },
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
