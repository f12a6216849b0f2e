package report

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/message"
)

// letter is a mail with a report in it.
type letter struct {
	from    mail.Address
	to      []mail.Address
	subject string
	id      string // Message-ID without <>; empty: the desk makes one
	date    time.Time
	extra   [][2]string // more fields
	report  string      // Content-Type; multipart/report with this report-type, else multipart/mixed
	text    string      // lines end with \n
	kind    string      // of the attachment
	file    string
	packed  []byte
}

// bytes writes the mail. A machine wrote it, and nobody answers a machine (RFC 3834 section 5).
func (l *letter) bytes() []byte {
	var names []string
	for _, a := range l.to {
		names = append(names, "<"+a.String()+">")
	}
	boundary := "report-" + l.date.UTC().Format("20060102T150405") + "-posthouse"
	var h message.HeaderWriter
	h.Field("From", "<"+l.from.String()+">")
	h.Field("To", strings.Join(names, ", "))
	h.Field("Subject", l.subject)
	h.Field("Date", message.FormatDate(l.date))
	if l.id != "" {
		h.Field("Message-ID", "<"+l.id+">")
	}
	for _, f := range l.extra {
		h.Field(f[0], f[1])
	}
	h.Field("Auto-Submitted", "auto-generated")
	h.Field("MIME-Version", "1.0")
	if l.report != "" {
		h.Field("Content-Type", `multipart/report; report-type="`+l.report+`"; boundary="`+boundary+`"`)
	} else {
		h.Field("Content-Type", `multipart/mixed; boundary="`+boundary+`"`)
	}
	var b bytes.Buffer
	b.Write(h.Bytes())
	fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: text/plain; charset=us-ascii\r\n\r\n%s", boundary, strings.ReplaceAll(l.text, "\n", "\r\n"))
	fmt.Fprintf(&b, "\r\n--%s\r\nContent-Type: %s\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: attachment;\r\n filename=\"%s\"\r\n\r\n", boundary, l.kind, l.file)
	coded := base64.StdEncoding.EncodeToString(l.packed)
	for len(coded) > 0 {
		n := min(76, len(coded))
		b.WriteString(coded[:n] + "\r\n")
		coded = coded[n:]
	}
	fmt.Fprintf(&b, "\r\n--%s--\r\n", boundary)
	return b.Bytes()
}

// codedSize is how many octets a report takes in a mail.
func codedSize(packed []byte) uint64 {
	n := base64.StdEncoding.EncodedLen(len(packed))
	return uint64(n + 2*(n/76+1))
}

// number counts in words.
func number(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
