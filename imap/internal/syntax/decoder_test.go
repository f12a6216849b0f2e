package syntax

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/wire"
)

// script is a Source over bytes; it counts how often it was asked to continue.
type script struct {
	rest      []byte
	continued int
	held      int64 // most octets handed out at once
	blind     bool  // long lines come without their end
}

func (s *script) ReadLine(limit int) ([]byte, error) {
	i := bytes.IndexByte(s.rest, '\n')
	if i < 0 {
		return nil, io.EOF
	}
	line := s.rest[:i]
	s.rest = s.rest[i+1:]
	line = bytes.TrimSuffix(line, []byte("\r"))
	if len(line) > limit {
		if s.blind {
			return nil, wire.ErrLineTooLong
		}
		return line[max(0, len(line)-32):], wire.ErrLineTooLong
	}
	return line, nil
}

func (s *script) CopyTo(w io.Writer, n int64) (writeErr, err error) {
	if n > int64(len(s.rest)) {
		s.rest = nil
		return nil, io.ErrUnexpectedEOF
	}
	_, writeErr = w.Write(s.rest[:n])
	s.held = max(s.held, n)
	s.rest = s.rest[n:]
	return writeErr, nil
}

func (s *script) Continue() error {
	s.continued++
	return nil
}

func limits() Limits {
	return Limits{Line: 1000, Literal: 100, Command: 5000, Skip: 10000}
}

// command makes a Decoder that stands at the arguments of a command.
func command(t testing.TB, arguments string) (*Decoder, *script) {
	t.Helper()
	s := &script{rest: []byte("a X " + arguments + "\r\n")}
	d := NewDecoder(s, limits())
	if tag, name, err := d.Next(); tag != "a" || name != "X" || err != nil {
		t.Fatalf("Next = %q, %q, %v", tag, name, err)
	}
	d.SP()
	return &d, s
}

func TestArguments(t *testing.T) {
	for _, test := range []struct {
		name, in, want string
		read           func(d *Decoder) any
	}{
		{"atom", "abc", "abc", func(d *Decoder) any { return d.Atom() }},
		{"atom ends at a bracket", "a]b", "BAD", func(d *Decoder) any { return d.Atom() }},
		{"astring takes a bracket", "a]b", "a]b", func(d *Decoder) any { return d.AString() }},
		{"astring quoted", `"a \"b\" \\c"`, `a "b" \c`, func(d *Decoder) any { return d.AString() }},
		{"wrong escape", `"a\b"`, "BAD", func(d *Decoder) any { return d.AString() }},
		{"open quote", `"abc`, "BAD", func(d *Decoder) any { return d.AString() }},
		{"empty astring", ``, "BAD", func(d *Decoder) any { return d.AString() }},
		{"NUL in quotes", "\"a\x00\"", "BAD", func(d *Decoder) any { return d.AString() }},
		{"8-bit in quotes", "\"\xe9\"", "\xe9", func(d *Decoder) any { return d.AString() }},
		{"8-bit atom", "\xe9", "BAD", func(d *Decoder) any { return d.AString() }},
		{"literal", "{3}\r\nabc", "abc", func(d *Decoder) any { return d.AString() }},
		{"literal+", "{3+}\r\na\nc", "a\nc", func(d *Decoder) any { return d.AString() }},
		{"literal8", "~{3+}\r\na\x00c", "a\x00c", func(d *Decoder) any { return d.AString() }},
		{"NUL in a literal", "{3}\r\na\x00c", "BAD", func(d *Decoder) any { return d.AString() }},
		{"empty literal", "{0}\r\n", "", func(d *Decoder) any { return d.AString() }},
		{"literal inside the line", "{3}abc", "BAD", func(d *Decoder) any { return d.AString() }},
		{"negative literal", "{-3}\r\nabc", "BAD", func(d *Decoder) any { return d.AString() }},
		{"tilde atom", "~abc", "~abc", func(d *Decoder) any { return d.AString() }},
		{"nil", "nil", "false", func(d *Decoder) any { _, ok := d.NString(); return ok }},
		{"number", "4294967295", "4294967295", func(d *Decoder) any { return d.Number() }},
		{"number too big", "4294967296", "BAD", func(d *Decoder) any { return d.Number() }},
		{"number64", "9223372036854775807", "9223372036854775807", func(d *Decoder) any { return d.Number64() }},
		{"number64 too big", "9223372036854775808", "BAD", func(d *Decoder) any { return d.Number64() }},
		{"no number", "x", "BAD", func(d *Decoder) any { return d.Number() }},
		{"empty list", "()", "[]", func(d *Decoder) any { return list(d) }},
		{"list", "(a b c)", "[a b c]", func(d *Decoder) any { return list(d) }},
		{"list with two spaces", "(a  b)", "BAD", func(d *Decoder) any { return list(d) }},
		{"open list", "(a", "BAD", func(d *Decoder) any { return list(d) }},
		{"word", "BODY.peek[]", "BODY.PEEK", func(d *Decoder) any { w := d.Word(); d.Expect('['); d.Expect(']'); return w }},
		{"flags", `(\SEEN $Fwd \answered)`, `[\Seen $Fwd \Answered]`, func(d *Decoder) any { return d.Flags() }},
		{"bare flags", `\Seen \Deleted`, `[\Seen \Deleted]`, func(d *Decoder) any { return d.Flags() }},
		{"flag wildcard", `(\*)`, "BAD", func(d *Decoder) any { return d.Flags() }},
		{"date", "1-Feb-2020", "2020-02-01", func(d *Decoder) any { return d.Date().Format(time.DateOnly) }},
		{"quoted date", `"29-feb-2020"`, "2020-02-29", func(d *Decoder) any { return d.Date().Format(time.DateOnly) }},
		{"no such day", "29-Feb-2021", "BAD", func(d *Decoder) any { return d.Date() }},
		{"month 0", "1-Foo-2021", "BAD", func(d *Decoder) any { return d.Date() }},
		{"date-time", `" 7-Jul-1996 02:44:25 -0730"`, "1996-07-07T02:44:25-07:30", func(d *Decoder) any { return d.DateTime().Format(time.RFC3339) }},
		{"hour 24", `"17-Jul-1996 24:44:25 -0700"`, "BAD", func(d *Decoder) any { return d.DateTime() }},
		{"mailbox", `"Entw&APw-rfe"`, "Entwürfe", func(d *Decoder) any { return d.Mailbox() }},
		{"mailbox in UTF-8", `"Entwürfe"`, "Entwürfe", func(d *Decoder) any { return d.Mailbox() }},
		{"lone ampersand", `"R&D"`, "NAME", func(d *Decoder) any { return d.Mailbox() }},
		{"ampersand", `"R&-D"`, "R&D", func(d *Decoder) any { return d.Mailbox() }},
		{"broken UTF-8", "\"\xff\"", "NAME", func(d *Decoder) any { return d.Mailbox() }},
		{"pattern", "foo/%", "foo/%", func(d *Decoder) any { return d.ListMailbox() }},
		{"partial", "<5.9223372036854775807>", "{5 9223372036854775807}", func(d *Decoder) any { p, _ := d.Partial(); return p }},
		{"partial of nothing", "<0.0>", "BAD", func(d *Decoder) any { p, _ := d.Partial(); return p }},
	} {
		t.Run(test.name, func(t *testing.T) {
			d, _ := command(t, test.in)
			got := fmt.Sprint(test.read(d))
			if err := d.End(); err != nil {
				got = verdict(err)
			}
			if got != test.want {
				t.Errorf("%q gives %q, want %q", test.in, got, test.want)
			}
			if err := d.Finish(); err != nil {
				t.Errorf("Finish: %v", err)
			}
		})
	}
}

func list(d *Decoder) []string {
	out := []string{}
	d.List(func() { out = append(out, d.Atom()) })
	return out
}

func verdict(err error) string {
	var e *Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	return [...]string{"BAD", "TOOBIG", "NAME"}[e.Kind]
}

// TestNothingOfALiteralIsACommand: whatever goes wrong, the next command is the one behind the literals.
func TestNothingOfALiteralIsACommand(t *testing.T) {
	inner := "evil LOGOUT\r\n"
	lit := fmt.Sprintf("{%d+}\r\n%s", len(inner), inner)
	long := fmt.Sprintf("{%d+}\r\n%s", 200, strings.Repeat(inner, 200/len(inner)+1)[:200])
	for name, in := range map[string]string{
		"wrong argument before it":   "a X ( " + lit,
		"not wanted":                 "a X " + lit + " " + lit,
		"unknown command":            "a NONSENSE " + lit + lit,
		"no command":                 "a " + lit,
		"no tag":                     " " + lit,
		"too big":                    "a X " + long,
		"too big and then one more":  "a X " + long + " " + lit,
		"literal8":                   "a X ( ~" + lit,
		"in an open quote":           "a X \"" + lit,
		"behind a long line":         "a X " + strings.Repeat("y", 2000) + " " + lit,
		"leading zeros":              "a X ( " + strings.Replace(lit, "{", "{000", 1),
		"a long line behind it":      "a X ( " + lit + strings.Repeat("y", 2000) + lit,
		"a good one, then a bad one": "a X " + lit + "( " + lit,
	} {
		t.Run(name, func(t *testing.T) {
			s := &script{rest: []byte(in + "\r\nb NEXT\r\n")}
			d := NewDecoder(s, limits())
			if _, _, err := d.Next(); err == nil {
				d.SP()
				d.AString()
				if d.End() == nil {
					t.Fatal("the command was taken")
				}
			}
			if err := d.Finish(); err != nil {
				t.Fatalf("Finish: %v", err)
			}
			if tag, name, err := d.Next(); tag != "b" || name != "NEXT" {
				t.Errorf("the next command is %q %q (%v)", tag, name, err)
			}
		})
	}
}

// TestSynchronizingLiteralIsNotAwaited: without a "+" the client sends nothing (RFC 9051 section 4.3).
func TestSynchronizingLiteralIsNotAwaited(t *testing.T) {
	s := &script{rest: []byte("a X {90000000}\r\nb NEXT\r\n")}
	d := NewDecoder(s, limits())
	d.Next()
	d.SP()
	if d.AString(); verdict(d.End()) != "TOOBIG" {
		t.Errorf("End = %v, want TOOBIG", d.Err())
	}
	if err := d.Finish(); err != nil {
		t.Fatal(err)
	}
	if tag, _, _ := d.Next(); tag != "b" || s.continued != 0 {
		t.Errorf("next tag %q after %d continuations", tag, s.continued)
	}
}

func TestLost(t *testing.T) {
	for name, in := range map[string]string{
		"longer than is worth reading": "a X ( {10001+}\r\n",
		"a number without end":         "a X ( {99999999999999999999999+}\r\n",
	} {
		d := NewDecoder(&script{rest: []byte(in)}, limits())
		d.Next()
		d.SP()
		d.Atom()
		if err := d.Finish(); !errors.Is(err, ErrLost) {
			t.Errorf("%s: Finish = %v, want ErrLost", name, err)
		}
	}
	d := NewDecoder(&script{rest: []byte(strings.Repeat("x", 2000) + "\r\n"), blind: true}, limits())
	d.Next()
	if err := d.Finish(); !errors.Is(err, ErrLost) {
		t.Errorf("a long line whose end is unknown: Finish = %v, want ErrLost", err)
	}
}

func TestNonSyncLimit(t *testing.T) {
	l := limits()
	l.NonSync = 5
	s := &script{rest: []byte("a X {6+}\r\nabcdef\r\na X {6}\r\nabcdef\r\n")}
	d := NewDecoder(s, l)
	d.Next()
	d.SP()
	if d.AString(); verdict(d.End()) != "TOOBIG" {
		t.Errorf("{6+} = %v, want TOOBIG (RFC 7888 section 5)", d.Err())
	}
	d.Finish()
	d.Next()
	d.SP()
	if got := d.AString(); got != "abcdef" || d.End() != nil || s.continued != 1 {
		t.Errorf("{6} = %q, %v, %d continuations", got, d.Err(), s.continued)
	}
}

func TestCommandBound(t *testing.T) {
	one := "{90+}\r\n" + strings.Repeat("x", 90)
	long := []byte("a X" + strings.Repeat(" "+one, 200) + "\r\nb NEXT\r\n")
	s := &script{rest: long}
	l := limits()
	l.Skip = 20_000
	d := NewDecoder(s, l)
	d.Next()
	n := 0
	for d.Err() == nil {
		d.SP()
		d.AString()
		n++
	}
	if verdict(d.Err()) != "TOOBIG" || n > 60 {
		t.Errorf("%d literals were taken, then %v", n, d.Err())
	}
	if err := d.Finish(); err != nil {
		t.Fatal(err)
	}
	if tag, _, _ := d.Next(); tag != "b" {
		t.Errorf("next tag %q", tag)
	}
	l.Skip = 10_000
	d = NewDecoder(&script{rest: long}, l)
	d.Next()
	d.Fail("refused")
	if err := d.Finish(); !errors.Is(err, ErrLost) {
		t.Errorf("%d literals together over Skip: Finish = %v, want ErrLost", 200, err)
	}
}

func TestNesting(t *testing.T) {
	var nest func(d *Decoder)
	nest = func(d *Decoder) {
		if d.Peek() == '(' {
			d.List(func() { nest(d) })
			return
		}
		d.Atom()
	}
	for _, test := range []struct {
		depth int
		good  bool
	}{{64, true}, {65, false}, {400, false}} {
		d, _ := command(t, strings.Repeat("(", test.depth)+"x"+strings.Repeat(")", test.depth))
		nest(d)
		if err := d.End(); (err == nil) != test.good {
			t.Errorf("depth %d: %v", test.depth, err)
		}
	}
}

func TestCopyLiteralReadsOnWhenTheWriterFails(t *testing.T) {
	s := &script{rest: []byte("a X {5}\r\nabcde (x)\r\n")}
	d := NewDecoder(s, limits())
	d.Next()
	d.SP()
	full := errors.New("disk full")
	if err := d.CopyLiteral(failingWriter{full}, d.Literal()); !errors.Is(err, full) {
		t.Errorf("CopyLiteral = %v", err)
	}
	d.SP()
	if got := list(&d); len(got) != 1 || d.End() != nil {
		t.Errorf("behind the literal: %v, %v", got, d.Err())
	}
}

type failingWriter struct{ err error }

func (w failingWriter) Write([]byte) (int, error) { return 0, w.err }
