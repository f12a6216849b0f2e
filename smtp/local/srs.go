package local

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base32"
	"errors"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// Forwarding rewrites the envelope sender of mail that goes on to somebody outside (SRS): the next host asks SPF whether this
// house may use it, and a stranger's it may not. Reports to the new sender come back here and go on to the old one.
//
//	SRS0=hash=day=domain=local@ours           a stranger's address
//	SRS1=hash=first==hash=day=domain=local@ours   one that another forwarder (first) made already: reports go to that one
type Forwarding struct {
	key [32]byte
	now func() time.Time
}

// NewForwarding derives its key from the data folder's secret, so that addresses stay valid over restarts and restores.
func NewForwarding(secret [32]byte, now func() time.Time) *Forwarding {
	m := hmac.New(sha256.New, secret[:])
	m.Write([]byte("forwarding"))
	if now == nil {
		now = time.Now
	}
	return &Forwarding{key: [32]byte(m.Sum(nil)), now: now}
}

const (
	srsDays = 1024 // that a day is counted in
	srsLife = 21   // days for which reports find the way back: queues give up after five, twice
	srsHash = 8    // letters, 40 bits: guessing needs more tries than a house answers in that time
	srsSet  = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
)

var (
	// ErrForwarding: the address is none that we made, or it is too old.
	ErrForwarding = errors.New("local: not an address of our forwarding")
	// ErrUnproven: we made the address for mail whose sender is not proven: reports on it go to nobody.
	ErrUnproven = errors.New("local: the sender of the forwarded mail is not proven")
)

// unprovenMark goes into the hash of such an address; no domain and no day begins with it.
const unprovenMark = "?"

// Sender is the envelope sender under which mail from an address goes on from domain. <> and addresses of the domain itself stay; so
// does one that would become too long (RFC 5321 section 4.5.3.1.1 allows 64 octets): SPF may fail then, a wrong address always does.
func (f *Forwarding) Sender(from mail.Address, domain mail.Domain) mail.Address {
	return f.sender(from, domain, "")
}

// UnprovenSender is Sender for mail that may be forged: it has an address of ours too, and reports to it are not sent on.
func (f *Forwarding) UnprovenSender(from mail.Address, domain mail.Domain) mail.Address {
	return f.sender(from, domain, unprovenMark)
}

func (f *Forwarding) sender(from mail.Address, domain mail.Domain, mark string) mail.Address {
	if from.IsNull() || from.Domain == "" || from.Domain == domain || domain == "" {
		return from
	}
	var local string
	switch rest, tag := cutSRS(from.Local); tag {
	case "SRS0": // its forwarder knows the way on
		body := string(from.Domain) + "=" + rest
		local = "SRS1=" + f.hash(mark+body) + "=" + body
	case "SRS1": // the forwarder before the last stays, the last one is ours now
		_, body, ok := strings.Cut(rest[1:], "=")
		if !ok {
			return from
		}
		local = "SRS1=" + f.hash(mark+body) + "=" + body
	default:
		body := f.day(f.now()) + "=" + string(from.Domain) + "=" + from.QuotedLocal()
		local = "SRS0=" + f.hash(mark+body) + "=" + body
	}
	if len(local) > mail.MaxLocal {
		if mark == "" {
			return from
		}
		body := f.day(f.now()) + "=invalid=unproven" // nobody is asked for the way back
		local = "SRS0=" + f.hash(mark+body) + "=" + body
	}
	return mail.Address{Local: local, Domain: domain}
}

// cutSRS takes the tag off; rest begins with the separator, which may be "=", "+" or "-".
func cutSRS(local string) (rest, tag string) {
	if len(local) < 6 || !strings.ContainsRune("=+-", rune(local[4])) {
		return "", ""
	}
	if tag = strings.ToUpper(local[:4]); tag != "SRS0" && tag != "SRS1" {
		return "", ""
	}
	return local[4:], tag
}

// Original is whom a report to one of our addresses is for. ok is false for any other address; ErrForwarding for one that looks like
// ours and is not.
func (f *Forwarding) Original(to mail.Address) (from mail.Address, ok bool, err error) {
	rest, tag := cutSRS(to.Local)
	if tag == "" {
		return mail.Address{}, false, nil
	}
	hash, body, found := strings.Cut(rest[1:], "=")
	is := func(mark string) bool { return hmac.Equal([]byte(strings.ToUpper(hash)), []byte(f.hash(mark+body))) }
	switch {
	case found && is(unprovenMark):
		return mail.Address{}, true, ErrUnproven
	case !found || !is(""):
		return mail.Address{}, true, ErrForwarding
	}
	if tag == "SRS1" {
		domain, rest, found := strings.Cut(body, "=")
		d, err := mail.ParseDomain(domain)
		if !found || err != nil {
			return mail.Address{}, true, ErrForwarding
		}
		return mail.Address{Local: "SRS0" + rest, Domain: d}, true, nil
	}
	day, body, _ := strings.Cut(body, "=")
	domain, local, found := strings.Cut(body, "=")
	if !found || !f.fresh(day) {
		return mail.Address{}, true, ErrForwarding
	}
	from, err = mail.ParseAddress(local + "@" + domain)
	if err != nil {
		return mail.Address{}, true, ErrForwarding
	}
	return from, true, nil
}

// hash is 40 bits of the keyed hash of what follows it, without case: hosts on the way may change that.
func (f *Forwarding) hash(body string) string {
	m := hmac.New(sha256.New, f.key[:])
	m.Write([]byte(strings.ToLower(body)))
	return base32.NewEncoding(srsSet).WithPadding(base32.NoPadding).EncodeToString(m.Sum(nil)[:srsHash*5/8])
}

// day is a date as two letters.
func (f *Forwarding) day(t time.Time) string {
	n := int(t.Unix()/86400) % srsDays
	return string([]byte{srsSet[n>>5], srsSet[n&31]})
}

// fresh tells whether a day is at most srsLife days old.
func (f *Forwarding) fresh(day string) bool {
	now := f.now()
	for i := range srsLife + 1 {
		if strings.EqualFold(day, f.day(now.AddDate(0, 0, -i))) {
			return true
		}
	}
	return strings.EqualFold(day, f.day(now.AddDate(0, 0, 1))) // clocks
}
