package auth_test

import (
	"crypto/tls"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/passkey"
	"github.com/posthouse-mail/posthouse/auth/passkey/passkeytest"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

var (
	page    = passkey.Where{Host: "mail.alpha.test", Origin: "https://mail.alpha.test"}
	browser = auth.Client{Door: auth.DoorWeb, Remote: netip.MustParseAddr("192.0.2.7"), TLS: &tls.ConnectionState{}}
)

// make gives an account a passkey that a device of its own holds.
func (h *house) make(d *passkeytest.Device, id mail.AccountID, name string) (k auth.Passkey) {
	h.t.Helper()
	q, err := h.AskNewPasskey(h.t.Context(), id, page, "s")
	if err != nil {
		h.t.Fatal(err)
	}
	c, err := h.NewPasskey(h.t.Context(), id, page, "s", d.Make(q))
	if err != nil {
		h.t.Fatal(err)
	}
	h.must(func(tx *kv.Tx) (err error) { k, err = h.AddPasskey(tx, id, name, c); return err })
	return k
}

// enter signs in with the device alone.
func (h *house) enter(d *passkeytest.Device) (auth.Identity, uint32, error) {
	h.t.Helper()
	q, err := h.AskPasskey(page, "c")
	if err != nil {
		h.t.Fatal(err)
	}
	return h.LoginPasskey(h.t.Context(), browser, page, "c", d.Use(q))
}

func device(t *testing.T) *passkeytest.Device {
	return &passkeytest.Device{T: t, Origin: page.Origin}
}

// TestPasskeys: two accounts, each entered by its own device; what is kept survives being written and read; one that was removed
// opens nothing.
func TestPasskeys(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret words")
	phone, key, other := device(t), device(t), device(t)
	phone.Counts = true
	if k := h.make(phone, 1, " phone "); k.Number != 1 || k.Name != "phone" || !k.Used.IsZero() || k.Host != page.Host {
		t.Errorf("%+v", k)
	}
	h.make(key, 1, "key")
	h.make(other, 2, "phone")
	for _, x := range []struct {
		d       *passkeytest.Device
		account mail.AccountID
		number  uint32
	}{{phone, 1, 1}, {key, 1, 2}, {other, 2, 1}, {phone, 1, 1}} {
		id, number, err := h.enter(x.d)
		if err != nil || id.Account != x.account || number != x.number || id.Mechanism != "passkey" {
			t.Errorf("%+v, %d, %v", id, number, err)
		}
		if err := h.Standing(t.Context(), id, auth.DoorWeb); err != nil {
			t.Error(err)
		}
	}
	all, err := h.Passkeys(t.Context(), 1)
	if err != nil || len(all) != 2 || all[0].Counter != 2 || all[0].Used.IsZero() || strings.Join(all[1].Transports, " ") != "internal hybrid" || len(all[1].Model) != 16 {
		t.Errorf("%+v, %v", all, err)
	}
	h.must(func(tx *kv.Tx) error { _, err := h.RemovePasskey(tx, 1, 2); return err })
	if _, _, err := h.enter(key); !errors.Is(err, passkey.ErrUnknown) {
		t.Error(err)
	}
	if has, err := h.HasPasskey(t.Context(), 1, 2); has || err != nil {
		t.Error(has, err)
	}
	if err := h.update(func(tx *kv.Tx) error { _, err := h.RemovePasskey(tx, 1, 2); return err }); !errors.Is(err, auth.ErrNoPasskey) {
		t.Error(err)
	}
	if k := h.make(device(t), 1, "new"); k.Number != 3 {
		t.Errorf("number %d is given again", k.Number)
	}
}

// TestPasskeyAndPassword: a new password leaves passkeys, and ends what they opened; so do closed doors.
func TestPasskeyAndPassword(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret words")
	d := device(t)
	h.make(d, 1, "phone")
	id, _, err := h.enter(d)
	if err != nil {
		t.Fatal(err)
	}
	stamp, err := h.Stamp(t.Context(), id, auth.DoorWeb)
	if err != nil {
		t.Fatal(err)
	}
	if err := h.SetPassword(t.Context(), 1, "other words"); err != nil {
		t.Fatal(err)
	}
	if err := h.Standing(t.Context(), id, auth.DoorWeb); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("a session goes on with a new password: %v", err)
	}
	if _, err := h.Resume(t.Context(), 1, stamp, auth.DoorWeb); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("a session is resumed with a new password: %v", err)
	}
	if id, _, err = h.enter(d); err != nil {
		t.Fatal("the passkey went with the password:", err)
	}
	who, err := h.Account(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	who.Doors = auth.DoorIMAP
	h.must(func(tx *kv.Tx) error { return h.UpdateAccount(tx, who) })
	if _, _, err := h.enter(d); !errors.Is(err, auth.ErrDoorClosed) {
		t.Error(err)
	}
	if _, _, err := h.LoginPasskey(t.Context(), auth.Client{Door: auth.DoorWeb, Remote: browser.Remote}, page, "c", "{}"); !errors.Is(err, auth.ErrNeedTLS) {
		t.Error(err)
	}
	if id.App != 0 {
		t.Error("a passkey is no app password")
	}
}

// TestPasskeyAsked: with a passkey for its second factor an account has recovery codes, and loses both with the last one.
func TestPasskeyAsked(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret words")
	d := device(t)
	require := func() (codes []string, err error) {
		err = h.update(func(tx *kv.Tx) error { codes, err = h.RequirePasskey(tx, 1); return err })
		return codes, err
	}
	if _, err := require(); !errors.Is(err, auth.ErrInvalid) {
		t.Error("required without one:", err)
	}
	h.make(d, 1, "phone")
	if f, err := h.SecondFactor(t.Context(), 1); err != nil || f.On || f.Passkeys != 1 {
		t.Errorf("%+v, %v", f, err)
	}
	codes, err := require()
	if err != nil || len(codes) != 8 {
		t.Fatal(codes, err)
	}
	if again, err := require(); err != nil || again != nil {
		t.Error(again, err)
	}
	if f, err := h.SecondFactor(t.Context(), 1); err != nil || !f.On || f.Authenticator || f.Recovery != 8 || f.Since.IsZero() {
		t.Errorf("%+v, %v", f, err)
	}
	q, err := h.AskSecondPasskey(t.Context(), 1, page, "half")
	if err != nil {
		t.Fatal(err)
	}
	answer := d.Use(q)
	if err := h.ProvePasskey(t.Context(), 2, page, "half", answer); !errors.Is(err, passkey.ErrUnknown) {
		t.Error("bob with alice's:", err)
	}
	if err := h.ProvePasskey(t.Context(), 1, page, "half", answer); err != nil {
		t.Error(err)
	}
	if err := h.ProvePasskey(t.Context(), 1, page, "half", answer); !errors.Is(err, passkey.ErrLate) {
		t.Error("twice:", err)
	}
	if err := h.ProveFactor(t.Context(), 1, "123456"); !errors.Is(err, auth.ErrCode) {
		t.Error("a code without an authenticator:", err)
	}
	if err := h.ProveFactor(t.Context(), 1, codes[0]); err != nil {
		t.Error("a recovery code:", err)
	}
	h.must(func(tx *kv.Tx) error { _, err := h.RemovePasskey(tx, 1, 1); return err })
	if f, err := h.SecondFactor(t.Context(), 1); err != nil || f.On || f.Recovery != 0 {
		t.Errorf("%+v, %v", f, err)
	}
	if err := h.ProveFactor(t.Context(), 1, codes[1]); !errors.Is(err, auth.ErrCode) {
		t.Error("a recovery code of no factor:", err)
	}
}

// TestPasskeyBounds: names and numbers.
func TestPasskeyBounds(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("secret words")
	for name, c := range map[string]passkey.Credential{
		"": {ID: []byte("x"), Key: []byte("x"), Host: "h"}, "a\nb": {ID: []byte("x"), Key: []byte("x"), Host: "h"}, "nothing": {}, strings.Repeat("a", 101): {ID: []byte("x"), Key: []byte("x"), Host: "h"},
	} {
		if err := h.update(func(tx *kv.Tx) error { _, err := h.AddPasskey(tx, 1, name, c); return err }); !errors.Is(err, auth.ErrInvalid) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for range auth.MaxPasskeys {
		h.make(device(t), 1, "one more")
	}
	if _, err := h.AskNewPasskey(t.Context(), 1, page, "s"); !errors.Is(err, auth.ErrInvalid) {
		t.Error(err)
	}
	if _, err := h.AskNewPasskey(t.Context(), 9, page, "s"); !errors.Is(err, auth.ErrNoAccount) {
		t.Error(err)
	}
}

// TestPasskeyDevices: a sign-in by passkey waits for no code, though the password would.
func TestPasskeyDevices(t *testing.T) {
	d := newDevices(t)
	phone := device(t)
	d.make(phone, 1, "phone")
	d.must(func(tx *kv.Tx) error { _, err := d.RequirePasskey(tx, 1); return err })
	if _, _, err := d.enter(phone); err != nil {
		t.Fatal(err)
	}
	d.want()
}
