package syntax

import (
	"bytes"
	"errors"
	"testing"
)

// FuzzDecoder feeds a stream of commands to every method that takes arguments, in an order that the first octets choose: it
// must not panic, must end, and must not hold more than its limits.
func FuzzDecoder(f *testing.F) {
	for _, seed := range []string{
		"\x00a LOGIN {3+}\r\nabc \"x\"\r\nb NOOP\r\n",
		"\x01\x02a APPEND INBOX (\\Seen) {10}\r\n0123456789\r\n",
		"\x03x UID FETCH 1:*,3,$ (BODY.PEEK[1.2.HEADER.FIELDS (A B)]<0.10>)\r\n",
		"\x04a SEARCH ((((((((((\r\n",
		"\x05a SELECT &U,BTFw-\r\n",
		"\x06a X \"17-Jul-1996 02:44:25 -0700\"\r\n",
		"\x07a X ~{5+}\r\n\x00\x01\x02\x03\x04 {99999999999999999999+}\r\n",
		"\x08 \r\n{5+}\r\nabcde\r\n",
		"\x09a {18446744073709551616}\r\n",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		choices, stream, _ := bytes.Cut(in, []byte("a"))
		s := &script{rest: stream}
		d := NewDecoder(s, limits())
		before := len(s.rest)
		for commands := 0; ; commands++ {
			_, _, err := d.Next()
			if err == nil {
				d.SP()
				for i := 0; !d.AtEnd() && i < 50; i++ {
					argument(&d, choices, commands+i)
				}
				d.End()
			}
			if err := d.Finish(); err != nil {
				var wrong *Error
				if errors.As(err, &wrong) {
					t.Fatalf("Finish gives a syntax error: %v", err)
				}
				return
			}
			if len(s.rest) >= before {
				t.Fatal("a command took nothing of the stream")
			}
			before = len(s.rest)
		}
	})
}

func argument(d *Decoder, choices []byte, i int) {
	var choice byte
	if len(choices) > 0 {
		choice = choices[i%len(choices)]
	}
	switch choice % 14 {
	case 0:
		d.AString()
	case 1:
		d.Flags()
	case 2:
		d.Set()
	case 3:
		d.Word()
		if d.Peek() == '[' {
			d.Section()
			d.Partial()
		}
	case 4:
		d.List(func() { argument(d, choices, i+1) })
	case 5:
		d.Mailbox()
	case 6:
		d.DateTime()
	case 7:
		d.NString()
	case 8:
		d.Number64()
	case 9:
		d.Date()
	case 10:
		d.ListMailbox()
	case 11:
		d.BinarySection()
	case 12:
		d.Base64()
	case 13:
		_ = d.CopyLiteral(&bytes.Buffer{}, d.Literal())
	}
	d.TrySP()
}

// FuzzName: a name that decodes prints as it was.
func FuzzName(f *testing.F) {
	for _, seed := range []string{"INBOX", "&U,BTFw-/&ZeVnLIqe-", "a&-b", "&2DzfHg-", "&", "&Jjp-"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		name, ok := DecodeName(in)
		if !ok {
			return
		}
		if got := string(AppendName(nil, name)); got != in {
			t.Fatalf("%q is %q and prints as %q", in, name, got)
		}
	})
}

// FuzzSet: a set that parses prints as an equal one.
func FuzzSet(f *testing.F) {
	for _, seed := range []string{"1", "1:*", "*:4,5:7", "$", "4294967295", "2,4:7,9,12:*"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		set, ok := parse(in, (*Decoder).Set)
		if !ok {
			return
		}
		text := string(AppendSet(nil, set))
		again, ok := parse(text, (*Decoder).Set)
		if !ok || string(AppendSet(nil, again)) != text {
			t.Fatalf("%q prints as %q, which does not parse as the same", in, text)
		}
		set.Spans(7)
	})
}

// FuzzSection: a section that parses prints as an equal one.
func FuzzSection(f *testing.F) {
	for _, seed := range []string{"[]", "[1.2.MIME]", "[HEADER.FIELDS (a \"b c\")]", "[1.HEADER.FIELDS.NOT (x)]", "[TEXT]"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in string) {
		section, ok := parse(in, (*Decoder).Section)
		if !ok {
			return
		}
		text := string(AppendSection(nil, section))
		again, ok := parse(text, (*Decoder).Section)
		if !ok || !again.Equal(section) {
			t.Fatalf("%q prints as %q, which is %+v", in, text, again)
		}
	})
}

func parse[T any](text string, read func(d *Decoder) T) (T, bool) {
	d := NewDecoder(&script{rest: []byte("a X " + text + "\r\n")}, limits())
	d.Next()
	d.SP()
	v := read(&d)
	return v, d.End() == nil
}
