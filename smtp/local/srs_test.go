package local

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

func forwarder(t *testing.T, secret byte, now *time.Time) *Forwarding {
	t.Helper()
	return NewForwarding([32]byte{secret}, func() time.Time { return *now })
}

func addr(t *testing.T, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// A report finds its way back, over one forwarder and over three, and only for three weeks.
func TestForwarding(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	one, two, three := forwarder(t, 1, &now), forwarder(t, 2, &now), forwarder(t, 3, &now)
	for _, from := range []string{"alice@example.org", "a+b=c@example.org", `"a b"@example.org`, "Åsa@example.org", "x@xn--bcher-kva.example"} {
		sender := one.Sender(addr(t, from), "one.test")
		if sender.Domain != "one.test" || !strings.HasPrefix(sender.Local, "SRS0=") {
			t.Fatalf("%s leaves as %s", from, sender)
		}
		if _, err := mail.ParseAddress(sender.String()); err != nil {
			t.Errorf("%s is no address: %v", sender, err)
		}
		back, ours, err := one.Original(addr(t, sender.String()))
		if err != nil || !ours || back != addr(t, from) {
			t.Errorf("%s comes back as %s, %v", sender, back, err)
		}
		folded := sender
		folded.Local = strings.ToLower(folded.Local)
		if back, _, err := one.Original(folded); err != nil || !strings.EqualFold(back.String(), from) {
			t.Errorf("%s in lower case comes back as %s, %v", sender, back, err)
		}
	}
	first := one.Sender(addr(t, "alice@example.org"), "one.test")
	second := two.Sender(first, "two.test")
	third := three.Sender(second, "three.test")
	if !strings.HasPrefix(third.Local, "SRS1=") || strings.Count(third.Local, "one.test") != 1 || strings.Contains(third.Local, "two.test") {
		t.Errorf("after three: %s", third)
	}
	if back, _, err := three.Original(third); err != nil || back != first {
		t.Errorf("from the third it goes to %s, %v; want the first", back, err)
	}
	now = now.AddDate(0, 0, srsLife)
	if _, _, err := one.Original(first); err != nil {
		t.Errorf("after %d days: %v", srsLife, err)
	}
	now = now.AddDate(0, 0, 1)
	if _, _, err := one.Original(first); !errors.Is(err, ErrForwarding) {
		t.Errorf("it works for ever: %v", err)
	}
}

// Nobody can use us to send to an address of his choice.
func TestForgedForwarding(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f := forwarder(t, 1, &now)
	good := f.Sender(addr(t, "alice@example.org"), "one.test")
	for name, local := range map[string]string{
		"another address": strings.Replace(good.Local, "alice", "mallory", 1),
		"another domain":  strings.Replace(good.Local, "example.org", "example.net", 1),
		"another day":     good.Local[:5+srsHash+1] + "AA" + good.Local[5+srsHash+3:],
		"no hash":         "SRS0==AA=example.org=alice",
		"nothing":         "SRS0=x",
		"empty pieces":    "SRS1====",
	} {
		if back, ours, err := f.Original(mail.Address{Local: local, Domain: "one.test"}); !ours || !errors.Is(err, ErrForwarding) {
			t.Errorf("%s: %s %v %v", name, back, ours, err)
		}
	}
	other := forwarder(t, 2, &now)
	if _, _, err := other.Original(good); !errors.Is(err, ErrForwarding) {
		t.Error("another house's address is taken")
	}
	for _, local := range []string{"alice", "SRS", "srs0", "SRS2=a=b=c=d", "SRS0x"} {
		if _, ours, err := f.Original(mail.Address{Local: local, Domain: "one.test"}); ours || err != nil {
			t.Errorf("%s is taken for one of forwarding: %v", local, err)
		}
	}
}

func TestForwardingLeavesAlone(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	f := forwarder(t, 1, &now)
	long := mail.Address{Local: strings.Repeat("a", 50), Domain: "example.org"}
	for _, a := range []mail.Address{{}, addr(t, "x@one.test"), long, {Local: "Postmaster"}} {
		if got := f.Sender(a, "one.test"); got != a {
			t.Errorf("%s becomes %s", a, got)
		}
	}
}

func FuzzForwarding(f *testing.F) {
	f.Add("SRS0=ABCDEFGH=AA=example.org=alice")
	f.Add("SRS1=ABCDEFGH=one.test==ABCDEFGH=AA=example.org=alice")
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	w := NewForwarding([32]byte{1}, func() time.Time { return now })
	f.Fuzz(func(t *testing.T, local string) {
		a, err := mail.ParseAddress(local + "@one.test")
		if err != nil {
			return
		}
		w.Original(a)
		a.Domain = "two.test"
		out := w.Sender(a, "one.test")
		if out == a {
			return
		}
		back, ours, err := w.Original(out)
		if _, tag := cutSRS(a.Local); tag == "" && (err != nil || !ours || back != a) {
			t.Fatalf("%q leaves as %q and comes back as %q, %v", a, out, back, err)
		}
	})
}
