package passkey_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth/passkey"
	"github.com/posthouse-mail/posthouse/auth/passkey/passkeytest"
)

// at is the page of the house in these tests.
var at = passkey.Where{Host: "mail.example.test", Origin: "https://mail.example.test"}

// world is a party with one owner, whose device has one passkey.
type world struct {
	t      testing.TB
	now    time.Time
	party  *passkey.Party
	device *passkeytest.Device
	owner  passkey.Owner
}

func newWorld(t testing.TB) *world {
	w := &world{t: t, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	w.party = passkey.NewParty(func() time.Time { return w.now })
	w.device = &passkeytest.Device{T: t, Origin: at.Origin}
	w.owner = passkey.Owner{Handle: []byte("0123456789abcdef"), Name: "alice@example.test", Label: "Alice"}
	c, err := w.party.Made(at, "session", w.owner, w.device.Make(w.must(w.party.AskToMake(at, "session", w.owner))))
	if err != nil {
		t.Fatal(err)
	}
	w.owner.Keys = []passkey.Credential{c}
	return w
}

func (w *world) must(b []byte, err error) []byte {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// find is the directory.
func (w *world) find(_, handle []byte) (passkey.Owner, error) {
	if string(handle) != string(w.owner.Handle) {
		return passkey.Owner{}, passkey.ErrUnknown
	}
	return w.owner, nil
}

// TestMadeAndUsed: a passkey is made once for a device, found by the device itself, and is what it was.
func TestMadeAndUsed(t *testing.T) {
	w := newWorld(t)
	if c := w.owner.Keys[0]; c.Host != at.Host || len(c.ID) != 32 || len(c.Key) == 0 || len(c.Model) != 16 || strings.Join(c.Transports, " ") != "internal hybrid" || c.Synced() {
		t.Errorf("%+v", c)
	}
	if again := w.device.Make(w.must(w.party.AskToMake(at, "session", w.owner))); again != "" {
		t.Error("the device may make a second one for the same account")
	}
	p, err := w.party.Proved(at, "cookie", w.device.Use(w.must(w.party.Ask(at, "cookie"))), w.find)
	if err != nil || !p.Verified || string(p.Handle) != string(w.owner.Handle) || string(p.Credential.ID) != string(w.owner.Keys[0].ID) {
		t.Errorf("%+v, %v", p, err)
	}
	p, err = w.party.OwnerProved(at, "half", w.device.Use(w.must(w.party.AskOwner(at, "half", w.owner))), w.owner)
	if err != nil || !p.Verified {
		t.Errorf("second factor: %+v, %v", p, err)
	}
	w.device.Unverified = true // the password was the other factor
	if p, err = w.party.OwnerProved(at, "half", w.device.Use(w.must(w.party.AskOwner(at, "half", w.owner))), w.owner); err != nil || p.Verified {
		t.Errorf("second factor without verification: %+v, %v", p, err)
	}
}

// TestAnswersRefused: each answer that is not what was asked for.
func TestAnswersRefused(t *testing.T) {
	other := passkey.Where{Host: "mail.other.test", Origin: "https://mail.other.test"}
	for _, c := range []struct {
		name string
		want error
		do   func(*world) error
	}{
		{"twice", passkey.ErrLate, func(w *world) error {
			answer := w.device.Use(w.must(w.party.Ask(at, "cookie")))
			if _, err := w.party.Proved(at, "cookie", answer, w.find); err != nil {
				return err
			}
			_, err := w.party.Proved(at, "cookie", answer, w.find)
			return err
		}},
		{"after five minutes", passkey.ErrLate, func(w *world) error {
			answer := w.device.Use(w.must(w.party.Ask(at, "cookie")))
			w.now = w.now.Add(passkey.Life + time.Second)
			_, err := w.party.Proved(at, "cookie", answer, w.find)
			return err
		}},
		{"for another visitor", passkey.ErrLate, func(w *world) error {
			_, err := w.party.Proved(at, "mine", w.device.Use(w.must(w.party.Ask(at, "yours"))), w.find)
			return err
		}},
		{"for another purpose", passkey.ErrLate, func(w *world) error {
			_, err := w.party.Proved(at, "cookie", w.device.Use(w.must(w.party.AskOwner(at, "cookie", w.owner))), w.find)
			return err
		}},
		{"of another house", passkey.ErrLate, func(w *world) error {
			_, err := w.party.Proved(at, "cookie", w.device.Use(w.must(passkey.NewParty(nil).Ask(at, "cookie"))), w.find)
			return err
		}},
		{"at a page of another site", passkey.ErrRefused, func(w *world) error {
			w.device.Origin = "https://mail.example.test.evil.test"
			_, err := w.party.Proved(at, "cookie", w.device.Use(w.must(w.party.Ask(at, "cookie"))), w.find)
			return err
		}},
		{"at another port", passkey.ErrRefused, func(w *world) error {
			w.device.Origin = at.Origin + ":8443"
			_, err := w.party.Proved(at, "cookie", w.device.Use(w.must(w.party.Ask(at, "cookie"))), w.find)
			return err
		}},
		{"made at another host", passkey.ErrUnknown, func(w *world) error {
			var q struct{ Challenge string }
			if err := json.Unmarshal(w.must(w.party.Ask(other, "cookie")), &q); err != nil {
				return err
			}
			w.device.Origin = other.Origin
			_, err := w.party.Proved(other, "cookie", w.device.Sign(w.device.Keys[0], q.Challenge), w.find)
			return err
		}},
		{"without the owner's finger", passkey.ErrUnverified, func(w *world) error {
			w.device.Unverified = true
			_, err := w.party.Proved(at, "cookie", w.device.Use(w.must(w.party.Ask(at, "cookie"))), w.find)
			return err
		}},
		{"made without the owner's finger", passkey.ErrUnverified, func(w *world) error {
			w.device.Keys, w.device.Unverified = nil, true
			_, err := w.party.Made(at, "s", w.owner, w.device.Make(w.must(w.party.AskToMake(at, "s", w.owner))))
			return err
		}},
		{"of nobody", passkey.ErrUnknown, func(w *world) error {
			w.device.Keys[0].Handle = []byte("somebody else...")
			_, err := w.party.Proved(at, "cookie", w.device.Use(w.must(w.party.Ask(at, "cookie"))), w.find)
			return err
		}},
		{"with another key", passkey.ErrRefused, func(w *world) error {
			stranger := &passkeytest.Device{T: w.t, Origin: at.Origin}
			stranger.Make(w.must(w.party.AskToMake(at, "s", w.owner2())))
			stranger.Keys[0].ID, stranger.Keys[0].Handle = w.device.Keys[0].ID, w.device.Keys[0].Handle
			_, err := w.party.Proved(at, "cookie", stranger.Use(w.must(w.party.Ask(at, "cookie"))), w.find)
			return err
		}},
		{"that is none", passkey.ErrRefused, func(w *world) error {
			_, err := w.party.Proved(at, "cookie", `{"id":"x"}`, w.find)
			return err
		}},
		{"that has no end", passkey.ErrRefused, func(w *world) error {
			_, err := w.party.Made(at, "cookie", w.owner, strings.Repeat("[", 1<<20))
			return err
		}},
		{"where none can be used", passkey.ErrNowhere, func(w *world) error {
			_, err := w.party.Ask(passkey.Where{}, "cookie")
			return err
		}},
		{"of who has none here", passkey.ErrUnknown, func(w *world) error {
			_, err := w.party.AskOwner(other, "half", w.owner)
			return err
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := c.do(newWorld(t)); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
		})
	}
}

func (w *world) owner2() passkey.Owner {
	return passkey.Owner{Handle: []byte("fedcba9876543210"), Name: "mallory@example.test", Label: "Mallory"}
}

// TestCounter: a counter that goes back tells of a copy; one that stands at zero tells nothing.
func TestCounter(t *testing.T) {
	w := newWorld(t)
	w.device.Counts = true
	for range 3 {
		p, err := w.party.Proved(at, "cookie", w.device.Use(w.must(w.party.Ask(at, "cookie"))), w.find)
		if err != nil {
			t.Fatal(err)
		}
		w.owner.Keys[0] = p.Credential
	}
	if w.owner.Keys[0].Counter != 3 {
		t.Errorf("counter %d", w.owner.Keys[0].Counter)
	}
	w.device.Keys[0].Counter = 1
	if _, err := w.party.Proved(at, "cookie", w.device.Use(w.must(w.party.Ask(at, "cookie"))), w.find); !errors.Is(err, passkey.ErrCopied) {
		t.Error(err)
	}
}

// FuzzAnswers: whatever a browser sends, nothing is proved by it and nothing breaks.
func FuzzAnswers(f *testing.F) {
	w := newWorld(f)
	f.Add(w.device.Use(w.must(w.party.Ask(at, "cookie"))))
	f.Add(w.device.Make(w.must(w.party.AskToMake(at, "cookie", w.owner2()))))
	f.Add(`{"id":"AA","rawId":"AA","type":"public-key","response":{"clientDataJSON":"e30","attestationObject":"oA"}}`)
	f.Fuzz(func(t *testing.T, answer string) {
		if _, err := w.party.Proved(at, "nobody", answer, w.find); err == nil {
			t.Error("proved")
		}
		if _, err := w.party.Made(at, "nobody", w.owner, answer); err == nil {
			t.Error("made")
		}
	})
}

// BenchmarkProved is what a sign-in costs beside its write: reading the answer, and one signature.
func BenchmarkProved(b *testing.B) {
	w := newWorld(b)
	for b.Loop() {
		b.StopTimer()
		answer := w.device.Use(w.must(w.party.Ask(at, "cookie")))
		b.StartTimer()
		if _, err := w.party.Proved(at, "cookie", answer, w.find); err != nil {
			b.Fatal(err)
		}
	}
}
