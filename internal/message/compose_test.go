package message

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestHeaderWriter(t *testing.T) {
	var h HeaderWriter
	h.Text("Subject", "Grüße\r\nBcc: victim@alpha.test")
	h.Field("X:\r\nY", "a\r\n\r\nbody")
	h.Addresses("To", Address{"Bob, the builder", "bob", "alpha.test"}, Address{"", "a b", "alpha.test"}, Address{"Jörg", "j", "beta.test"}, Address{"Plain Name", "p\"\r\nq", "x>\r\n.test"})
	h.Field("References", strings.TrimSpace(strings.Repeat("<0123456789@alpha.test> ", 8)))
	want := "Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe__Bcc:_victim@alpha.test?=\r\n" +
		"XY: a body\r\n" +
		"To: \"Bob, the builder\" <bob@alpha.test>, \"a b\"@alpha.test,\r\n" +
		" =?utf-8?q?J=C3=B6rg?= <j@beta.test>, Plain Name <\"p\\\" q\"@x.test>\r\n" +
		"References: <0123456789@alpha.test> <0123456789@alpha.test>\r\n" +
		strings.Repeat(" <0123456789@alpha.test> <0123456789@alpha.test> <0123456789@alpha.test>\r\n", 2)
	if got := string(h.Bytes()); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	if list := ParseAddresses(HeaderValue(h.Bytes(), "to")); len(list) != 4 || list[0] != (Address{"Bob, the builder", "bob", "alpha.test"}) || list[1].Mailbox != "a b" {
		t.Errorf("%q", list)
	}
}

func wrapBase64(b []byte) string {
	var out strings.Builder
	w := newBase64Writer(&out)
	w.Write(b)
	w.Close()
	return out.String()
}

func TestDowngradeCases(t *testing.T) {
	files, _ := filepath.Glob("testdata/downgrade/*.eml")
	if len(files) == 0 {
		t.Fatal("no cases")
	}
	for _, f := range files {
		raw, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		got, done := downgrade(t, raw)
		want := strings.TrimSuffix(f, ".eml") + ".want"
		out := fmt.Sprintf("%s%+v\n", got, done)
		if os.Getenv("UPDATE") != "" {
			if err := os.WriteFile(want, []byte(out), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		expected, err := os.ReadFile(want)
		if err != nil || out != string(expected) {
			t.Errorf("%s: %v\n%s", f, err, out)
		}
	}
}

// downgrade converts and checks that the content is the same.
func downgrade(t *testing.T, raw []byte) ([]byte, Downgraded) {
	t.Helper()
	before := scanWhole(raw)
	var b bytes.Buffer
	done, err := Downgrade(&b, bytes.NewReader(raw), before.Root)
	if err != nil {
		t.Fatal(err)
	}
	after := scanWhole(b.Bytes())
	if done.SevenBit() && after.Has8Bit {
		t.Fatalf("8-bit octets left: %q", b.Bytes())
	}
	checkPart(t, b.Bytes(), after.Root)
	return b.Bytes(), done
}

func TestDowngradeKeepsContent(t *testing.T) {
	bodies := []string{"Grüße\r\n", strings.Repeat("日本語", 400) + "\r\n", "a\x00b", strings.Repeat("x", 2000), "plain\r\n", "bare\nlf é", "trailing space ü \r\n"}
	for _, typ := range []string{"text/plain; charset=utf-8", "image/png"} {
		for _, body := range bodies {
			raw := []byte("From: a@alpha.test\r\nContent-Type: multipart/mixed; boundary=b\r\nContent-Transfer-Encoding: 8bit\r\n\r\npreämble\r\n--b\r\nContent-Type: " + typ +
				"\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + body + "\r\n--b--\r\n")
			out, done := downgrade(t, raw)
			if !done.SevenBit() {
				t.Fatalf("%q: %+v", body, done)
			}
			r, _ := ContentReader(bytes.NewReader(out), scanWhole(out).Root.Parts[0])
			if got, _ := io.ReadAll(r); string(got) != body {
				t.Errorf("%.40q became %.40q:\n%s", body, got, out)
			}
		}
	}
}

func FuzzDowngrade(f *testing.F) {
	files, _ := filepath.Glob("testdata/downgrade/*.eml")
	for _, name := range files {
		if raw, err := os.ReadFile(name); err == nil {
			f.Add(raw)
		}
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		if len(raw) < 32<<10 {
			downgrade(t, raw)
		}
	})
}

func TestDowngradeReadsInPieces(t *testing.T) {
	size := int64(8 << 20)
	raw := append([]byte("Content-Type: image/png\r\n\r\n"), make([]byte, size)...)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := int64(len(raw)) - size; i < int64(len(raw)); i++ {
		raw[i] = byte(rng.Uint32())
	}
	src := &spyReader{ReaderAt: bytes.NewReader(raw)}
	if _, err := Downgrade(io.Discard, src, scanWhole(raw).Root); err != nil {
		t.Fatal(err)
	}
	if src.most > 64<<10 {
		t.Errorf("read %d octets at once", src.most)
	}
}

type spyReader struct {
	io.ReaderAt
	most int
}

func (s *spyReader) ReadAt(p []byte, off int64) (int, error) {
	s.most = max(s.most, len(p))
	return s.ReaderAt.ReadAt(p, off)
}
