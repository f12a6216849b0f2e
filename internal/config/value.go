package config

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Duration is a time.Duration that is written with days too: "5d", "1h30m". It is a struct, as Address and Domain are: where go-toml
// finds a plain number or a list of plain strings it does not ask UnmarshalText.
type Duration struct{ time.Duration }

// UnmarshalText reads what MarshalText writes and what time.ParseDuration takes.
func (d *Duration) UnmarshalText(b []byte) error {
	s := string(b)
	var days time.Duration
	if n, rest, ok := strings.Cut(s, "d"); ok {
		v, err := strconv.ParseUint(n, 10, 16)
		if err != nil {
			return fmt.Errorf("%q is no duration", s)
		}
		days, s = time.Duration(v)*24*time.Hour, rest
	}
	var rest time.Duration
	if s != "" || days == 0 {
		var err error
		if rest, err = time.ParseDuration(s); err != nil {
			return fmt.Errorf("%q is no duration", b)
		}
	}
	if rest < 0 {
		return fmt.Errorf("%q is negative", b)
	}
	d.Duration = days + rest
	return nil
}

// MarshalText writes the shortest form: "5d", "1h30m", "0s".
func (d Duration) MarshalText() ([]byte, error) {
	t := d.Duration
	var out []byte
	for _, u := range []struct {
		name string
		size time.Duration
	}{{"d", 24 * time.Hour}, {"h", time.Hour}, {"m", time.Minute}} {
		if n := t / u.size; n > 0 {
			out = append(strconv.AppendInt(out, int64(n), 10), u.name...)
			t -= n * u.size
		}
	}
	if t > 0 || len(out) == 0 {
		out = append(out, t.String()...)
	}
	return out, nil
}

// Size is a number of octets, written with B, KiB, MiB, GiB or TiB.
type Size int64

// units from the largest down, so that writing finds the shortest form first.
func units() []struct {
	name string
	size Size
} {
	return []struct {
		name string
		size Size
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}
}

// ParseSize reads "50MiB", "50 MB" (the same: mail knows no decimal sizes), "50M" or "1024".
func ParseSize(s string) (Size, error) {
	text := strings.TrimSpace(s)
	digits := strings.TrimRight(text, "BKMGTIbkmgti ")
	unit := strings.ToUpper(strings.TrimSpace(text[len(digits):]))
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 {
		return 0, fmt.Errorf("%q is no size: write a number and B, KiB, MiB, GiB or TiB", s)
	}
	for _, u := range units() {
		name := strings.ToUpper(u.name)
		if unit == name || unit == name[:1] || unit == name[:1]+"B" || unit == "" && name == "B" {
			if n > int64(1<<62)/int64(u.size) {
				return 0, fmt.Errorf("%q is too big", s)
			}
			return Size(n) * u.size, nil
		}
	}
	return 0, fmt.Errorf("%q has no unit that we know: write B, KiB, MiB, GiB or TiB", s)
}

// UnmarshalText is ParseSize.
func (z *Size) UnmarshalText(b []byte) (err error) {
	*z, err = ParseSize(string(b))
	return err
}

// MarshalText writes the size with the largest unit that divides it.
func (z Size) MarshalText() ([]byte, error) {
	for _, u := range units() {
		if z >= u.size && z%u.size == 0 {
			return fmt.Appendf(nil, "%d%s", z/u.size, u.name), nil
		}
	}
	return []byte("0B"), nil
}

func (z Size) String() string {
	b, err := z.MarshalText()
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// Address is where to listen: "host:port", the host an IP address, localhost or nothing (all addresses); or "unix:" and the path of a socket.
type Address struct{ HostPort string }

// unixPrefix is what the address of a unix socket begins with.
const unixPrefix = "unix:"

// Socket is the path of a unix socket; empty: it is a TCP address.
func (a Address) Socket() string {
	path, _ := strings.CutPrefix(a.HostPort, unixPrefix)
	if path == a.HostPort {
		return ""
	}
	return path
}

// UnmarshalText takes what net.Listen needs no resolver for.
func (a *Address) UnmarshalText(b []byte) error {
	if path, ok := strings.CutPrefix(string(b), unixPrefix); ok {
		if path == "" || strings.ContainsFunc(path, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return fmt.Errorf("%q is no address to listen on: behind unix: stands the path of a socket", b)
		}
		a.HostPort = string(b)
		return nil
	}
	host, port, err := net.SplitHostPort(string(b))
	if err != nil {
		return fmt.Errorf("%q is no address to listen on", b)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil {
		return fmt.Errorf("%q is no port: write 0 to 65535", port)
	} else if host == "" {
		a.HostPort = ":" + strconv.FormatUint(n, 10)
		return nil
	}
	if host != "localhost" {
		if _, err := netip.ParseAddr(host); err != nil {
			return fmt.Errorf("%q is no IP address", host)
		}
	}
	a.HostPort = net.JoinHostPort(host, port)
	return nil
}

// MarshalText is what UnmarshalText takes.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.HostPort), nil }

// IsLoopback reports whether only this machine reaches it.
func (a Address) IsLoopback() bool {
	if a.Socket() != "" {
		return true
	}
	host, _, err := net.SplitHostPort(a.HostPort)
	if err != nil {
		return false
	}
	if host == "localhost" {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// Domain is a mail.Domain, empty where the setting may be.
type Domain struct{ mail.Domain }

// UnmarshalText takes a domain in any spelling.
func (d *Domain) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*d = Domain{}
		return nil
	}
	v, err := mail.ParseDomain(string(b))
	if err != nil {
		return fmt.Errorf("%q is no domain: %w", b, err)
	}
	d.Domain = v
	return nil
}

// MarshalText is the canonical form.
func (d Domain) MarshalText() ([]byte, error) { return []byte(d.Domain), nil }

// Mailbox is a mail.Address, the zero one where the setting is empty.
type Mailbox struct{ mail.Address }

// UnmarshalText takes local@domain.
func (m *Mailbox) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*m = Mailbox{}
		return nil
	}
	a, err := mail.ParseAddress(string(b))
	if err != nil {
		return fmt.Errorf("%q is no address: %w", b, err)
	}
	*m = Mailbox{a}
	return nil
}

// MarshalText is the address, or nothing.
func (m Mailbox) MarshalText() ([]byte, error) {
	if m.IsNull() {
		return nil, nil
	}
	return []byte(m.String()), nil
}
