package message

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// dump writes a structure with the bytes its offsets cut out, for the case files.
func dump(b *strings.Builder, raw []byte, p *Part, indent string) {
	fmt.Fprintf(b, "%s%s/%s %s header %d body %d end %d lines %d", indent, p.Type, p.Subtype, p.Encoding, p.Header, p.Body, p.End, p.Lines)
	for _, q := range p.Params {
		fmt.Fprintf(b, " %s=%q", q.Name, q.Value)
	}
	b.WriteByte('\n')
	line := func(name string, v any) {
		if !reflect.ValueOf(v).IsZero() {
			fmt.Fprintf(b, "%s  %s: %q\n", indent, name, v)
		}
	}
	line("id", p.ID)
	line("description", p.Description)
	line("md5", p.MD5)
	line("location", p.Location)
	line("disposition", p.Disposition)
	for _, q := range p.DispositionParams {
		fmt.Fprintf(b, "%s  disposition %s=%q\n", indent, q.Name, q.Value)
	}
	line("filename", paramValue(p.DispositionParams, "filename"))
	line("language", p.Language)
	if e := p.Envelope; e != nil {
		line("date", e.Date)
		line("subject", e.Subject)
		line("message-id", e.MessageID)
		line("in-reply-to", e.InReplyTo)
		for i, name := range []string{"from", "sender", "reply-to", "to", "cc", "bcc"} {
			for _, a := range *e.lists()[i] {
				fmt.Fprintf(b, "%s  %s: %q %q %q\n", indent, name, a.Name, a.Mailbox, a.Host)
			}
		}
	}
	if len(p.Parts) == 0 {
		body := raw[p.Body:p.End]
		if len(body) > 60 {
			body = append(append(body[:40:40], "..."...), body[len(body)-17:]...)
		}
		fmt.Fprintf(b, "%s  body %q\n", indent, body)
	}
	for _, c := range p.Parts {
		dump(b, raw, c, indent+"  ")
	}
}

func dumpSummary(raw []byte, s *Summary) string {
	var b strings.Builder
	dump(&b, raw, s.Root, "")
	fmt.Fprintf(&b, "size %d", s.Size)
	if !s.Date.IsZero() {
		fmt.Fprintf(&b, " date %s", s.Date.Format("2006-01-02T15:04:05-0700"))
	}
	for _, r := range s.References {
		fmt.Fprintf(&b, " ref %s", r)
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"8bit", s.Has8Bit}, {"nul", s.HasNUL}, {"barecr", s.HasBareCR}, {"barelf", s.HasBareLF}, {"long", s.LongLine}} {
		if f.set {
			b.WriteString(" " + f.name)
		}
	}
	b.WriteByte('\n')
	return b.String()
}

func scanWhole(raw []byte) *Summary {
	s := NewScanner()
	s.Write(raw)
	return s.Finish()
}

// TestCases compares testdata/*.eml with the .want beside them; UPDATE=1 writes the .want anew.
func TestCases(t *testing.T) {
	files, _ := filepath.Glob("testdata/*.eml")
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, f := range files {
		t.Run(filepath.Base(f), func(t *testing.T) {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			got := dumpSummary(raw, scanWhole(raw))
			want := strings.TrimSuffix(f, ".eml") + ".want"
			if os.Getenv("UPDATE") != "" {
				if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			expected, err := os.ReadFile(want)
			if err != nil {
				t.Fatal(err)
			}
			if got != string(expected) {
				t.Errorf("got:\n%s\nwant:\n%s", got, expected)
			}
			checkSummary(t, raw)
		})
	}
}

// checkSummary verifies what must hold for any octets.
func checkSummary(t *testing.T, raw []byte) {
	t.Helper()
	whole := scanWhole(raw)
	if whole.Size != int64(len(raw)) || whole.Root.Header != 0 || whole.Root.End != whole.Size {
		t.Fatalf("root 0..%d of %d, size %d", whole.Root.End, len(raw), whole.Size)
	}
	checkPart(t, raw, whole.Root)
	for _, n := range []int{1, 2, 3, 7, 64, 1000} {
		s := NewScanner()
		for rest := raw; len(rest) > 0; {
			k := min(n, len(rest))
			s.Write(rest[:k])
			rest = rest[k:]
		}
		if got := s.Finish(); !reflect.DeepEqual(got, whole) {
			t.Fatalf("in pieces of %d:\n%s\nwhole:\n%s", n, dumpSummary(raw, got), dumpSummary(raw, whole))
		}
	}
	stored := AppendPart(nil, whole.Root)
	back, err := ParsePart(stored)
	if err != nil || !reflect.DeepEqual(back, whole.Root) {
		t.Fatalf("stored form: %v", err)
	}
	for i := range min(len(stored), 200) {
		ParsePart(stored[:i])
	}
}

func checkPart(t *testing.T, raw []byte, p *Part) {
	t.Helper()
	if p.Header < 0 || p.Body < p.Header || p.End < p.Body || p.End > int64(len(raw)) {
		t.Fatalf("offsets %d %d %d", p.Header, p.Body, p.End)
	}
	if n := int64(bytes.Count(raw[p.Body:p.End], []byte("\n"))); n != p.Lines {
		t.Fatalf("%s/%s: %d lines, counted %d", p.Type, p.Subtype, p.Lines, n)
	}
	last := p.Body
	for _, c := range p.Parts {
		if c.Header < last || c.End > p.End {
			t.Fatalf("part %d..%d outside of %d..%d", c.Header, c.End, last, p.End)
		}
		last = c.End
		checkPart(t, raw, c)
	}
}

func FuzzScanner(f *testing.F) {
	files, _ := filepath.Glob("testdata/*.eml")
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < 64<<10 {
			checkSummary(t, raw)
		}
	})
}

func FuzzParsePart(f *testing.F) {
	f.Add(AppendPart(nil, scanWhole([]byte("Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n")).Root))
	f.Add([]byte{1, 255, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePart(b)
		if err != nil {
			return
		}
		again, err := ParsePart(AppendPart(nil, p))
		if err != nil || !reflect.DeepEqual(again, p) {
			t.Fatalf("%v", err)
		}
	})
}

func BenchmarkScanner(b *testing.B) {
	raw := benchMail(12 << 10)
	b.SetBytes(int64(len(raw)))
	b.ReportAllocs()
	for b.Loop() {
		scanWhole(raw)
	}
}

func BenchmarkStored(b *testing.B) {
	root := scanWhole(benchMail(12 << 10)).Root
	var buf []byte
	b.Run("append", func(b *testing.B) {
		for b.Loop() {
			buf = AppendPart(buf[:0], root)
		}
		b.ReportMetric(float64(len(buf)), "octets")
	})
	b.Run("parse", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if _, err := ParsePart(buf); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// benchMail is a mail of about size octets as list servers send them.
func benchMail(size int) []byte {
	var b bytes.Buffer
	for i := range 6 {
		fmt.Fprintf(&b, "Received: from host%d.example.org (host%d.example.org [192.0.2.%d])\r\n\tby mx.example.net with ESMTPS id %032d\r\n\tfor <bob@example.net>; Mon, 02 Nov 2026 10:00:0%d +0000\r\n", i, i, i, i, i)
	}
	b.WriteString("DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=s1; c=relaxed/relaxed;\r\n\tb=" + strings.Repeat("abcdefghij", 34) + "\r\n")
	b.WriteString("Date: Mon, 02 Nov 2026 10:00:00 +0100\r\nFrom: Alice Example <alice@example.org>\r\nTo: \"Bob, the builder\" <bob@example.net>, carol@example.com\r\nCc: team@example.org\r\n")
	b.WriteString("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= and more\r\nMessage-ID: <1234.5678@example.org>\r\nIn-Reply-To: <1@example.net>\r\nReferences: <0@example.net> <1@example.net>\r\nMIME-Version: 1.0\r\nContent-Type: multipart/alternative;\r\n\tboundary=\"----=_Part_1\"\r\n\r\n")
	for _, typ := range []string{"plain", "html"} {
		fmt.Fprintf(&b, "------=_Part_1\r\nContent-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n", typ)
		for end := b.Len() + size/2; b.Len() < end && b.Len() < size; {
			b.WriteString("The quick brown fox jumps over the lazy dog and wonders why lines end.\r\n")
		}
		b.WriteString("\r\n")
	}
	b.WriteString("------=_Part_1--\r\n")
	return b.Bytes()
}
