package wire

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
)

// FuzzDot: however a stream is chopped, the reader gives the same; it ends at the first CRLF.CRLF and nowhere else; what it
// gives without a fault comes back from the writer octet for octet; and what the writer made of anything is read without a fault.
func FuzzDot(f *testing.F) {
	for _, s := range []string{
		"", ".\r\n", "a\r\n.\r\n", "..\r\n.\r\n", "line\r\r\n.\r\n", "x\n.\nMAIL FROM:<e@x>\r\n.\r\nQUIT\r\n",
		"\r\n.\r", ".\rZ\r\n.\r\n", "a\n.\r\nb\r\n.\n\r\n.\r\n", strings.Repeat("y", 20000) + "\r\n.\r\n",
	} {
		f.Add([]byte(s), uint64(3), int64(0), false)
		f.Add([]byte(s), uint64(77), int64(4), true)
	}
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, limit int64, fixLF bool) {
		if len(in) > 1<<16 {
			return
		}
		one := New(whole(string(in)), Options{})
		got, err := body(one.DotReader(limit, fixLF), false)
		rest, _ := io.ReadAll(one)
		two := New(chopped(string(in), seed), Options{})
		got2, err2 := body(two.DotReader(limit, fixLF), true)
		rest2, _ := io.ReadAll(two)
		if !errors.Is(err2, err) || !bytes.Equal(rest, rest2) || (err == nil && got != got2) {
			t.Fatalf("whole %q %v %q, chopped %q %v %q", got, err, rest, got2, err2, rest2)
		}
		end := bytes.Index(append([]byte("\r\n"), in...), []byte("\r\n.\r\n"))
		if (end < 0) != errors.Is(err, io.ErrUnexpectedEOF) {
			t.Fatalf("end at %d, %v", end, err)
		}
		if end >= 0 && string(rest) != string(in[end+3:]) {
			t.Fatalf("rest %q, want %q", rest, in[end+3:])
		}
		if err == nil && limit > 0 && int64(len(got)) > limit {
			t.Fatal("over the limit")
		}
		if err == nil && !fixLF {
			if coded := encode(t, got, seed); coded != string(in[:end+3]) && !bytes.Contains(in[:end+3], []byte("\n.")) && in[0] != '.' {
				t.Fatalf("%q came back as %q", in[:end+3], coded)
			}
		}
		if err == nil && (got == "" || strings.HasSuffix(got, "\r\n")) {
			again, err := body(New(whole(encode(t, got, seed)), Options{}).DotReader(0, false), false)
			if err != nil || again != got {
				t.Fatalf("%q came back as %q, %v", got, again, err)
			}
		}
		if _, err := body(New(whole(encode(t, string(in), seed)), Options{}).DotReader(0, false), false); err != nil {
			t.Fatalf("writer made %v of %q", err, in)
		}
	})
}

// encode dot-codes text, written in pieces.
func encode(t *testing.T, text string, seed uint64) string {
	t.Helper()
	s := whole("")
	c := New(s, Options{})
	w := c.DotWriter()
	for _, p := range chopped(text, seed).pieces {
		w.Write(p)
	}
	if err := errors.Join(w.Close(), c.Flush()); err != nil {
		t.Fatal(err)
	}
	return s.out.String()
}

// FuzzLines: lines are the same however the stream is chopped, never longer than the bound, and together they are the stream.
func FuzzLines(f *testing.F) {
	f.Add([]byte("EHLO x\r\nMAIL FROM:<a@b>\r\nx\ny\r\r\n"), uint64(3), 12)
	f.Add([]byte(strings.Repeat("z", 40000)+"\r\nNOOP\r\n"), uint64(39), 510)
	f.Add([]byte(strings.Repeat("z", 20000)+"\r\nNOOP\r\n"), uint64(39), 30000)
	f.Fuzz(func(t *testing.T, in []byte, seed uint64, max int) {
		if len(in) > 1<<16 || max < 0 || max > 1<<16 {
			return
		}
		one, two := New(whole(string(in)), Options{}), New(chopped(string(in), seed), Options{})
		for {
			a, err := one.ReadLine(max)
			b, err2 := two.ReadLine(max)
			if err != err2 || !bytes.Equal(a, b) || (err == nil && len(a) > max) {
				t.Fatalf("%q %v, chopped %q %v", a, err, b, err2)
			}
			if err != nil && err != ErrLineTooLong {
				return
			}
		}
	})
}

func BenchmarkDotReader(b *testing.B) {
	in := strings.Repeat(strings.Repeat("x", 74)+"\r\n", 1000) + ".\r\n"
	b.SetBytes(int64(len(in)))
	for b.Loop() {
		s := whole(in)
		c := New(s, Options{})
		c.DotReader(0, false).(io.WriterTo).WriteTo(io.Discard)
		c.Close()
	}
}

func BenchmarkDotWriter(b *testing.B) {
	in := []byte(strings.Repeat(strings.Repeat("x", 74)+"\r\n", 1000))
	b.SetBytes(int64(len(in)))
	s := whole("")
	for b.Loop() {
		s.out.Reset()
		c := New(s, Options{})
		w := c.DotWriter()
		w.Write(in)
		w.Close()
		c.Flush()
	}
}
