package imap

import (
	"bytes"
	"errors"
	"io"
	"net"
	"runtime"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/posthouse-mail/posthouse/imap/internal/syntax"
	"github.com/posthouse-mail/posthouse/internal/wire"
)

// script is a client's command as the decoder reads it.
type script struct{ *bytes.Reader }

func (s script) ReadLine(int) ([]byte, error) {
	var line []byte
	for {
		b, err := s.ReadByte()
		if err != nil {
			return nil, err
		}
		if b == '\n' {
			return bytes.TrimSuffix(line, []byte("\r")), nil
		}
		line = append(line, b)
	}
}

func (s script) Discard(n int64) error {
	_, err := s.Seek(n, io.SeekCurrent)
	return err
}

func (s script) CopyTo(w io.Writer, n int64) (writeErr, err error) {
	var b bytes.Buffer
	if _, err = io.CopyN(&b, s.Reader, n); err == nil {
		_, writeErr = w.Write(b.Bytes())
	}
	return writeErr, err
}

func (s script) Continue() error { return nil }

// scripted is a connection that reads a command and can answer nothing.
func scripted(t testing.TB, command []byte) *conn {
	t.Helper()
	c := &conn{box: &mailbox{}}
	limits := syntax.Limits{Line: maxLine, Literal: maxString, Command: maxCommand, Skip: maxCommand}
	c.d = syntax.NewDecoder(script{bytes.NewReader(command)}, limits)
	if _, _, err := c.d.Next(); err != nil {
		return nil
	}
	return c
}

// TestSearchOfNobody: a search that takes long ends when its client has gone, not before.
func TestSearchOfNobody(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)
	c := &conn{s: &Server{now: func() time.Time { return now }}, w: wire.New(server, wire.Options{})}
	defer c.w.Close()
	s := searcher{c: c, look: now.Add(goneAfter)}
	later := func() error {
		now = now.Add(goneAfter)
		return s.listening()
	}
	if err := errors.Join(later(), later()); err != nil {
		t.Fatal(err)
	}
	client.Close()
	if err := c.w.WaitReadable(t.Context(), time.Minute); !errors.Is(err, io.EOF) { // the system knows
		t.Fatal(err)
	}
	if err := s.listening(); err != nil {
		t.Errorf("asked too often: %v", err)
	}
	if err := later(); runtime.GOOS == "linux" && !dead(err) {
		t.Errorf("goes on: %v", err)
	}
}

func FuzzSearchKeys(f *testing.F) {
	for _, seed := range []string{
		`a SEARCH RETURN (MIN MAX SAVE) CHARSET UTF-8 OR (FROM "x" NOT SEEN) HEADER X-Y z`,
		`a SEARCH 1:3,5 UID 7:* $ SINCE 1-Jan-2020 LARGER 3 KEYWORD $x MODSEQ "/flags/a" all 7`,
		"a SEARCH SUBJECT {3+}\r\nabc TEXT \"\xc3\xa4\"",
		`a SEARCH ((((ALL))))`, `a SEARCH NOT NOT ALL`, `a SEARCH NEW OLD RECENT UNDRAFT BEFORE "1-Feb-2020" SENTON 3-Mar-1999`,
	} {
		f.Add([]byte(seed + "\r\n"))
	}
	f.Fuzz(func(t *testing.T, command []byte) {
		c := scripted(t, command)
		if c == nil {
			return
		}
		p := searchParser{c: c}
		p.arguments()
		if c.d.End() != nil {
			return
		}
		keys := 0
		p.key.any(func(k *searchKey) bool {
			keys++
			return false
		})
		if keys > 4*maxKeys {
			t.Fatalf("%d keys", keys)
		}
		if p.result.save && !p.result.extended || len(p.key.kids) == 0 {
			t.Fatalf("%+v", p.result)
		}
		p.key.narrow(c, []syntax.Span{{First: 1, Last: 9}})
	})
}

func FuzzFinder(f *testing.F) {
	f.Add("Grüße", "GRÜSSE", 3)
	f.Add("abcabcabd", "abcabd", 1)
	f.Add("a\u0308 decomposed", "ä", 2)
	f.Fuzz(func(t *testing.T, text, needle string, n int) {
		if len(text) > 1000 || n < 1 || n > 50 {
			return
		}
		folded := foldString(needle)
		if len(folded) == 0 {
			return
		}
		text = strings.ToValidUTF8(text, "?")
		want := bytes.Contains(foldString(text), folded)
		var find finder
		find.begin(folded)
		got, err := find.addReader(iotest.HalfReader(strings.NewReader(text)))
		if err != nil || got != want {
			t.Fatalf("%q in %q: %v %v", needle, text, got, err)
		}
		long := strings.Repeat("z\n", searchPiece/2-n) + text // the text stands across the end of a piece
		find.begin(folded)
		got, _ = find.addReader(strings.NewReader(long))
		if want && !got {
			t.Fatalf("%q not found behind %d octets", needle, len(long)-len(text))
		}
	})
}

func TestIntersect(t *testing.T) {
	a := []syntax.Span{{First: 1, Last: 5}, {First: 8, Last: 8}, {First: 10, Last: 20}}
	b := []syntax.Span{{First: 4, Last: 9}, {First: 12, Last: 13}, {First: 20, Last: 30}}
	want := []syntax.Span{{First: 4, Last: 5}, {First: 8, Last: 8}, {First: 12, Last: 13}, {First: 20, Last: 20}}
	got := intersect(a, b)
	if len(got) != len(want) {
		t.Fatalf("%v", got)
	}
	for i := range got {
		if got[i] != want[i] {
			t.Fatalf("%v", got)
		}
	}
	if intersect(a, nil) != nil {
		t.Error("something of nothing")
	}
}

func TestKeysAreOrderedByCost(t *testing.T) {
	c := scripted(t, []byte("a SEARCH BODY x HEADER X-Y z SUBJECT q OR TEXT a SEEN (FROM b FLAGGED) LARGER 5\r\n"))
	p := searchParser{c: c}
	p.arguments()
	if err := c.d.End(); err != nil {
		t.Fatal(err)
	}
	var costs []searchCost
	for _, k := range p.key.kids {
		costs = append(costs, k.cost)
	}
	want := []searchCost{costRow, costRoot, costRoot, costHeader, costBody, costBody}
	if string(bytesOf(costs)) != string(bytesOf(want)) {
		t.Errorf("%v, want %v", costs, want)
	}
}

func bytesOf(costs []searchCost) []byte {
	out := make([]byte, len(costs))
	for i, c := range costs {
		out[i] = byte(c)
	}
	return out
}
