package queue

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"mime"
	"mime/multipart"
	"net/textproto"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	gomessage "github.com/emersion/go-message"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

var update = flag.Bool("update", false, "write the golden files anew")

// golden compares with testdata/name, ids and marks of chance made equal.
func golden(t *testing.T, name string, got []byte) {
	t.Helper()
	for re, to := range map[string]string{`=_[0-9a-f]{32}`: "=_BOUNDARY", `\b0[0-9a-z]{12}\b`: "QUEUEID"} {
		got = regexp.MustCompile(re).ReplaceAll(got, []byte(to))
	}
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%s differs (-update writes it anew); got:\n%s", file, got)
	}
}

const sample = "Return-Path: <alice@alpha.test>\r\nReceived: from x by y;\r\n\tdate\r\nFrom: Alice <alice@alpha.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n" +
	"Message-ID: <1@alpha.test>\r\n\r\nHello\r\n.\r\n"

func sampleReport(t *testing.T, content string) *report {
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	r := &report{id: "0000000000000", of: "0000000000001", hostname: "mail.alpha.test", to: address(t, "alice@alpha.test"), date: at.Add(5 * 24 * time.Hour),
		created: at, until: at.Add(5 * 24 * time.Hour), last: at.Add(5 * 24 * time.Hour)}
	if content != "" {
		r.original.content = io.NewSectionReader(strings.NewReader(content), 0, int64(len(content)))
		r.original.readHeader()
	}
	return r
}

func to(t *testing.T, a, action string, r Result) reported {
	return reported{recipient{Recipient: mail.Recipient{Address: address(t, a)}, result: r}, action}
}

// parsed reads a report back with another program's eyes and returns its three parts.
type parsed struct {
	header textproto.MIMEHeader
	kinds  []string
	bodies []string
}

func parseReport(t *testing.T, b []byte) parsed {
	t.Helper()
	for line := range bytes.SplitSeq(b, []byte("\r\n")) {
		if len(line) > 998 || bytes.ContainsAny(line, "\r\n\x00") {
			t.Errorf("bad line %q", line)
		}
	}
	m, err := gomessage.Read(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	kind, params, err := m.Header.ContentType()
	if err != nil || kind != "multipart/report" || params["report-type"] != "delivery-status" {
		t.Fatalf("content type %q %v %v", kind, params, err)
	}
	p := parsed{header: textproto.MIMEHeader(m.Header.Map())}
	head, rest, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	_, params, err = mime.ParseMediaType(strings.ReplaceAll(string(regexp.MustCompile(`(?s)Content-Type: (.*)$`).FindSubmatch(head)[1]), "\r\n\t", " "))
	if err != nil {
		t.Fatal(err)
	}
	for mr := multipart.NewReader(bytes.NewReader(rest), params["boundary"]); ; {
		part, err := mr.NextRawPart()
		if errors.Is(err, io.EOF) {
			return p
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(part)
		if err != nil {
			t.Fatal(err)
		}
		p.kinds = append(p.kinds, part.Header.Get("Content-Type"))
		p.bodies = append(p.bodies, string(body))
	}
}

func TestReports(t *testing.T) {
	refused := Result{Verdict: Never, Code: 550, Status: "5.1.1", Text: "5.1.1 <carol@beta.test>: no such user\nhere", Remote: "mx.beta.test"}
	late := Result{Verdict: Later, Status: "4.4.1", Text: "no answer from mx.beta.test"}
	for _, c := range []struct {
		name   string
		change func(r *report)
		kinds  []string
		eight  bool
	}{
		{"failed.eml", func(r *report) {
			r.envelopeID = "QQ+314"
			r.recipients = []reported{to(t, "carol@beta.test", actionFailed, refused), to(t, `"d d"@beta.test`, actionFailed,
				Result{Verdict: Never, Status: "4.4.7", Text: "no answer from mx.beta.test"})}
			r.recipients[0].OriginalType, r.recipients[0].Original = "RFC822", "c.old@beta.test"
		}, []string{"text/plain; charset=utf-8", "message/delivery-status", "text/rfc822-headers"}, false},
		{"failed-full.eml", func(r *report) {
			r.original.full = true
			r.recipients = []reported{to(t, "carol@beta.test", actionFailed, refused)}
		}, []string{"text/plain; charset=utf-8", "message/delivery-status", "message/rfc822"}, false},
		{"delayed.eml", func(r *report) {
			r.recipients = []reported{to(t, "carol@beta.test", actionDelayed, late)}
		}, []string{"text/plain; charset=utf-8", "message/delivery-status", "text/rfc822-headers"}, false},
		{"relayed.eml", func(r *report) {
			r.recipients = []reported{to(t, "carol@beta.test", actionRelayed, Result{Verdict: Done, Code: 250, Status: "2.0.0", Text: "2.0.0 ok", Remote: "mx.beta.test"})}
		}, []string{"text/plain; charset=utf-8", "message/delivery-status", "text/rfc822-headers"}, false},
		{"failed-mixed.eml", func(r *report) {
			r.recipients = []reported{to(t, "carol@beta.test", actionFailed, refused), to(t, "dora@beta.test", actionDelayed, late),
				to(t, "eve@beta.test", actionDelivered, Result{Verdict: Done, Status: "2.1.5"})}
		}, []string{"text/plain; charset=utf-8", "message/delivery-status", "text/rfc822-headers"}, false},
		{"utf8-recipient.eml", func(r *report) { // the sender's address is ASCII: the report must be too
			r.original.global = true
			r.recipients = []reported{to(t, "jürgen@bücher.test", actionFailed, Result{Verdict: Never, Status: "5.6.7", Text: "no SMTPUTF8 für dich"})}
			r.recipients[0].OriginalType, r.recipients[0].Original = "UTF-8", "jürgen@bücher.test"
		}, []string{"text/plain; charset=utf-8", "message/delivery-status", "text/rfc822-headers"}, false},
		{"utf8-sender.eml", func(r *report) {
			r.to, r.utf8, r.original.global = address(t, "jürgen@alpha.test"), true, true
			r.original.header = []byte("Subject: Grüße\r\n")
			r.recipients = []reported{to(t, "käthe@beta.test", actionFailed, refused)}
		}, []string{"text/plain; charset=utf-8", "message/global-delivery-status", "message/global-headers"}, true},
		{"utf8-header.eml", func(r *report) { // an SMTPUTF8 message of an ASCII sender, whose host may not know that extension
			r.original.global, r.asked = true, "for;3600"
			r.original.header = []byte("Subject: Grüße\r\n")
			r.recipients = []reported{to(t, "käthe@beta.test", actionFailed, refused)}
		}, []string{"text/plain; charset=utf-8", "message/delivery-status", "message/global-headers"}, false},
		{"hostile.eml", func(r *report) {
			r.original.header = []byte("Subject: x\x01\xff\r\nMessage-ID: <a b>\r\nX: \xfc\r\n")
			r.recipients = []reported{to(t, "carol@beta.test", actionFailed, Result{Verdict: Never, Code: 554, Status: "nonsense", Remote: "mx\r\nBcc: x",
				Text: "a\r\n\r\nb\x00\x1b[31m \xff " + strings.Repeat("x", 3000)}.bounded())}
		}, []string{"text/plain; charset=utf-8", "message/delivery-status", "text/rfc822-headers"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := sampleReport(t, sample)
			c.change(r)
			r.kind = r.recipients[0].action
			var b bytes.Buffer
			eight, err := r.write(&b)
			if err != nil || eight != c.eight {
				t.Fatalf("write: %v, 8-bit %v", err, eight)
			}
			golden(t, c.name, b.Bytes())
			p := parseReport(t, b.Bytes())
			if strings.Join(p.kinds, " ") != strings.Join(c.kinds, " ") {
				t.Errorf("parts %q", p.kinds)
			}
			if p.header.Get("Auto-Submitted") != "auto-replied" || p.header.Get("To") != "<"+r.to.String()+">" || p.header.Get("Bcc") != "" {
				t.Errorf("header %v", p.header)
			}
			if n := strings.Count(p.bodies[1], "\r\nFinal-Recipient: "); n != len(r.recipients) || strings.Count(p.bodies[1], "\r\n\r\n") != n {
				t.Errorf("status part:\n%s", p.bodies[1])
			}
		})
	}
}

// A whole 8-bit message is given back as it is; one of SMTPUTF8 is encoded when the report is ASCII (RFC 6533 section 4.5).
func TestReportOn8BitMessage(t *testing.T) {
	refused := Result{Verdict: Never, Code: 550, Status: "5.1.1", Text: "no"}
	content := "Subject: x\r\n\r\nGr\xc3\xbc\xc3\x9fe\r\n"
	for _, global := range []bool{false, true} {
		r := sampleReport(t, content)
		r.kind, r.original.full, r.original.global = actionFailed, true, global
		r.recipients = []reported{to(t, "carol@beta.test", actionFailed, refused)}
		var b bytes.Buffer
		eight, err := r.write(&b)
		if err != nil || eight == global {
			t.Fatalf("global %v: 8-bit %v, %v", global, eight, err)
		}
		p := parseReport(t, b.Bytes())
		if want := map[bool]string{false: "message/rfc822", true: "message/global"}[global]; p.kinds[2] != want {
			t.Errorf("part %q", p.kinds[2])
		}
		if !global && strings.TrimSuffix(p.bodies[2], "\r\n") != content && p.bodies[2] != content {
			t.Errorf("content %q", p.bodies[2])
		}
	}
}

// A header that is larger than its bound is cut at a line.
func TestReportBoundsTheHeader(t *testing.T) {
	r := sampleReport(t, "Subject: x\r\n"+strings.Repeat("X-Filler: "+strings.Repeat("y", 60)+"\r\n", 3000)+"\r\nbody\r\n")
	if !r.original.cut || len(r.original.header) > maxHeader || !bytes.HasSuffix(r.original.header, []byte("y\r\n")) {
		t.Errorf("cut %v, %d octets", r.original.cut, len(r.original.header))
	}
}

// Whatever a sender wrote and a host answered, the report is a message that others can read.
func FuzzReport(f *testing.F) {
	f.Add([]byte(sample), "5.1.1 no such user", "mx.beta.test", "5.1.1", "carol", false)
	f.Add([]byte("Subject: x\x01\xff\nMessage-ID: <a b>\rX: \xfc\r\n"), "a\r\n\r\nb\x00\x1b[31m \xff", "mx\r\nBcc: x", "nonsense", "j\u00fcrgen", true)
	f.Add([]byte("Subject: "+strings.Repeat("x", 2000)+"\r\n\r\n"), strings.Repeat("\u00fc", 2000), "", "4.4.7", "a b\"c", true)
	f.Fuzz(func(t *testing.T, content []byte, text, remote, code, local string, utf8 bool) {
		to, err := mail.ParseAddress(mail.Address{Local: local, Domain: "beta.test"}.String())
		if err != nil {
			return // no such recipient gets into the queue
		}
		r := sampleReport(t, "")
		r.original.content = io.NewSectionReader(bytes.NewReader(content), 0, int64(len(content)))
		r.original.readHeader()
		r.utf8, r.envelopeID, r.kind = utf8, text, actionFailed
		r.recipients = []reported{{recipient{Recipient: mail.Recipient{Address: to, OriginalType: "RFC822", Original: text},
			result: Result{Verdict: Never, Code: 550, Status: code, Text: text, Remote: remote}.bounded()}, actionFailed}}
		var b bytes.Buffer
		eight, err := r.write(&b)
		if err != nil || eight && !utf8 {
			t.Fatalf("8-bit %v, %v", eight, err)
		}
		p := parseReport(t, b.Bytes())
		if len(p.kinds) != 3 || len(p.header) != 11 && len(p.header) != 9 || strings.Count(p.bodies[1], "\r\n\r\n") != 1 {
			t.Errorf("parts %q, %d fields, status:\n%.500q", p.kinds, len(p.header), p.bodies[1])
		}
	})
}

// A list is where its mail ends: success is told as "delivered" (RFC 3461 section 5.2.7.1), never as "expanded" (RFC 3464 section 2.3.3).
func TestListIsFinalDelivery(t *testing.T) {
	for h, want := range map[Handoff]string{Posted: actionDelivered, Expanded: actionExpanded, Delivered: actionDelivered, Relayed: actionRelayed} {
		r := recipient{state: owedSuccess, result: Result{Verdict: Done, Handoff: h}}
		if got := actionOf(r); got != want {
			t.Errorf("handoff %d is told as %s, want %s", h, got, want)
		}
	}
}
