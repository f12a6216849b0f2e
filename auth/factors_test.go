package auth_test

import (
	"crypto/hmac"
	"crypto/sha1"
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// authenticator is the program on a telephone.
func authenticator(t *testing.T, secret string, at time.Time) string {
	t.Helper()
	key, err := base32.StdEncoding.DecodeString(secret)
	if err != nil {
		t.Fatal(err)
	}
	mac := hmac.New(sha1.New, key)
	mac.Write(binary.BigEndian.AppendUint64(nil, uint64(at.Unix()/30)))
	sum := mac.Sum(nil)
	return fmt.Sprintf("%06d", binary.BigEndian.Uint32(sum[sum[19]&15:])&0x7fffffff%1e6)
}

// withFactor is a house whose alice (1) has an authenticator.
func withFactor(t *testing.T) (h *house, now *time.Time, secret string, recovery []string) {
	now = new(time.Time)
	*now = time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)
	h = newHouse(t, auth.Options{Now: func() time.Time { return *now }})
	h.people("secret")
	secret = auth.NewAuthenticator()
	if err := h.update(func(tx *kv.Tx) error { _, err := h.SetFactor(tx, 1, secret, "000"); return err }); !errors.Is(err, auth.ErrCode) {
		t.Fatalf("a wrong code begins: %v", err)
	}
	h.must(func(tx *kv.Tx) (err error) {
		recovery, err = h.SetFactor(tx, 1, secret, authenticator(t, secret, *now))
		return err
	})
	return h, now, secret, recovery
}

func TestSecondFactor(t *testing.T) {
	h, now, secret, recovery := withFactor(t)
	prove := func(code string) error { return h.ProveFactor(t.Context(), 1, code) }
	code := authenticator(t, secret, *now)
	wants(t, "the code that set it up", prove(code), auth.ErrCode)
	*now = now.Add(30 * time.Second)
	code = authenticator(t, secret, *now)
	wants(t, "the next", prove(" "+code[:3]+" "+code[3:]), nil)
	wants(t, "the same again", prove(code), auth.ErrCode)
	h.Directory = auth.New(h.db, auth.Options{Now: func() time.Time { return *now }}) // the next process
	wants(t, "the same in another process", prove(code), auth.ErrCode)
	wants(t, "somebody without", h.ProveFactor(t.Context(), 2, "123456"), auth.ErrCode)
	wants(t, "somebody without, empty", h.ProveFactor(t.Context(), 2, ""), auth.ErrCode)
	wants(t, "nobody", h.ProveFactor(t.Context(), 9, code), auth.ErrNoAccount)
	if len(recovery) != 8 {
		t.Fatalf("%d recovery codes", len(recovery))
	}
	wants(t, "a recovery code", prove(recovery[3]), nil)
	wants(t, "the same again", prove(recovery[3]), auth.ErrCode)
	if f, err := h.SecondFactor(t.Context(), 1); err != nil || !f.On || f.Recovery != 7 || f.Since.IsZero() {
		t.Errorf("%+v, %v", f, err)
	}
	var fresh []string
	h.must(func(tx *kv.Tx) (err error) { fresh, err = h.RenewRecovery(tx, 1); return err })
	wants(t, "an old recovery code", prove(recovery[0]), auth.ErrCode)
	wants(t, "a new one", prove(fresh[0]), nil)
	if err := h.SetPassword(t.Context(), 1, "changed"); err != nil {
		t.Fatal(err)
	}
	if f, err := h.SecondFactor(t.Context(), 1); err != nil || !f.On {
		t.Errorf("after a new password: %+v, %v", f, err)
	}
	h.must(func(tx *kv.Tx) error { return h.RemoveFactor(tx, 1) })
	wants(t, "a new one after the end", prove(fresh[1]), auth.ErrCode)
	for name, verb := range map[string]func(*kv.Tx) error{
		"remove": func(tx *kv.Tx) error { return h.RemoveFactor(tx, 1) },
		"renew":  func(tx *kv.Tx) error { _, err := h.RenewRecovery(tx, 1); return err },
	} {
		wants(t, name, h.update(verb), auth.ErrInvalid)
	}
}

// TestCodesSlowed: guessing ends after a few, also many at once, and the owner still gets in by a recovery code.
func TestCodesSlowed(t *testing.T) {
	h, now, secret, recovery := withFactor(t)
	*now = now.Add(time.Hour)
	var looked atomic.Int32
	var wait sync.WaitGroup
	for range 50 {
		wait.Go(func() {
			switch err := h.ProveFactor(t.Context(), 1, "000000"); {
			case errors.Is(err, auth.ErrCode):
				looked.Add(1)
			case !errors.Is(err, auth.ErrSlowDown):
				t.Errorf("%v", err)
			}
		})
	}
	wait.Wait()
	if n := looked.Load(); n != 5 {
		t.Errorf("%d codes were looked at", n)
	}
	wants(t, "the right one", h.ProveFactor(t.Context(), 1, authenticator(t, secret, *now)), auth.ErrSlowDown)
	wants(t, "a recovery code", h.ProveFactor(t.Context(), 1, recovery[0]), nil)
	tries := 0
	for begin := *now; now.Before(begin.Add(24 * time.Hour)); *now = now.Add(10 * time.Second) {
		if errors.Is(h.ProveFactor(t.Context(), 1, "000000"), auth.ErrCode) {
			tries++
		}
	}
	if tries > 120 {
		t.Errorf("%d guesses in a day", tries)
	}
	*now = now.Add(15 * time.Minute)
	wants(t, "the right one later", h.ProveFactor(t.Context(), 1, authenticator(t, secret, *now)), nil)
}
