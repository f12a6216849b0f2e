package auth_test

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// devices is a house whose logins are noted.
type devices struct {
	*house
	t    *testing.T
	side *kv.Side
	book *auth.DeviceBook
	now  time.Time
}

func newDevices(t *testing.T) *devices {
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := side.Close(); err != nil {
			t.Error(err)
		}
	})
	d := &devices{t: t, side: side, book: auth.NewDeviceBook(side), now: time.Date(2026, 11, 22, 9, 0, 0, 0, time.UTC)}
	d.house = newHouse(t, auth.Options{Devices: d.book, Now: func() time.Time { return d.now }})
	d.people("secret")
	return d
}

func (d *devices) client(door auth.Door, remote, name string) auth.Client {
	c := over(door, remote)
	c.Name = name
	return c
}

// try logs alice in, after a while.
func (d *devices) try(after time.Duration, door auth.Door, remote, name, password string) auth.Identity {
	d.t.Helper()
	d.now = d.now.Add(after)
	id, err := d.Login(d.t.Context(), d.client(door, remote, name), "alice@alpha.test", password)
	if err != nil && !errors.Is(err, auth.ErrCredentials) && !errors.Is(err, auth.ErrDoorClosed) {
		d.t.Fatal(err)
	}
	return id
}

// want compares the rows: door app name from seen-at failed-why failures.
func (d *devices) want(rows ...string) {
	d.t.Helper()
	if err := d.side.Flush(d.t.Context()); err != nil {
		d.t.Fatal(err)
	}
	all, err := d.book.Devices(d.t.Context(), 1)
	if err != nil {
		d.t.Fatal(err)
	}
	var got []string
	for _, x := range all {
		seen := "never"
		if !x.Seen.IsZero() {
			seen = x.From.String() + " " + d.now.Sub(x.Seen).String()
		}
		line := fmt.Sprintf("%s %d %q %s", x.Door, x.App, x.Name, seen)
		if !x.Failed.IsZero() {
			line += fmt.Sprintf(" failed %s %s %d", x.FailedFrom, x.FailedWhy, x.Failures)
		}
		got = append(got, line)
	}
	if strings.Join(got, "\n") != strings.Join(rows, "\n") {
		d.t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(rows, "\n"))
	}
}

// TestDevices: a row for each device, whatever it does.
func TestDevices(t *testing.T) {
	d := newDevices(t)
	d.try(0, auth.DoorSubmission, "192.0.2.1", "laptop.lan", "secret")
	d.want(`submission 0 "laptop.lan" 192.0.2.1 0s`)
	d.try(5*time.Minute, auth.DoorSubmission, "192.0.2.1", "laptop.lan", "secret") // nothing new: not written
	d.want(`submission 0 "laptop.lan" 192.0.2.1 5m0s`)
	d.try(6*time.Minute, auth.DoorSubmission, "198.51.100.1", "laptop.lan", "secret") // on the road
	d.want(`submission 0 "laptop.lan" 198.51.100.1 0s`)
	// Its password is another one now, and it tries on.
	for range 3 {
		d.try(61*time.Second, auth.DoorSubmission, "198.51.100.1", "laptop.lan", "wrong")
	}
	d.want(`submission 0 "laptop.lan" 198.51.100.1 3m3s failed 198.51.100.1 password 3`)
	// Somebody elsewhere is no device.
	d.try(time.Second, auth.DoorSubmission, "203.0.113.9", "laptop.lan", "wrong")
	d.want(`submission 0 "laptop.lan" never failed 203.0.113.9 password 1`,
		`submission 0 "laptop.lan" 198.51.100.1 3m4s failed 198.51.100.1 password 3`)
	d.try(10*time.Minute, auth.DoorSubmission, "198.51.100.1", "laptop.lan", "secret")
	d.want(`submission 0 "laptop.lan" 198.51.100.1 0s failed 198.51.100.1 password 0`, `submission 0 "laptop.lan" never failed 203.0.113.9 password 1`)
}

// TestDeviceNames: what says no name is known by its network, an update makes no other device, and a name may come behind the login.
func TestDeviceNames(t *testing.T) {
	d := newDevices(t)
	d.try(0, auth.DoorSubmission, "192.0.2.1", "[10.0.0.7]", "secret")
	d.try(0, auth.DoorPOP3, "192.0.2.1", "", "secret")
	d.want(`pop3 0 "" 192.0.2.1 0s`, `submission 0 "" 192.0.2.1 0s`)
	id := d.try(time.Second, auth.DoorIMAP, "192.0.2.1", "", "secret")
	d.Named(id, d.client(auth.DoorIMAP, "192.0.2.1", "Thunderbird 128.1"))
	d.want(`imap 0 "Thunderbird 128.1" 192.0.2.1 0s`, `pop3 0 "" 192.0.2.1 1s`, `submission 0 "" 192.0.2.1 1s`)
	id = d.try(time.Hour, auth.DoorIMAP, "192.0.2.1", "", "secret")
	d.Named(id, d.client(auth.DoorIMAP, "192.0.2.1", "Thunderbird 128.2.0"))
	d.want(`imap 0 "Thunderbird 128.2.0" 192.0.2.1 0s`, `pop3 0 "" 192.0.2.1 1h0m1s`, `submission 0 "" 192.0.2.1 1h0m1s`)
	all, err := d.book.Devices(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.book.Forget(t.Context(), 1, all[1].ID); err != nil {
		t.Fatal(err)
	}
	d.want(`imap 0 "Thunderbird 128.2.0" 192.0.2.1 0s`, `submission 0 "" 192.0.2.1 1h0m1s`)
	d.try(0, auth.DoorPOP3, "192.0.2.1", "", "secret")
	d.want(`pop3 0 "" 192.0.2.1 0s`, `imap 0 "Thunderbird 128.2.0" 192.0.2.1 0s`, `submission 0 "" 192.0.2.1 1h0m1s`)
}

// TestDeviceApps: the app password is part of what a device is, and one that it may not use there is told.
func TestDeviceApps(t *testing.T) {
	d := newDevices(t)
	a, password := d.app(1, auth.AppPassword{Name: "a", Doors: auth.DoorIMAP})
	d.try(0, auth.DoorIMAP, "192.0.2.1", "phone", password)
	d.try(time.Minute, auth.DoorIMAP, "203.0.113.1", "phone", password)
	d.try(time.Minute, auth.DoorPOP3, "203.0.113.1", "", password)
	d.want(`pop3 0 "" never failed 203.0.113.1 door 1`, fmt.Sprintf(`imap %d "phone" 203.0.113.1 1m0s`, a.ID))
}

// TestSignInDevices: a browser is let in when the code has come, not before.
func TestSignInDevices(t *testing.T) {
	d := newDevices(t)
	web := d.client(auth.DoorWeb, "192.0.2.1", "Firefox on Linux")
	d.try(0, auth.DoorWeb, "192.0.2.1", "Firefox on Linux", "wrong")
	d.want(`web 0 "Firefox on Linux" never failed 192.0.2.1 password 1`)
	id := d.try(0, auth.DoorWeb, "192.0.2.1", "Firefox on Linux", "secret")
	d.want(`web 0 "Firefox on Linux" never failed 192.0.2.1 password 1`)
	d.Entered(id, web)
	d.want(`web 0 "Firefox on Linux" 192.0.2.1 0s failed 192.0.2.1 password 0`)
	if _, err := d.Confirm(t.Context(), id, netip.MustParseAddr("192.0.2.1"), "wrong"); !errors.Is(err, auth.ErrCredentials) {
		t.Fatal(err)
	}
	d.want(`web 0 "Firefox on Linux" 192.0.2.1 0s failed 192.0.2.1 password 0`)
	secret := auth.NewAuthenticator()
	d.must(func(tx *kv.Tx) error {
		_, err := d.SetFactor(tx, 1, secret, authenticator(t, secret, d.now))
		return err
	})
	id = d.try(time.Minute, auth.DoorWeb, "198.51.100.1", "Firefox on Linux", "secret")
	d.want(`web 0 "Firefox on Linux" never failed 198.51.100.1 code 1`, `web 0 "Firefox on Linux" 192.0.2.1 1m0s failed 192.0.2.1 password 0`)
	d.Entered(id, d.client(auth.DoorWeb, "198.51.100.1", "Firefox on Linux"))
	d.want(`web 0 "Firefox on Linux" 198.51.100.1 0s failed 192.0.2.1 password 0`)
}

// TestManyStrangers: guessing from everywhere pushes no device out, and does not grow.
func TestManyStrangers(t *testing.T) {
	d := newDevices(t)
	d.try(0, auth.DoorSubmission, "192.0.2.1", "laptop.lan", "secret")
	for i := range 60 {
		d.try(time.Minute, auth.DoorIMAP, fmt.Sprintf("203.0.113.%d", i+1), "", "wrong")
	}
	if err := d.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := d.book.Devices(t.Context(), 1)
	if err != nil || len(all) != 21 || all[20].Name != "laptop.lan" {
		t.Errorf("%d rows, %v", len(all), err)
	}
	d.must(func(tx *kv.Tx) error { return d.RemoveAccount(tx, 1) })
	d.want()
}

// TestDeviceWords: a stranger's name has no characters that move what stands beside it.
func TestDeviceWords(t *testing.T) {
	d := newDevices(t)
	d.try(0, auth.DoorIMAP, "192.0.2.1", "\u202eMail\x1b[2J\u2066 Ä 1.0\x00", "wrong")
	d.want(`imap 0 "Mail[2J Ä 1.0" never failed 192.0.2.1 password 1`)
}
