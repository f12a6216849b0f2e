package auth_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// importedHashes are made by glibc's crypt(3), and for {SSHA} by Python's hashlib.
var importedHashes = map[string]string{
	"$6$saltstring$svn8UoSVapNtMuq1ukKS4tPQd8iKwSMHWjl/O817G3uBnIFNjnQJuesI68u4OTLiBFdcbYEdFCoEOfaS35inz1":                    "Hello world!",
	"$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5":                                                               "Hello world!",
	"$6$rounds=10000$saltstringsaltst$OW1/O6BYHV6BcXZu8QVeXbDWra3Oeqh0sbHbbMCVNSnCM/UrjmM0Dp8vOuZeHBy/YTBmSK6H9qs/y3RnOaw5v.": "Hello world!",
	"$5$rounds=77777$short$JiO1O3ZpDAxGJeaDIuqCoEFysAe1mZNJRs3pw0KQRd/":                                                       "we have a short salt string but not a short password",
	"$6$rounds=1000$aaaabbbbccccdddd$AiAP3Vxi7kyoJ5SJmepU.8lICVnwbgjg74igwI2jNP4.cnE8fiAqpJ2S4ma.FSPpVXQ7EI/.7oApiCNBRx1g6.":  strings.Repeat("a", 100),
	"$6$saltsalt$F6Fd30ZGBua4VcDcOYGIGgNadgKeaXGqESCWXzghPh7k5LmaRWeokOz7o6q0DjZRlMlGbrsEUBII1bpUuCMgD.":                      "pässwort",
	"$2b$04$abcdefghijklmnopqrstuuyeG8laUfZvsCmc.AE6qIDYSPGM2efmK":                                                            "Hello world!",
	"$2y$05$abcdefghijklmnopqrstuu7nFISH/8YdwlXD3lw69A4iBUf6fvWAW":                                                            "Hello world!",
	"{BLF-CRYPT}$2a$05$abcdefghijklmnopqrstuu7nFISH/8YdwlXD3lw69A4iBUf6fvWAW":                                                 "Hello world!",
	"{sha256-crypt}$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5":                                                 "Hello world!",
	"{SSHA}MQCu4ULhbjN/m8GjCqCeGAPRr2ZzYWx0c2FsdA==":                                                                          "Hello world!",
	"{SSHA256}G7PF9TUSELczltJ7gmqKH1Da1d3gpH1nIrag42quQwRzYWx0c2FsdA==":                                                       "Hello world!",
	"{ssha512}e5ouc7Gp84W3s3tg+qC3yU9M5JxemWe7T7F5ACNphX45E4f4CTVbkRF1/e6TIsObPZJtBwVteHPs2dAh0FETAnNhbHRzYWx0":               "Hello world!",
	"{PLAIN}Hello world!": "Hello world!",
}

// imports gives alice (1) a hash.
func (h *house) imports(text string) error {
	secret, err := h.ImportHash(h.t.Context(), text)
	if err != nil {
		return err
	}
	return h.update(func(tx *kv.Tx) error { return h.SetSecret(tx, 1, secret) })
}

// TestImportedHashes: the password fits, another does not, and after the first login it fits our own hash.
func TestImportedHashes(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	login := func(password string) error {
		_, err := h.Login(t.Context(), over(auth.DoorIMAP, "127.0.0.1"), "alice@alpha.test", password)
		return err
	}
	for text, password := range importedHashes {
		if err := h.imports(text); err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		wants(t, text, login(password+"x"), auth.ErrCredentials)
		wants(t, text, login(password), nil)
		h.Directory = auth.New(h.db, auth.Options{}) // remembers nothing
		wants(t, text+" after the first login", login(password), nil)
		wants(t, text+" after the first login", login(password+"x"), auth.ErrCredentials)
	}
}

// TestImportRefused: what is no hash, what is broken for long, and what would cost too much.
func TestImportRefused(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret")
	for _, text := range []string{
		"", "secret", "{", "{}", "{MD5}abc", "{SSHA}", "{SSHA}!!!!", "{SSHA}MQCu4ULhbjN/m8GjCqCeGAPRr2Y=", "$1$salt$qJH7.N4xYta3aEG/dfqo/0", "{PLAIN}", "{PLAIN}a\nb",
		"$6$", "$6$salt", "$6$salt$short", "$6$rounds=999$s$" + strings.Repeat("a", 86), "$6$rounds=999999999$s$" + strings.Repeat("a", 86), "$6$12345678901234567$" + strings.Repeat("a", 86),
		"$2b$31$abcdefghijklmnopqrstuuyeG8laUfZvsCmc.AE6qIDYSPGM2efmK", "$2b$04$abc", "$2x$04$abcdefghijklmnopqrstuuyeG8laUfZvsCmc.AE6qIDYSPGM2efmK",
		"$argon2id$v=19$m=99999999,t=2,p=1$AAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAA",
	} {
		if err := h.imports(text); !errors.Is(err, auth.ErrPassword) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestUpgradeKeepsSessions: the login that replaces the imported hash ends no session, neither that of a program nor one of the web; the
// next new password ends both.
func TestUpgradeKeepsSessions(t *testing.T) {
	h := newHouse(t, auth.Options{SCRAM: true})
	h.people("secret")
	_, app := h.app(1, auth.AppPassword{Name: "a", Doors: auth.DoorIMAP})
	if err := h.imports("$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5"); err != nil {
		t.Fatal(err)
	}
	login := func(password string) auth.Identity {
		t.Helper()
		id, err := h.Login(t.Context(), over(auth.DoorIMAP, "127.0.0.1"), "alice@alpha.test", password)
		if err != nil {
			t.Fatal(err)
		}
		return id
	}
	rung := 0
	defer h.Watch(func(mail.AccountID) { rung++ })()
	first := login("Hello world!")
	if rung != 1 {
		t.Errorf("the upgrade was rung for %d times", rung)
	}
	wants(t, "the login that upgraded", h.Standing(t.Context(), first, auth.DoorIMAP), nil)
	kept, err := h.Stamp(t.Context(), first, auth.DoorWeb)
	if err != nil {
		t.Fatal(err)
	}
	login("Hello world!")
	if rung != 1 {
		t.Errorf("the second login changed the account")
	}
	login(app)
	h.Directory = auth.New(h.db, auth.Options{SCRAM: true})
	_, err = h.Resume(t.Context(), 1, kept, auth.DoorWeb)
	wants(t, "a session of the web", err, nil)
	if err := h.SetPassword(t.Context(), 1, "Hello world!"); err != nil {
		t.Fatal(err)
	}
	_, err = h.Resume(t.Context(), 1, kept, auth.DoorWeb)
	wants(t, "after a new password", err, auth.ErrCredentials)
}
