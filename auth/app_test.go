package auth_test

import (
	"errors"
	"net/netip"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gosasl "github.com/emersion/go-sasl"
	"github.com/xdg-go/scram"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// app gives an account an app password.
func (h *house) app(id mail.AccountID, a auth.AppPassword) (auth.AppPassword, string) {
	h.t.Helper()
	n, err := h.MakeApp(h.t.Context(), id, a)
	if err != nil {
		h.t.Fatal(err)
	}
	h.must(func(tx *kv.Tx) (err error) { a, err = h.AddApp(tx, id, n); return err })
	return a, n.Password
}

func (h *house) webOnly(id mail.AccountID) {
	h.t.Helper()
	h.must(func(tx *kv.Tx) error {
		return h.Configure(tx, id, func(s *auth.AccountSettings) error { s.WebOnly = true; return nil })
	})
}

func TestAppPasswords(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	a, password := h.app(1, auth.AppPassword{Name: "Phone", Doors: auth.DoorIMAP | auth.DoorSubmission})
	if len(password) != 24 || strings.ContainsAny(password, "ilo01") || a.ID != 1 {
		t.Errorf("%q, %+v", password, a)
	}
	login := func(door auth.Door, user, password string) (auth.Identity, error) {
		return h.Login(t.Context(), over(door, "127.0.0.1"), user, password)
	}
	const alice = "alice@alpha.test"
	for _, typed := range []string{password, strings.ReplaceAll(password, "-", ""), strings.ReplaceAll(password, "-", " "), strings.ToUpper(password), " " + password} {
		if id, err := login(auth.DoorIMAP, alice, typed); err != nil || id.App != a.ID || id.Account != 1 {
			t.Errorf("%q: %+v, %v", typed, id, err)
		}
	}
	for _, c := range []struct {
		door           auth.Door
		user, password string
		want           error
		says           string
	}{
		{auth.DoorSubmission, alice, password, nil, ""},
		{auth.DoorPOP3, alice, password, auth.ErrDoorClosed, `"Phone" is not for it`},
		{auth.DoorWeb, alice, password, auth.ErrCredentials, ""},
		{auth.DoorIMAP, "bob@alpha.test", password, auth.ErrCredentials, ""},
		{auth.DoorIMAP, alice, password[:23] + "?", auth.ErrCredentials, ""},
		{auth.DoorIMAP, alice, "aaaa-aaaa-aaaa-aaaa-aaaa", auth.ErrCredentials, ""},
		{auth.DoorIMAP, alice, "secret", nil, ""},
	} {
		_, err := login(c.door, c.user, c.password)
		wants(t, c.door.String()+" "+c.password, err, c.want)
		if c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says)) {
			t.Errorf("%v does not say %q", err, c.says)
		}
	}
	h.webOnly(1)
	_, err := login(auth.DoorIMAP, alice, "secret")
	wants(t, "the password itself", err, auth.ErrDoorClosed, "app password")
	_, err = login(auth.DoorWeb, alice, "secret")
	wants(t, "the password itself at the web", err, nil)
	id, err := login(auth.DoorIMAP, alice, password)
	wants(t, "the app password", err, nil)
	if err := h.SetPassword(t.Context(), 1, "changed"); err != nil {
		t.Fatal(err)
	}
	wants(t, "a session over a new password", h.Standing(t.Context(), id, auth.DoorIMAP), nil)
	h.must(func(tx *kv.Tx) error { _, err := h.RemoveApp(tx, 1, a.ID); return err })
	wants(t, "a session of a revoked one", h.Standing(t.Context(), id, auth.DoorIMAP), auth.ErrCredentials)
	_, err = login(auth.DoorIMAP, alice, password)
	wants(t, "a revoked one", err, auth.ErrCredentials)
	if err := h.update(func(tx *kv.Tx) error { _, err := h.RemoveApp(tx, 1, a.ID); return err }); !errors.Is(err, auth.ErrNoApp) {
		t.Errorf("revoked twice: %v", err)
	}
	if b, _ := h.app(1, auth.AppPassword{Name: "Phone", Doors: auth.DoorIMAP}); b.ID == a.ID {
		t.Error("a number is given twice")
	}
}

// TestAppRules: what an app password may be.
func TestAppRules(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	for name, a := range map[string]auth.AppPassword{
		"no name": {Doors: auth.DoorIMAP},
		"control": {Name: "a\x07b", Doors: auth.DoorIMAP},
		"long":    {Name: strings.Repeat("a", 101), Doors: auth.DoorIMAP},
		"no door": {Name: "a"},
		"web":     {Name: "a", Doors: auth.DoorAll},
		"over":    {Name: "a", Doors: auth.DoorIMAP, Expires: time.Now().Add(-time.Minute)},
	} {
		if _, err := h.MakeApp(t.Context(), 1, a); !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := h.MakeApp(t.Context(), 77, auth.AppPassword{Name: "a", Doors: auth.DoorIMAP}); !errors.Is(err, auth.ErrNoAccount) {
		t.Error(err)
	}
	for range auth.MaxAppPasswords {
		h.app(1, auth.AppPassword{Name: "a", Doors: auth.DoorIMAP})
	}
	n, err := h.MakeApp(t.Context(), 1, auth.AppPassword{Name: "one more", Doors: auth.DoorIMAP})
	if err != nil {
		t.Fatal(err)
	}
	err = h.update(func(tx *kv.Tx) error { _, err := h.AddApp(tx, 1, n); return err })
	wants(t, "one too many", err, auth.ErrInvalid, "up to 50")
	if all, err := h.Apps(t.Context(), 1); err != nil || len(all) != auth.MaxAppPasswords {
		t.Errorf("%d, %v", len(all), err)
	}
}

// TestAppWork: a wrong app password costs the same hash as a wrong password, whether there are any or not.
func TestAppWork(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	h.app(1, auth.AppPassword{Name: "a", Doors: auth.DoorIMAP})
	expired, old := h.app(1, auth.AppPassword{Name: "b", Doors: auth.DoorIMAP})
	h.must(func(tx *kv.Tx) error { _, err := h.RemoveApp(tx, 1, expired.ID); return err })
	for _, try := range [][2]string{{"alice@alpha.test", old}, {"bob@alpha.test", old}, {"nobody@alpha.test", old}, {"alice@alpha.test", "guess"}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := h.Login(t.Context(), over(auth.DoorIMAP, "192.0.2.7"), try[0], try[1])
		runtime.ReadMemStats(&after)
		if used := after.TotalAlloc - before.TotalAlloc; used < 19<<20 || used > 25<<20 {
			t.Errorf("%v: %d bytes", try, used)
		}
		wants(t, try[0], err, auth.ErrCredentials)
	}
}

// TestAppExpiry: at the end sessions are rung for, and neither they nor new logins go on.
func TestAppExpiry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, auth.Options{})
		h.people("secret")
		_, password := h.app(1, auth.AppPassword{Name: "a", Doors: auth.DoorIMAP, Expires: time.Now().Add(time.Hour)})
		login := func() (auth.Identity, error) {
			return h.Login(t.Context(), over(auth.DoorIMAP, "127.0.0.1"), "alice@alpha.test", password)
		}
		rung := 0
		defer h.Watch(func(mail.AccountID) { rung++ })()
		id, err := login()
		wants(t, "before", err, nil)
		_, err = login()
		wants(t, "again", err, nil)
		time.Sleep(59 * time.Minute)
		wants(t, "before the end", h.Standing(t.Context(), id, auth.DoorIMAP), nil)
		time.Sleep(2 * time.Minute)
		synctest.Wait()
		if rung != 1 {
			t.Errorf("rung %d times", rung)
		}
		wants(t, "after", h.Standing(t.Context(), id, auth.DoorIMAP), auth.ErrCredentials)
		_, err = login()
		wants(t, "a login after", err, auth.ErrCredentials)
	})
}

// TestAppSCRAM: SCRAM finds out which of the passwords was used, in both spellings, also after another password was set.
func TestAppSCRAM(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	_, early := h.app(1, auth.AppPassword{Name: "before SCRAM", Doors: auth.DoorIMAP})
	h.Directory = auth.New(h.db, auth.Options{SCRAM: true})
	client := over(auth.DoorIMAP, "127.0.0.1")
	prove := func(password string) (auth.Identity, error) {
		t.Helper()
		c, err := scram.SHA256.NewClient("alice@alpha.test", password, "")
		if err != nil {
			t.Fatal(err)
		}
		return converse(h, client, "SCRAM-SHA-256", scramClient{c.NewConversation()})
	}
	a, one := h.app(1, auth.AppPassword{Name: "one", Doors: auth.DoorIMAP}) // makes the salt that all others take
	pop, other := h.app(1, auth.AppPassword{Name: "other", Doors: auth.DoorPOP3})
	_, err := prove(early)
	wants(t, "keys that are not there yet", err, auth.ErrCredentials)
	for _, password := range []string{"secret", early} {
		_, err := converse(h, client, "PLAIN", gosasl.NewPlainClient("", "alice@alpha.test", password))
		wants(t, "plain "+password, err, nil)
	}
	for range 2 {
		id, err := prove(one)
		if err != nil || id.App != a.ID {
			t.Errorf("%+v, %v", id, err)
		}
		id, err = prove(strings.ReplaceAll(one, "-", ""))
		if err != nil || id.App != a.ID {
			t.Errorf("without groups: %+v, %v", id, err)
		}
		_, err = prove(early)
		wants(t, "the early one", err, nil)
		_, err = prove(other)
		wants(t, "for another door", err, auth.ErrDoorClosed)
		if err := h.SetPassword(t.Context(), 1, "changed"); err != nil {
			t.Fatal(err)
		}
		id, err = prove("changed")
		if err != nil || id.App != 0 {
			t.Errorf("the password itself: %+v, %v", id, err)
		}
	}
	h.webOnly(1)
	_, err = prove("changed")
	wants(t, "the password itself", err, auth.ErrDoorClosed, "app password")
	h.must(func(tx *kv.Tx) error { _, err := h.RemoveApp(tx, 1, pop.ID); return err })
	_, err = prove(other)
	wants(t, "revoked", err, auth.ErrCredentials)
}

// TestAppBook: a use is known, and a program that comes every minute is not written down each time.
func TestAppBook(t *testing.T) {
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	now := time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	book := auth.NewAppBook(side)
	h := newHouse(t, auth.Options{Uses: book, Now: func() time.Time { return now }})
	h.people("secret")
	a, password := h.app(1, auth.AppPassword{Name: "a", Doors: auth.DoorsApp})
	use := func(door auth.Door, remote string) auth.AppUse {
		t.Helper()
		if _, err := h.Login(t.Context(), over(door, remote), "alice@alpha.test", password); err != nil {
			t.Fatal(err)
		}
		if err := side.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		all, err := book.Uses(t.Context(), 1)
		if err != nil {
			t.Fatal(err)
		}
		return all[a.ID]
	}
	begin := now
	for i, c := range []struct {
		after  time.Duration
		door   auth.Door
		remote string
		at     time.Duration
	}{
		{0, auth.DoorIMAP, "192.0.2.1", 0},
		{9 * time.Minute, auth.DoorIMAP, "192.0.2.1", 0},
		{9*time.Minute + time.Second, auth.DoorIMAP, "192.0.2.2", 9*time.Minute + time.Second},
		{9*time.Minute + 2*time.Second, auth.DoorPOP3, "192.0.2.3", 9*time.Minute + time.Second},
		{30 * time.Minute, auth.DoorPOP3, "192.0.2.3", 30 * time.Minute},
	} {
		now = begin.Add(c.after)
		if u := use(c.door, c.remote); !u.At.Equal(begin.Add(c.at)) {
			t.Errorf("step %d: %+v", i, u)
		}
	}
	if u := use(auth.DoorPOP3, "192.0.2.3"); u.Door != auth.DoorPOP3 || u.Remote != netip.MustParseAddr("192.0.2.3") {
		t.Errorf("%+v", u)
	}
	h.must(func(tx *kv.Tx) error { return h.RemoveAccount(tx, 1) })
	if err := side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if all, err := book.Uses(t.Context(), 1); err != nil || len(all) != 0 {
		t.Errorf("after the account: %v, %v", all, err)
	}
}

// TestAppComesBack: an account that is made again from a backup keeps its app passwords.
func TestAppComesBack(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	_, password := h.app(1, auth.AppPassword{Name: "a", Doors: auth.DoorIMAP})
	a, err := h.Account(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := h.Secret(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	a.ID = 0
	h.must(func(tx *kv.Tx) error {
		if err := h.RemoveAccount(tx, 1); err != nil {
			return err
		}
		a.ID, err = h.CreateAccount(tx, auth.Account{Addresses: a.Addresses, Doors: a.Doors}, secret)
		return err
	})
	id, err := h.Login(t.Context(), over(auth.DoorIMAP, "127.0.0.1"), "alice@alpha.test", password)
	if err != nil || id.Account != a.ID || id.App != 1 {
		t.Errorf("%+v, %v", id, err)
	}
}
