package auth

import (
	"net/url"
	"testing"
	"time"
)

// TestTOTP: the vectors of RFC 6238 appendix B, which have eight digits: we show the last six.
func TestTOTP(t *testing.T) {
	secret := []byte("12345678901234567890")
	for at, want := range map[int64]int{59: 287082, 1111111109: 81804, 1111111111: 50471, 1234567890: 5924, 2000000000: 279037, 20000000000: 353130} {
		if got := totp(secret, at/totpPeriod); got != want {
			t.Errorf("at %d: %06d, want %06d", at, got, want)
		}
	}
	now := time.Unix(1111111111, 0)
	current := now.Unix() / totpPeriod
	for off, want := range map[time.Duration]bool{-31 * time.Second: true, 31 * time.Second: true, 0: true, -62 * time.Second: false, 62 * time.Second: false} {
		if step, ok := stepOf(secret, "050471", now.Add(off), 0); ok != want || ok && step != current {
			t.Errorf("%v: step %d, %v", off, step, ok)
		}
	}
	if _, ok := stepOf(secret, "050471", now, current); ok {
		t.Error("a code is taken twice")
	}
	for _, bad := range []string{"", "50471", "0504711", "05047x"} {
		if _, ok := stepOf(secret, bad, now, 0); ok {
			t.Errorf("%q is taken", bad)
		}
	}
}

func TestAuthenticator(t *testing.T) {
	secret := NewAuthenticator()
	if _, err := parseSecret(secret[:8] + " " + secret[8:]); err != nil || len(secret) != 32 || secret == NewAuthenticator() {
		t.Errorf("%q: %v", secret, err)
	}
	for _, bad := range []string{"", "A", secret + "AAAAAAAA", "!" + secret[1:]} {
		if _, err := parseSecret(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	u, err := url.Parse(AuthenticatorURI("mail.test", "zoë&x@b.test", secret))
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/mail.test:zoë&x@b.test" || u.Query().Get("secret") != secret || u.Query().Get("issuer") != "mail.test" {
		t.Errorf("%v, %v", u, err)
	}
}

// FuzzForeign: no text that is to be a hash makes the reader panic.
func FuzzForeign(f *testing.F) {
	for _, seed := range []string{"$6$rounds=5000$salt$", "$5$saltstring$5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5", "$2b$04$abcdefghijklmnopqrstuuyeG8laUfZvsCmc.AE6qIDYSPGM2efmK", "{SSHA}MQCu4ULhbjN/m8GjCqCeGAPRr2ZzYWx0c2FsdA==", "{", "$6$"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, kept string) {
		if foreign(kept) != nil && len(kept) > 512 {
			t.Errorf("%d octets are a hash", len(kept))
		}
	})
}
