package message

import (
	"bytes"
	"io"
	"strings"
	"testing"
	"testing/iotest"
	"time"
	"unicode/utf8"
)

func TestDecodeWords(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"plain", "plain"},
		{"=?utf-8?q?Gr=C3=BC=C3=9Fe?=", "Grüße"},
		{"a =?ISO-8859-1?Q?a?= b", "a a b"},
		{"=?ISO-8859-1?Q?a?= =?ISO-8859-1?Q?b?=", "ab"},
		{"=?ISO-8859-1?Q?a?=\t \t=?utf-8?B?Yg==?=", "ab"},
		{"=?ISO-8859-1?Q?a_b?=", "a b"},
		{"=?utf-8?B?w7w=?=", "ü"},
		{"=?utf-8?Q?=C3?= =?utf-8?Q?=BC?=", "ü"}, // a character split between words
		{"=?utf-8*en?q?x?=", "x"},
		{"=?x-unknown?q?=E4?=", "ä"},
		{"=?utf-8?x?a?=", "=?utf-8?x?a?="},
		{"=?utf-8?q?open", "=?utf-8?q?open"},
		{"=?=?utf-8?q?x?=", "=?x"},
		{"raw \xe4 octet", "raw ä octet"},
		{"=?iso-2022-jp?B?GyRCRnxLXBsoQg==?=", "日本"},
		{"=?gb2312?B?1tDOxA==?=", "中文"},
	} {
		got := DecodeWords(c.in)
		if got != c.want {
			t.Errorf("%q: %q, want %q", c.in, got, c.want)
		}
		if !utf8.ValidString(got) {
			t.Errorf("%q: not UTF-8", c.in)
		}
	}
	for _, s := range []string{"Grüße an alle", "ascii", "日本語の件名がとても長いので複数の語に分かれる必要がある"} {
		if got := DecodeWords(EncodeWords(s)); got != s {
			t.Errorf("%q came back as %q", s, got)
		}
	}
}

func TestTransfer(t *testing.T) {
	for _, c := range []struct{ encoding, in, want string }{
		{"BASE64", "SGVs\r\nbG8=", "Hello"},
		{"BASE64", "SGVsbG8", "Hello"},
		{"BASE64", "SGVs*bG8=SGVsbG8=", "HelloHello"},
		{"QUOTED-PRINTABLE", "a=20b=\r\nc", "a bc"},
		{"QUOTED-PRINTABLE", "trailing  \t\r\nnext= \r\nline", "trailing\r\nnextline"},
		{"QUOTED-PRINTABLE", "=zz =4 =e4=E4", "=zz =4 \xe4\xe4"},
		{"QUOTED-PRINTABLE", "=3D=", "="},
		{"QUOTED-PRINTABLE", "lf\nonly =\nx", "lf\nonly x"},
		{"8BIT", "\xff", "\xff"},
	} {
		for _, slow := range []bool{false, true} {
			var src io.Reader = strings.NewReader(c.in)
			if slow {
				src = iotest.OneByteReader(src)
			}
			r, ok := TransferReader(c.encoding, src)
			if !ok {
				t.Fatal(c.encoding)
			}
			got, err := io.ReadAll(r)
			if err != nil || string(got) != c.want {
				t.Errorf("%s %q: %q %v, want %q", c.encoding, c.in, got, err, c.want)
			}
		}
	}
	if _, ok := TransferReader("X-UUENCODE", nil); ok {
		t.Error("unknown encoding taken")
	}
}

func TestTextReader(t *testing.T) {
	raw := []byte("Content-Type: text/plain; charset=iso-8859-1\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nGr=FC=DFe\r\n")
	got, err := io.ReadAll(TextReader(bytes.NewReader(raw), scanWhole(raw).Root))
	if err != nil || string(got) != "Grüße\r\n" {
		t.Errorf("%q %v", got, err)
	}
	raw = []byte("\r\nna\xefve " + strings.Repeat("é", 5000))
	got, err = io.ReadAll(TextReader(bytes.NewReader(raw), scanWhole(raw).Root))
	if err != nil || string(got) != "naïve "+strings.Repeat("é", 5000) {
		t.Errorf("%.20q %v", got, err)
	}
}

func TestParseDate(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"Fri, 21 Nov 1997 09:55:06 -0600", "1997-11-21T09:55:06-0600"},
		{"21 Nov 97 09:55:06 GMT", "1997-11-21T09:55:06+0000"},
		{"Fri, 21 Nov 1997 09(comment):   55  :  06 EST", "1997-11-21T09:55:06-0500"},
		{"1 Jan 2020", "2020-01-01T00:00:00+0000"},
		{"Mon,02 Nov 2026 1:2:3 +0130 (X)", "2026-11-02T01:02:03+0130"},
		{"2026-11-02T10:00:00.123+02:00", "2026-11-02T10:00:00+0200"},
		{"2026-11-02 10:00:00Z", "2026-11-02T10:00:00+0000"},
		{"Tue, 3 November 2026 10:00 PST", "2026-11-03T10:00:00-0800"},
		{"31 Dec 1998 23:59:60 +0000", "1998-12-31T23:59:59+0000"},
		{"", ""}, {"yesterday", ""}, {"32 Jan 2020", ""}, {"30 Feb 2020", ""}, {"1 Foo 2020", ""}, {"1 Jan 2020 25:00", ""},
	} {
		got, ok := ParseDate(c.in)
		if ok != (c.want != "") || ok && got.Format("2006-01-02T15:04:05-0700") != c.want {
			t.Errorf("%q: %v %v, want %q", c.in, got, ok, c.want)
		}
	}
	now := time.Date(2026, 11, 2, 3, 4, 5, 0, time.FixedZone("", -5400))
	if got, ok := ParseDate(FormatDate(now)); !ok || !got.Equal(now) {
		t.Errorf("%s", FormatDate(now))
	}
}

func FuzzDecode(f *testing.F) {
	f.Add("=?utf-8?q?x?= =?utf-8?b?w7w=?=")
	f.Add("=41=\r\n \t=zz")
	f.Add("Fri, 21 Nov 1997 09:55:06 -0600")
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(DecodeWords(s)) {
			t.Fatal("not UTF-8")
		}
		ParseDate(s)
		for _, a := range ParseAddresses(s) {
			if strings.ContainsAny(a.Name+a.Mailbox+a.Host, "\r\n\x00") {
				t.Fatalf("%q", a)
			}
		}
		for _, e := range []string{"BASE64", "QUOTED-PRINTABLE"} {
			whole, _ := TransferReader(e, strings.NewReader(s))
			pieces, _ := TransferReader(e, iotest.OneByteReader(strings.NewReader(s)))
			a, _ := io.ReadAll(whole)
			b, _ := io.ReadAll(pieces)
			if !bytes.Equal(a, b) {
				t.Fatalf("%s: %q and %q", e, a, b)
			}
		}
	})
}

func TestFieldFilter(t *testing.T) {
	header := "From: a\r\nSubject : one\r\n two\r\nX-Odd\r\nsubject: again\r\nTo:b\r\n\r\n"
	for _, c := range []struct {
		filter FieldFilter
		header string
		want   string
	}{
		{FieldFilter{Names: []string{"SUBJECT"}}, header, "Subject : one\r\n two\r\nsubject: again\r\n\r\n"},
		{FieldFilter{Names: []string{"subject"}, Not: true}, header, "From: a\r\nX-Odd\r\nTo:b\r\n\r\n"},
		{FieldFilter{Names: []string{"none"}}, header, "\r\n"},
		{FieldFilter{Names: []string{"to"}}, "To: x", "To: x"},
		{FieldFilter{Names: []string{"to"}}, "To: x\n y\nCc: z\n\nTo: body", "To: x\n y\n\n"},
		{FieldFilter{Names: []string{"to"}, Not: true}, " lead\r\nTo: x\r\n", " lead\r\n"},
		{FieldFilter{Names: []string{"x"}}, "X: " + strings.Repeat("y", 70_000) + "\r\nY: z\r\n\r\n", "X: " + strings.Repeat("y", 70_000) + "\r\n\r\n"},
	} {
		if got := c.filter.Append(nil, []byte(c.header)); string(got) != c.want {
			t.Errorf("Append %v: %q", c.filter, got)
		}
		var b bytes.Buffer
		if err := c.filter.Copy(&b, iotest.HalfReader(strings.NewReader(c.header))); err != nil || b.String() != c.want {
			t.Errorf("Copy %v: %.60q %v", c.filter, b.String(), err)
		}
	}
	if got := DecodeWords(HeaderValue([]byte("A: b\r\nSubject:\r\n =?utf-8?q?=C3=BC?=\r\n\tx\r\n"), "SUBJECT")); got != "ü x" {
		t.Errorf("%q", got)
	}
}
