package smtp

import (
	"strconv"
	"strings"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// maxFuture is the longest that a HOLDFOR of nine digits can say (RFC 4865 section 3).
const maxFuture = 999_999_999 * time.Second

// future is the EHLO line: the longest time in seconds, and the latest date (RFC 4865 section 4).
func (c *conn) future() string {
	most := c.s.o.FutureRelease
	return "FUTURERELEASE " + strconv.FormatInt(int64(most/time.Second), 10) + " " + c.s.o.Now().Add(most).UTC().Format(time.RFC3339)
}

// readHoldFor takes seconds, of which none is 0 (RFC 4865 section 3).
func readHoldFor(a *mailArgs, v string, c *conn) *gosmtp.SMTPError {
	n, err := strconv.ParseInt(v, 10, 64)
	if err != nil || len(v) > 9 || v[0] < '1' || v[0] > '9' {
		return badParam("Bad value of HOLDFOR: write seconds")
	}
	return a.hold(mail.Release{At: c.s.o.Now().Add(time.Duration(n) * time.Second), Asked: "for;" + v}, c)
}

// readHoldUntil takes a date-time of RFC 3339. One that has passed holds nothing up.
func readHoldUntil(a *mailArgs, v string, c *conn) *gosmtp.SMTPError {
	at, err := time.Parse(time.RFC3339, strings.ToUpper(v))
	if err != nil {
		return badParam("Bad value of HOLDUNTIL: write a date as 2026-01-02T15:04:05Z")
	}
	return a.hold(mail.Release{At: at, Asked: "until;" + at.UTC().Format(time.RFC3339)}, c)
}

// hold takes one of the two, once, up to what EHLO said.
func (a *mailArgs) hold(r mail.Release, c *conn) *gosmtp.SMTPError {
	switch now := c.s.o.Now(); {
	case !a.release.At.IsZero():
		return badParam("HOLDFOR and HOLDUNTIL exclude each other")
	case r.At.After(now.Add(c.s.o.FutureRelease)):
		return badParam("A message is held for " + strconv.FormatInt(int64(c.s.o.FutureRelease/time.Second), 10) + " seconds at most")
	}
	a.release = r
	return nil
}
