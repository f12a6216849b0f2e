package auth_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/external"
	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// ldap is a helper with a password for everybody.
type ldap struct {
	mu       sync.Mutex
	password string // guarded by mu; empty: it cannot say
	asked    []external.Question
}

func (l *ldap) set(password string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.password = password
}

// questions is what it was asked since the last time.
func (l *ldap) questions() []external.Question {
	l.mu.Lock()
	defer l.mu.Unlock()
	defer func() { l.asked = nil }()
	return l.asked
}

func (l *ldap) answer(q external.Question) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked = append(l.asked, q)
	switch l.password {
	case "":
		return `{"answer":"later","words":"the directory is down"}`
	case q.Password:
		return `{"answer":"yes"}`
	}
	return `{"answer":"no"}`
}

// listen starts it and returns its socket.
func (l *ldap) listen(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "s")
	at, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { _ = at.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := at.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer func() { _ = conn.Close() }()
				for in := bufio.NewScanner(conn); in.Scan(); {
					var q external.Question
					if err := json.Unmarshal(in.Bytes(), &q); err != nil {
						t.Error(err)
					}
					if _, err := conn.Write([]byte(l.answer(q) + "\n")); err != nil {
						return
					}
				}
			})
		}
	})
	return path
}

// clock is set by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) forward(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// elsewhereHouse has alice with a password elsewhere, and bob, in the same domain, with one of ours.
func elsewhereHouse(t *testing.T, l *ldap) (*house, *clock) {
	t.Helper()
	c := &clock{now: time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)}
	helper := external.New(external.Options{Socket: l.listen(t), Timeout: 5 * time.Second, Now: c.read})
	t.Cleanup(helper.Close)
	h := newHouse(t, auth.Options{Now: c.read, SCRAM: true, External: &auth.External{
		Helper: helper, Domains: []mail.Domain{"alpha.test"}, Except: []mail.Address{addr(t, "bob@alpha.test")}, Remember: 5 * time.Minute,
	}})
	h.people("our own password")
	return h, c
}

func imapClient() auth.Client {
	return auth.Client{Door: auth.DoorIMAP, Remote: netip.MustParseAddr("192.0.2.7"), TLS: &tls.ConnectionState{}}
}

func TestPasswordElsewhere(t *testing.T) {
	l := &ldap{password: "their password"}
	h, _ := elsewhereHouse(t, l)
	login := func(user, password string) error {
		_, err := h.Login(t.Context(), imapClient(), user, password)
		return err
	}
	for _, user := range []string{"alice@alpha.test", "ALICE@one.test", "alice.liddell@alpha.test"} {
		if err := login(user, "their password"); err != nil {
			t.Errorf("%s: %v", user, err)
		}
	}
	want := external.Question{User: "Alice@alpha.test", Password: "their password", Protocol: "imap", Remote: "192.0.2.7"}
	if got := l.questions(); !slices.Equal(got, []external.Question{want}) {
		t.Errorf("asked %+v: a good answer holds, under each name of the account", got)
	}
	if err := login("alice@alpha.test", "our own password"); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("the password that we keep: %v", err)
	}
	if err := login("bob@alpha.test", "our own password"); err != nil {
		t.Errorf("who is excepted: %v", err)
	}
	if err := login("bob@alpha.test", "their password"); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("who is excepted: %v", err)
	}
	l.questions()
	for _, password := range []string{"", "nul\x00", "\xff\xfe", string(make([]byte, 5000))} {
		if err := login("alice@alpha.test", password); !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("%.10q: %v", password, err)
		}
	}
	if err := login("nobody@alpha.test", "x"); !errors.Is(err, auth.ErrCredentials) {
		t.Error(err)
	}
	if got := l.questions(); len(got) > 0 {
		t.Errorf("asked %+v: an empty password is a login of nobody in LDAP", got)
	}
	if err := h.SetPassword(t.Context(), 1, "something new"); !errors.Is(err, auth.ErrPassword) {
		t.Errorf("a new password: %v", err)
	}
	if there, err := h.PasswordElsewhere(t.Context(), 2); there || err != nil {
		t.Error(there, err)
	}
}

// TestElsewhereHolds: how long answers are remembered, and that a disabled account is out at once.
func TestElsewhereHolds(t *testing.T) {
	l := &ldap{password: "first"}
	h, c := elsewhereHouse(t, l)
	login := func(password string, want error, asked int) {
		t.Helper()
		_, err := h.Login(t.Context(), imapClient(), "alice@alpha.test", password)
		if n := len(l.questions()); !errors.Is(err, want) || n != asked {
			t.Errorf("%s: %v after %d questions; want %v after %d", password, err, n, want, asked)
		}
	}
	login("first", nil, 1)
	l.set("second")
	login("first", nil, 0) // it holds
	login("second", nil, 1)
	c.forward(5 * time.Minute)
	login("first", auth.ErrCredentials, 1)
	login("first", auth.ErrCredentials, 0) // a forgotten phone does not lock the account there
	l.set("first")
	c.forward(30 * time.Second)
	login("first", nil, 1)
	h.must(func(tx *kv.Tx) error {
		a, err := h.AccountIn(tx, 1)
		if err != nil {
			return err
		}
		a.Disabled = true
		return h.UpdateAccount(tx, a)
	})
	login("first", auth.ErrDoorClosed, 0)
}

// TestElsewhereDown: that nobody knows is not a wrong password, is not counted as one, and is not remembered. What is ours goes on.
func TestElsewhereDown(t *testing.T) {
	l := &ldap{}
	h, _ := elsewhereHouse(t, l)
	app, err := h.MakeApp(t.Context(), 1, auth.AppPassword{Name: "phone", Doors: auth.DoorIMAP})
	if err != nil {
		t.Fatal(err)
	}
	h.must(func(tx *kv.Tx) error { _, err := h.AddApp(tx, 1, app); return err })
	for range 30 {
		if _, err := h.Login(t.Context(), imapClient(), "alice@alpha.test", "their password"); !errors.Is(err, auth.ErrLater) {
			t.Fatal(err)
		}
	}
	l.questions()
	if id, err := h.Login(t.Context(), imapClient(), "alice@alpha.test", app.Password); err != nil || id.App == 0 {
		t.Errorf("app password: %+v, %v", id, err)
	}
	if got := l.questions(); len(got) > 0 {
		t.Errorf("asked about an app password: %+v", got)
	}
	l.set("their password")
	if _, err := h.Login(t.Context(), imapClient(), "alice@alpha.test", "their password"); err != nil {
		t.Error(err)
	}
}

// TestElsewhereSlowsDown: guessing counts as everywhere, and who is slowed down is not asked about.
func TestElsewhereSlowsDown(t *testing.T) {
	l := &ldap{password: "their password"}
	h, c := elsewhereHouse(t, l)
	guess := func(n int) error {
		_, err := h.Login(t.Context(), imapClient(), "alice@alpha.test", "guess "+string(rune('a'+n)))
		return err
	}
	for n := range 20 {
		if err := guess(n); !errors.Is(err, auth.ErrCredentials) {
			t.Fatal(err)
		}
		c.forward(16 * time.Minute) // longer than anybody waits
	}
	if err := guess(20); !errors.Is(err, auth.ErrCredentials) {
		t.Fatal(err)
	}
	l.questions()
	if err := guess(21); !errors.Is(err, auth.ErrSlowDown) {
		t.Error(err)
	}
	if got := l.questions(); len(got) > 0 {
		t.Errorf("asked %+v", got)
	}
}

// TestNoSCRAMBesideElsewhere: a program takes the strongest mechanism before it has said who it is.
func TestNoSCRAMBesideElsewhere(t *testing.T) {
	l := &ldap{password: "x"}
	h, _ := elsewhereHouse(t, l)
	if got := h.Mechanisms(imapClient()); !slices.Equal(got, []string{sasl.Plain, sasl.Login}) {
		t.Errorf("offered: %v", got)
	}
	if _, err := h.SASL(t.Context(), imapClient(), sasl.ScramSHA256, nil); !errors.Is(err, auth.ErrMechanism) {
		t.Error(err)
	}
	var got auth.Identity
	server, err := h.SASL(t.Context(), imapClient(), sasl.Plain, func(id auth.Identity) { got = id })
	if err != nil {
		t.Fatal(err)
	}
	if _, done, err := server.Next([]byte("\x00alice@alpha.test\x00x")); !done || err != nil || got.Account != 1 {
		t.Errorf("PLAIN: %v, %v, %+v", done, err, got)
	}
	if err := h.Standing(t.Context(), got, auth.DoorIMAP); err != nil {
		t.Errorf("its session: %v", err)
	}
}
