package queue

import (
	"encoding/base64"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// writeStatus writes the machine's part (RFC 3464 section 2, RFC 6533 section 4.1).
func (r *report) writeStatus(m *lines) {
	if r.utf8 {
		m.line("Content-Type: message/global-delivery-status")
	} else {
		m.line("Content-Type: message/delivery-status")
	}
	m.line("Content-Description: Delivery report")
	if r.utf8 {
		m.line("Content-Transfer-Encoding: 8bit")
	}
	m.line("")
	if r.envelopeID != "" {
		m.line(fold("Original-Envelope-Id: " + r.text(r.envelopeID)))
	}
	m.line("Reporting-MTA: dns; " + r.hostname)
	if r.asked != "" {
		m.line("Future-Release-Request: " + r.text(r.asked)) // RFC 4865 section 6
	}
	m.line("Arrival-Date: " + r.created.Format(time.RFC1123Z))
	for _, to := range r.recipients {
		m.line("")
		r.writeRecipient(m, to)
	}
}

func (r *report) writeRecipient(m *lines, to reported) {
	if to.OriginalType != "" {
		m.line(fold("Original-Recipient: " + to.OriginalType + ";" + r.typed(to.OriginalType, to.Original)))
	}
	kind := "rfc822"
	if !to.Address.IsASCII() {
		kind = "utf-8"
	}
	m.line(fold("Final-Recipient: " + kind + ";" + r.typed(kind, to.Address.String())))
	m.line("Action: " + to.action)
	m.line("Status: " + status(to.result))
	if to.result.Remote != "" {
		m.line(fold("Remote-MTA: dns; " + r.text(to.result.Remote)))
	}
	if to.result.Code != 0 {
		m.line(fold("Diagnostic-Code: smtp; " + strconv.Itoa(to.result.Code) + " " + r.text(oneLine(to.result.Text))))
	} else if to.result.Text != "" {
		m.line(fold("Diagnostic-Code: X-Posthouse; " + r.text(oneLine(to.result.Text))))
	}
	if r.last.UnixMilli() > 0 {
		m.line("Last-Attempt-Date: " + r.last.Format(time.RFC1123Z))
	}
	m.line("Final-Log-ID: " + r.of)
	if to.action == actionDelayed {
		m.line("Will-Retry-Until: " + r.until.Format(time.RFC1123Z))
	}
}

// status is the enhanced code of a result; one that came without gets the general one of its class.
func status(r Result) string {
	class := map[Verdict]string{Done: "2", Later: "4", Never: "5"}[r.Verdict]
	if validStatus(r.Status) {
		return r.Status
	}
	return class + ".0.0"
}

// validStatus checks the form of RFC 3463 section 2.
func validStatus(s string) bool {
	part := strings.Split(s, ".")
	if len(part) != 3 || part[0] != "2" && part[0] != "4" && part[0] != "5" {
		return false
	}
	for _, p := range part[1:] {
		if n, err := strconv.Atoi(p); err != nil || n < 0 || len(p) > 3 {
			return false
		}
	}
	return true
}

// typed prints an address of a DSN field. A utf-8 address in an ASCII report takes the form utf-8-addr-xtext (RFC 6533
// section 3): everything that is not plain ASCII as \x{HEX}.
func (r *report) typed(kind, address string) string {
	if r.utf8 || !strings.EqualFold(kind, "utf-8") {
		return r.text(address)
	}
	var b strings.Builder
	for _, c := range address {
		if c <= ' ' || c >= 0x7f || strings.ContainsRune(`+=\`, c) {
			fmt.Fprintf(&b, `\x{%X}`, c)
			continue
		}
		b.WriteRune(c)
	}
	return b.String()
}

// text makes foreign text fit for a field: no control characters, no octet over 127 unless the report travels with SMTPUTF8.
func (r *report) text(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\t':
			return ' '
		case c == utf8.RuneError, unicode.IsControl(c), c >= 0x7f && !r.utf8:
			return '?'
		}
		return c
	}, s)
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// fold breaks a field at spaces, and within words that are longer than a line may be (RFC 5322 section 2.1.1).
func fold(s string) string {
	const width, most = 78, 900
	var b strings.Builder
	col := 0
	for i, word := range strings.Split(s, " ") {
		switch {
		case i == 0:
		case col+1+len(word) > width && col > 0:
			b.WriteString("\r\n ")
			col = 1
		default:
			b.WriteByte(' ')
			col++
		}
		for len(word) > most {
			cut := most
			for cut > 0 && !utf8.RuneStart(word[cut]) {
				cut--
			}
			b.WriteString(word[:cut] + "\r\n ")
			word = word[cut:]
			col = 1
		}
		b.WriteString(word)
		col += len(word)
	}
	return b.String()
}

// base64Lines encodes into lines of 76 characters (RFC 2045 section 6.8).
type base64Lines struct {
	m    *lines
	rest []byte
}

func newBase64Lines(m *lines) *base64Lines { return &base64Lines{m: m} }

func (e *base64Lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(e.rest)+len(p) >= 57 {
		take := 57 - len(e.rest)
		e.m.line(base64.StdEncoding.EncodeToString(append(e.rest, p[:take]...)))
		e.rest, p = e.rest[:0], p[take:]
	}
	e.rest = append(e.rest, p...)
	return n, e.m.err
}

func (e *base64Lines) close() {
	if len(e.rest) > 0 {
		e.m.line(base64.StdEncoding.EncodeToString(e.rest))
	}
}

// show prints an address for people.
func show(a mail.Address) string { return a.Unicode() }
