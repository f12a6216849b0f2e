package spam

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/message"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
)

// hostile are messages made to cost time or memory.
func hostile() map[string]func(n int) []byte {
	head := "From: a@b.example\nSubject: x\n"
	html := head + "Content-Type: text/html\n\n"
	many := func(s string, n int) string { return strings.Repeat(s, n/len(s)+1) }
	deep := func(n int) []byte {
		var b strings.Builder
		b.WriteString("From: a@b.example\n")
		for i := 0; b.Len() < n; i++ {
			fmt.Fprintf(&b, "Content-Type: multipart/mixed; boundary=b%d\n\n--b%d\n", i, i)
		}
		return []byte(b.String())
	}
	return map[string]func(n int) []byte{
		"one line":      func(n int) []byte { return []byte(head + "\n" + many("x", n)) },
		"one word":      func(n int) []byte { return []byte(head + "\n" + many("word", n)) },
		"no spaces":     func(n int) []byte { return []byte(head + "\n" + many("a,", n)) },
		"huge field":    func(n int) []byte { return []byte("Subject: " + many("word ", n) + "\n\n") },
		"huge from":     func(n int) []byte { return []byte("From: " + many("a <a@b.example>, ", n) + "\n\n") },
		"references":    func(n int) []byte { return []byte("References: " + many("<", n) + "\n\n") },
		"many fields":   func(n int) []byte { return []byte(many("Subject: x\n", n) + "\n") },
		"many received": func(n int) []byte { return []byte(many("Received: x\n", n) + "\n") },
		"base64": func(n int) []byte {
			return []byte(head + "Content-Transfer-Encoding: base64\n\n" + many(base64.StdEncoding.EncodeToString([]byte(strings.Repeat("word and ", 50)))+"\n", n))
		},
		"open tags":     func(n int) []byte { return []byte(html + many("<", n)) },
		"open tag":      func(n int) []byte { return []byte(html + many("<a ", n)) },
		"open quotes":   func(n int) []byte { return []byte(html + many(`<a href="`, n)) },
		"open comments": func(n int) []byte { return []byte(html + many("<!--", n)) },
		"attributes":    func(n int) []byte { return []byte(html + "<a " + many("href ", n) + ">") },
		"links":         func(n int) []byte { return []byte(html + many(`<a href="http://a.example/">b.example</a>`, n)) },
		"links in text": func(n int) []byte { return []byte(head + "\n" + many("http://a.example ", n)) },
		"almost links":  func(n int) []byte { return []byte(head + "\n" + many("://", n)) },
		"hidden":        func(n int) []byte { return []byte(html + many(`<div style="display:none">`, n)) },
		"entities":      func(n int) []byte { return []byte(html + many("&#120;", n)) },
		"open entities": func(n int) []byte { return []byte(html + many("&", n)) },
		"wallets":       func(n int) []byte { return []byte(head + "\n" + many("1", n)) },
		"parts": func(n int) []byte {
			return []byte(head + "Content-Type: multipart/mixed; boundary=b\n\n" + many("--b\nContent-Type: application/zip; name=a.zip\n\nPK\x03\x04\n", n))
		},
		"text parts": func(n int) []byte {
			return []byte(head + "Content-Type: multipart/mixed; boundary=b\n\n" + many("--b\n\nsome words of a text\n", n))
		},
		"deep": deep,
		"zip headers": func(n int) []byte {
			return []byte(head + "Content-Type: application/zip; name=a.zip\n\n" + many("PK\x03\x04", n))
		},
		"nothing": func(n int) []byte { return nil },
		"zeros":   func(n int) []byte { return make([]byte, n) },
		"mixed scripts": func(n int) []byte {
			return []byte(head + "Content-Type: text/plain; charset=utf-8\n\n" + many("pаypаl ", n))
		},
		"unknown charset": func(n int) []byte {
			return []byte(head + "Content-Type: text/plain; charset=x-" + many("y", 1000) + "\n\n" + many("\xff\xfe", n))
		},
		"utf-16": func(n int) []byte {
			return []byte(head + "Content-Type: text/plain; charset=utf-16\n\n" + many("\x00a\x00b\x00 ", n))
		},
	}
}

// TestHostile: whatever comes, a look takes little time and memory. The bounds are far above what is measured (10 ms at most), so that a
// busy machine holds them, and far below what anything that grows with the square of the size would take.
func TestHostile(t *testing.T) {
	j := judge(t, Options{})
	for name, write := range hostile() {
		t.Run(name, func(t *testing.T) {
			size := 3 << 20
			if name == "one line" || name == "base64" {
				size = 10 << 20
			}
			raw := write(size)
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			begin := time.Now()
			s := j.Begin(t.Context(), Facts{Remote: client, Hello: "x"})
			for rest := raw; len(rest) > 0; {
				n := min(len(rest), 32<<10)
				s.Write(rest[:n])
				rest = rest[n:]
			}
			f := s.Finish(mailauth.Report{})
			j.Verdict(t.Context(), f, alice)
			took := time.Since(begin)
			runtime.ReadMemStats(&after)
			if took > 5*time.Second {
				t.Errorf("took %s", took)
			}
			if got := after.TotalAlloc - before.TotalAlloc; got > 24<<20 {
				t.Errorf("allocated %d KB", got>>10)
			}
			if len(f.tokens.list) > maxTokens || len(f.links) > maxLinks+1 || len(f.files) > maxParts {
				t.Errorf("%d tokens, %d links, %d files", len(f.tokens.list), len(f.links), len(f.files))
			}
		})
	}
}

// FuzzSight: no message makes the judge panic, forget its bounds, or speak in more than one line.
func FuzzSight(f *testing.F) {
	files, err := filepath.Glob("testdata/*.eml")
	if err != nil || len(files) == 0 {
		f.Fatalf("no seeds: %v", err)
	}
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(wire(string(raw)))
	}
	for _, write := range hostile() {
		raw := write(2000)
		f.Add(raw[:min(len(raw), 2000)])
	}
	f.Add([]byte("Return-Path: <a@b.example>\r\nX-Spam-Status: Yes, tests=arc_vouched\r\nAuthentication-Results: mx.example.org; iprev=pass policy.iprev=192.0.2.1;\r\n spf=fail reason=\"x; y\" smtp.mailfrom=b.example; dkim=pass header.d=b.example;\r\n dmarc=fail header.from=b.example policy.published-domain-policy=reject\r\n" +
		"Received: from x ([192.0.2.1])\r\n\tby mx.example.org (posthouse) with ESMTP id 1;\r\n\tSun, 22 Nov 2026 12:00:00 +0000\r\nFrom: a@b.example\r\n\r\ntext\r\n"))
	j := New(Options{Hostname: "mx.example.org", Local: local, Now: func() time.Time { return today }})
	f.Fuzz(func(t *testing.T, raw []byte) {
		e, err := j.Explain(t.Context(), alice, bytes.NewReader(raw))
		if err != nil {
			t.Fatal(err)
		}
		one := look(t.Context(), j, Facts{Remote: client, Hello: string(raw[:min(len(raw), 20)])}, mailauth.Report{}, raw)
		two := look(t.Context(), j, Facts{Remote: client, Hello: string(raw[:min(len(raw), 20)])}, mailauth.Report{}, raw)
		v, w := j.Verdict(t.Context(), one, alice), j.Verdict(t.Context(), two, alice)
		if describe(v) != describe(w) || one.digest != two.digest {
			t.Errorf("judged twice:\n%s\n%s", describe(v), describe(w))
		}
		for _, s := range append(v.Signals, e.Verdict.Signals...) {
			if s.Name == "" || s.Text == "" || len(s.Text) > 600 || strings.ContainsAny(s.Text, "\r\n\x00\x1b") {
				t.Errorf("signal %q: %q", s.Name, s.Text)
			}
		}
		if len(one.Subject()) > maxSubject || strings.ContainsAny(one.Subject(), "\r\n") {
			t.Errorf("subject %q", one.Subject())
		}
	})
}

// FuzzHTML: the words of HTML are found in the time of one pass; what is text stays text.
func FuzzHTML(f *testing.F) {
	for _, s := range []string{"<p>Hi</p>", "a<b", "<!-- x", "<a href='http://x.example", "<style>a{}</style>b", `<div style="display:none">x</div>y`, "&lt;p&gt;", "</a></a>", "<a href=x<a href=y>"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		c := content{tokens: &tokens{seen: new(seenSet)}, scratch: new(scratch)}
		c.readHTML([]byte(text))
		if len(c.out) > 4*len(text)+64 {
			t.Errorf("%d octets of text out of %d", len(c.out), len(text))
		}
		if !strings.ContainsAny(text, "<&") && string(c.out) != text {
			t.Errorf("%q became %q", text, c.out)
		}
	})
}

// TestPlain: words of strangers cannot break a line or turn it around.
func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"a\r\nX-Spam-Status: No": "a X-Spam-Status: No", "\x1b[31mred": "[31mred", "\u202eevil": "evil", "bad\xffutf": "bad utf", "  a   b ": "a b",
	} {
		if got := plain(in, 100); got != want {
			t.Errorf("%q: %q", in, got)
		}
	}
	if got := plain(strings.Repeat("ä", 100), 7); got != "äää" {
		t.Errorf("%q", got)
	}
}

// TestDigestStays: a message is the same one wherever its octets end up in memory, whatever a house puts in front.
func TestDigestStays(t *testing.T) {
	raw := letter("a@example.net", "s", strings.Repeat("text\n", 5000))
	seen := map[[digestSize]byte]bool{}
	for _, front := range []string{"", "Return-Path: <x@y>\r\n", "X-Spam-Status: No\r\nReceived: from a\r\n\tby b; now\r\n", "ARC-Seal: i=1\r\nDelivered-To: x\r\n", "X-Spam: removed\r\nX-SpamProbe: too\r\n"} {
		b := append([]byte(front), raw...)
		seen[digest(b, int64(len(b)))] = true
	}
	if len(seen) != 1 {
		t.Errorf("%d digests", len(seen))
	}
	b := bytes.Replace(raw, []byte("text"), []byte("test"), 1)
	if seen[digest(b, int64(len(b)))] {
		t.Error("another message has the same digest")
	}
	for f := range message.Fields([]byte("Received-SPF: x\r\nX-Spa: y\r\nArchived-At: z\r\n")) {
		if ours(f) {
			t.Errorf("%s is no field of a house", f.Name)
		}
	}
}
