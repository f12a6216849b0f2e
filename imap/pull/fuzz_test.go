package pull

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/wire"
)

// octets is a source in memory.
type octets struct{ b []byte }

func (o *octets) ReadLine(max int) ([]byte, error) {
	i := bytes.IndexByte(o.b, '\n')
	if i < 0 {
		if len(o.b) == 0 {
			return nil, io.EOF
		}
		return nil, io.ErrUnexpectedEOF
	}
	line := bytes.TrimSuffix(o.b[:i], []byte("\r"))
	o.b = o.b[i+1:]
	if len(line) > max {
		return line[len(line)-32:], wire.ErrLineTooLong
	}
	return line, nil
}

func (o *octets) CopyTo(w io.Writer, n int64) (writeErr, err error) {
	if n > int64(len(o.b)) {
		_, writeErr = w.Write(o.b)
		o.b = nil
		return writeErr, io.ErrUnexpectedEOF
	}
	_, writeErr = w.Write(o.b[:n])
	o.b = o.b[n:]
	return writeErr, nil
}

// FuzzResponses: whatever comes, reading ends, and what is kept is bounded.
func FuzzResponses(f *testing.F) {
	for _, s := range []string{
		"* 1 FETCH (UID 1 FLAGS (\\Seen) BODY[] {3}\r\nabc)\r\n",
		"* 1 FETCH (BODY[] {3}\r\nabc UID 1 FLAGS (\\Seen))\r\nP1 OK done\r\n",
		"* 1 FETCH (UID 1 BODY[] {2}\r\nabc)\r\n* 2 FETCH (UID 2)\r\n",
		"* 1 FETCH (UID 1 BODY[] NIL)\r\n",
		"* 1 FETCH (UID 1 BODY[] \"a \\\"b\\\" \\\\\")\r\n",
		"* 1 FETCH (UID 1 BODY[HEADER.FIELDS (MESSAGE-ID \"X\")] {4}\r\n\r\n\r\n INTERNALDATE \"17-Jul-1996 02:44:25 -0700\")\r\n",
		"* 1 FETCH (ENVELOPE ((((NIL NIL \"a\" NIL)))) X {1}\r\n( BINARY[] ~{3}\r\n\x00\x01\x02)\r\n",
		"* 1 FETCH UID 1\r\n", "* 1 FETCH (UID\r\n", "* 1 FETCH (UID 1))\r\n",
		"* LIST (\\HasNoChildren \\Sent) \"/\" {4}\r\nSent\r\n* LIST () NIL \"a\\\"b\"\r\n* LIST () \"/\" a]b\r\n",
		"* STATUS {2}\r\nab (MESSAGES 3 )\r\n", "* NAMESPACE ((\"\" \"/\")) NIL ((\"#shared/\" \"/\")(\"x\" NIL))\r\n",
		"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN] hi\r\n", "* NO [ALERT] x\r\n", "+ \r\n", "+\r\n", "*\r\n", "\r\n", " \r\n", "P1 OK\r\n",
		"* XTHING (((({5}\r\n((((( more\r\n", "* X {9999999999999999999}\r\n", "* X {99999999999}\r\n", "* X {5+}\r\nab\r\nc\r\n",
		"* BYE [UNAVAILABLE too busy\r\n", "* 4294967296 EXISTS\r\n", strings.Repeat("(", 5000) + "\r\n", "* A " + strings.Repeat("(", 5000) + "\r\n",
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r := reader{src: &octets{b}}
		for range len(b) + 2 {
			var got bytes.Buffer
			p, err := r.next(func(size int64) io.Writer { return &got })
			if err != nil {
				return
			}
			if int64(got.Len()) != p.bodySize && p.bodyErr == nil && p.hasBody {
				t.Fatalf("%d octets of a text of %d", got.Len(), p.bodySize)
			}
			if n := weight(p.args) + len(p.items); n > 4*len(b)+64 {
				t.Fatalf("%d values out of %d octets", n, len(b))
			}
		}
		t.Fatal("it reads for ever")
	})
}

func weight(list []value) int {
	n := len(list)
	for _, v := range list {
		n += weight(v.list)
	}
	return n
}

// TestReader: what is understood of well-formed and odd responses.
func TestReader(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"* 12 EXISTS\r\n", "* 12 EXISTS []"},
		{"* list (\\Sent)  \".\" \"INBOX.Sent\" \r\n", `* 0 LIST [[\Sent] . INBOX.Sent]`},
		{"* LIST () NIL {6}\r\nab \"cd\r\n", `* 0 LIST [[] NIL ab "cd]`},
		{"P3 NO [TryCreate] no\r\n", "P3 0 NO TRYCREATE \"\" no"},
		{"* OK [UIDNEXT 12]\r\n", `* 0 OK UIDNEXT "12" `},
		{"* OK [broken\r\n", `* 0 OK  "" [broken`},
		{"* 3 FETCH (BODY[] {4}\r\nab\r\n UID 7)\r\n", `* 3 FETCH UID=7 text "ab\r\n"`},
		{"* 3 FETCH (UID 7 RFC822 {1}\r\na)\r\n", `* 3 FETCH UID=7 text "a"`},
		{"* 3 FETCH (UID 7 BODY[] NIL)\r\n", `* 3 FETCH UID=7 no text`},
		{"* 3 FETCH (UID 7 FLAGS (\\Seen (\r\n* 4 FETCH (UID 8)\r\n", `* 3 FETCH UID=7 FLAGS=[\Seen []] mangled|* 4 FETCH UID=8`},
		{"* 3 FETCH (UID 7 BODY[] {2}\r\nabc)\r\n* 4 FETCH (UID 8)\r\n", "lost"},
		{"* A \"open {3}\r\nabc\r\n* 1 EXISTS\r\n", `* 0 A [] mangled|* 1 EXISTS []`},
		{"* A " + strings.Repeat("(", 200) + "\r\n* 1 EXISTS\r\n", "* 0 A " + deep(101) + " mangled|* 1 EXISTS []"},
	} {
		r := reader{src: &octets{[]byte(c.in)}}
		var got []string
		for {
			var text bytes.Buffer
			p, err := r.next(func(int64) io.Writer { return &text })
			if err == errLost {
				got = append(got, "lost")
			}
			if err != nil {
				break
			}
			got = append(got, shown(p, text.String()))
		}
		if s := strings.Join(got, "|"); s != c.want {
			t.Errorf("%q:\ngot  %s\nwant %s", c.in, s, c.want)
		}
	}
}

func deep(n int) string {
	return "[" + strings.Repeat("[", n) + "NIL" + strings.Repeat("]", n) + "]"
}

func shown(p *response, text string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %d %s", p.tag, p.num, p.name)
	switch {
	case p.name == "FETCH":
		for _, it := range p.items {
			fmt.Fprintf(&b, " %s=%s", it.name, written(it.value))
		}
		if p.hasBody {
			fmt.Fprintf(&b, " text %q", text)
		}
		if p.nilBody {
			b.WriteString(" no text")
		}
	case p.name == "OK" || p.name == "NO":
		fmt.Fprintf(&b, " %s %q %s", p.code, p.arg, p.text)
	default:
		fmt.Fprintf(&b, " %s", written(value{kind: list, list: p.args}))
	}
	if p.mangled {
		b.WriteString(" mangled")
	}
	return b.String()
}

func written(v value) string {
	switch v.kind {
	case none:
		return "NIL"
	case list:
		var all []string
		for _, x := range v.list {
			all = append(all, written(x))
		}
		return "[" + strings.Join(all, " ") + "]"
	}
	return v.text
}

func TestNames(t *testing.T) {
	for _, c := range []struct {
		pattern, name string
		want          bool
	}{
		{"*", "a/b", true}, {"%", "a/b", false}, {"%", "a", true}, {"a/*", "a/b/c", true}, {"a/%", "a/b/c", false}, {"a*c", "a/b/c", true},
		{"", "", true}, {"", "a", false}, {"a", "a", true}, {"%%", "ab", true}, {"*%*", "a/b", true}, {"a%b", "ab", true}, {"a%b", "a/b", false},
	} {
		if got := wildcard(c.pattern, c.name); got != c.want {
			t.Errorf("%q matches %q: %v", c.pattern, c.name, got)
		}
	}
	for _, c := range [][3]string{{"a.b", ".", "a/b"}, {"a/b.c", ".", "a_b/c"}, {"/a//b/", "/", "a/b"}, {"a\tb", "", "a_b"}, {"a/b", "", "a_b"}} {
		if got := levels(c[0], c[1]); got != c[2] {
			t.Errorf("%q with %q is %q, want %q", c[0], c[1], got, c[2])
		}
	}
}

func TestDates(t *testing.T) {
	for s, want := range map[string]string{
		"17-Jul-1996 02:44:25 -0700": "1996-07-17T09:44:25Z", " 7-Jul-1996 02:44:25 +0000": "1996-07-07T02:44:25Z",
		"7-Jul-1996 02:44:25 +0000": "1996-07-07T02:44:25Z", "07-Jul-1996 02:44:25 GMT": "1996-07-07T02:44:25Z", "": "", "yesterday": "", "01-Jan-1970 00:00:00 +0000": "",
	} {
		at, ok := parseDate(s)
		if got := at.UTC().Format("2006-01-02T15:04:05Z"); ok != (want != "") || ok && got != want {
			t.Errorf("%q is %s, %v", s, got, ok)
		}
	}
}
