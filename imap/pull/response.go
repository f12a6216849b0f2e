package pull

import (
	"errors"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/internal/wire"
)

// Bounds of what one response may cost. Message texts are streamed and do not count.
const (
	maxLine   = 1 << 20
	maxKept   = 4 << 20 // octets of a response that are kept
	maxDepth  = 100
	maxThrown = 1 << 30 // octets of one response that are read only to be thrown away
	maxText   = 8 << 30 // octets of a message's text that are read, although the store takes 4 GiB only
	maxWords  = 300     // octets of what a server says to people
	maxArg    = 16 << 10
	perValue  = 48 // what a value costs beside its text
)

// errLost: the stream may stand inside of a text; the connection is of no use any more.
var errLost = errors.New("the server's answer cannot be followed")

// source is what a reader reads: a wire.Conn, or octets in tests.
type source interface {
	ReadLine(max int) ([]byte, error)
	CopyTo(w io.Writer, n int64) (writeErr, err error)
}

// kind is what a value is.
type kind uint8

const (
	none   kind = iota // NIL
	atom               // what stands between blanks and parentheses
	quoted             // a quoted string or a literal
	list
)

// value is one thing of a response.
type value struct {
	kind kind
	text string
	list []value
}

// response is one answer of the server (RFC 9051 section 7). What is not understood is passed over, never an error.
type response struct {
	tag  string // "*" for untagged data, "+" for a continuation
	num  uint32 // of "* 12 EXISTS"
	name string // upper case: OK, NO, BAD, BYE, PREAUTH, LIST, FETCH ...
	code string // upper case, of a status response: the word behind "["
	arg  string // what follows it up to "]"
	text string // of a status response and a continuation
	args []value

	items    []item // of a FETCH
	hasBody  bool   // the text came and was handed over
	nilBody  bool   // the server gave NIL for it
	bodyErr  error  // of who took it
	mangled  bool   // not understood to its end
	bodySize int64
}

// item is one data item of a FETCH response.
type item struct {
	name string // upper case
	value
}

// item finds a data item.
func (r *response) item(name string) (value, bool) {
	for _, it := range r.items {
		if it.name == name {
			return it.value, true
		}
	}
	return value{}, false
}

// number is a data item that is a number; 0 when it is not there or wrong.
func (r *response) number(name string) uint64 {
	v, _ := r.item(name)
	n, err := strconv.ParseUint(v.text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// reader takes responses apart. It is lenient: what a server may not say, and many do, is read as it is meant.
type reader struct {
	src  source
	line []byte // of src: valid until the next read
	pos  int
	kept int
	bad  bool // the rest of the response is not understood
	err  error
}

// next reads one response. body is asked for a writer when a message text comes; nil throws it away.
func (r *reader) next(body func(size int64) io.Writer) (*response, error) {
	r.kept, r.bad, r.err = 0, false, nil
	if r.readLine(); r.err != nil {
		return nil, r.err
	}
	out := &response{tag: "*"}
	if !r.bad {
		out.tag = r.word()
	}
	switch {
	case out.tag == "+":
		out.text = r.rest()
		return out, nil
	case out.tag == "" || r.bad:
		out.tag, r.bad = "*", true
	default:
		r.body(out, body)
	}
	out.mangled = r.bad
	if r.err == nil && r.bad {
		if out.hasBody { // what followed was no end of an item: the text was longer or shorter than it was said to be
			return nil, errLost
		}
		r.throwAway()
	}
	return out, r.err
}

// body is what follows the tag.
func (r *reader) body(out *response, body func(int64) io.Writer) {
	out.name = strings.ToUpper(r.word())
	if n, err := strconv.ParseUint(out.name, 10, 32); err == nil && out.tag == "*" {
		out.num, out.name = uint32(n), strings.ToUpper(r.word())
	}
	switch out.name {
	case "OK", "NO", "BAD", "BYE", "PREAUTH":
		r.status(out)
	case "FETCH":
		r.fetch(out, body)
	default:
		for r.skip(); r.more(); r.skip() {
			out.args = append(out.args, r.value(0))
		}
	}
}

// status takes the code and the text of a status response.
func (r *reader) status(out *response) {
	text := r.rest()
	if strings.HasPrefix(text, "[") {
		if inner, after, ok := strings.Cut(text[1:], "]"); ok {
			code, arg, _ := strings.Cut(inner, " ")
			out.code, out.arg, text = strings.ToUpper(strings.Clone(code[:min(len(code), 64)])), strings.Clone(arg[:min(len(arg), maxArg)]), after
		}
	}
	out.text = words(text)
}

// words is what a server says to people: of a length that can be kept, and without what a terminal would obey.
func words(text string) string {
	text = strings.TrimSpace(text[:min(len(text), maxWords)])
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError || unicode.IsControl(r) {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// fetch takes the data items; the message text among them goes to body.
func (r *reader) fetch(out *response, body func(int64) io.Writer) {
	r.skip()
	if !r.try('(') {
		r.bad = true
		return
	}
	for {
		r.skip()
		if !r.more() { // the line ended before the list did
			r.bad = true
			return
		}
		if r.try(')') {
			return
		}
		name := r.itemName()
		if name == "" {
			r.bad = true
			return
		}
		r.skip()
		switch name {
		case "BODY[]", "BODY[]<0>", "RFC822", "BINARY[]":
			r.message(out, body)
		default:
			out.items = append(out.items, item{name, r.value(0)})
		}
	}
}

// itemName is a word with its section, which may hold blanks and parentheses.
func (r *reader) itemName() string {
	from, depth := r.pos, 0
	for ; r.pos < len(r.line); r.pos++ {
		switch b := r.line[r.pos]; {
		case b == '[':
			depth++
		case b == ']' && depth > 0:
			depth--
		case depth == 0 && (b == ' ' || b == '(' || b == ')' || b == '"' || b == '{'):
			r.keep(perValue + r.pos - from)
			return strings.ToUpper(string(r.line[from:r.pos]))
		}
	}
	r.keep(perValue + r.pos - from)
	return strings.ToUpper(string(r.line[from:r.pos]))
}

// message hands the text of a message over. A second one in the same response is thrown away.
func (r *reader) message(out *response, body func(int64) io.Writer) {
	n, literal := r.literal()
	var w io.Writer = io.Discard
	switch {
	case literal && n > maxText:
		r.err = errLost
		return
	case literal:
		if body != nil && !out.hasBody {
			w = body(n)
		}
		out.hasBody, out.bodySize = true, n
		r.copy(out, w, n)
		return
	case r.peek() == '"':
		v := r.value(0)
		if body != nil && !out.hasBody {
			w = body(int64(len(v.text)))
		}
		out.hasBody, out.bodySize = true, int64(len(v.text))
		_, out.bodyErr = io.WriteString(w, v.text)
	default:
		v := r.value(0)
		out.nilBody = v.kind == none
		r.bad = r.bad || !out.nilBody
	}
}

// copy streams a literal and goes on with the line behind it.
func (r *reader) copy(out *response, w io.Writer, n int64) {
	writeErr, err := r.src.CopyTo(w, n)
	out.bodyErr = errors.Join(out.bodyErr, writeErr)
	if r.err = err; err == nil {
		r.readLine()
	}
}

// value takes one value, whatever it is.
func (r *reader) value(depth int) value {
	if r.bad || r.err != nil || depth > maxDepth {
		r.bad = true
		return value{}
	}
	if r.keep(perValue); r.bad { // an empty list costs, too: a server may send lists of them without end
		return value{}
	}
	if n, ok := r.literal(); ok {
		return value{kind: quoted, text: r.keepLiteral(n)}
	}
	switch r.peek() {
	case '(':
		r.pos++
		v := value{kind: list}
		for r.skip(); r.more(); r.skip() {
			if r.try(')') {
				return v
			}
			v.list = append(v.list, r.value(depth+1))
		}
		r.bad = true
		return v
	case '"':
		return value{kind: quoted, text: r.quoted()}
	case ')': // one too many
		r.bad = true
		return value{}
	}
	text := r.word()
	if strings.EqualFold(text, "NIL") {
		return value{}
	}
	return value{kind: atom, text: text}
}

// quoted takes a quoted string; a backslash before any character stands for that character.
func (r *reader) quoted() string {
	var out []byte
	for r.pos++; r.pos < len(r.line); r.pos++ {
		b := r.line[r.pos]
		if b == '"' {
			r.pos++
			r.keep(len(out))
			return string(out)
		}
		if b == '\\' && r.pos+1 < len(r.line) {
			r.pos++
			b = r.line[r.pos]
		}
		out = append(out, b)
	}
	r.bad = true
	return ""
}

// word is what stands up to the next blank or parenthesis.
func (r *reader) word() string {
	r.skip()
	from := r.pos
	for r.pos < len(r.line) && r.line[r.pos] != ' ' && r.line[r.pos] != '(' && r.line[r.pos] != ')' {
		r.pos++
	}
	if r.pos == from {
		r.bad = r.bad || r.pos < len(r.line)
		return ""
	}
	r.keep(r.pos - from)
	return string(r.line[from:r.pos])
}

// rest is what is left of the line.
func (r *reader) rest() string {
	text := strings.TrimSpace(string(r.line[r.pos:]))
	r.pos = len(r.line)
	r.keep(len(text))
	return text
}

// keep counts what is kept of a response.
func (r *reader) keep(n int) {
	if r.kept += n + 16; r.kept > maxKept {
		r.bad = true
	}
}

// skip passes over blanks: servers put too many, or one at the end.
func (r *reader) skip() {
	for r.pos < len(r.line) && (r.line[r.pos] == ' ' || r.line[r.pos] == '\t') {
		r.pos++
	}
}

func (r *reader) more() bool { return r.err == nil && !r.bad && r.pos < len(r.line) }

func (r *reader) peek() byte {
	if !r.more() {
		return 0
	}
	return r.line[r.pos]
}

func (r *reader) try(b byte) bool {
	if r.peek() != b {
		return false
	}
	r.pos++
	return true
}

// literal takes the announcement of a literal, which ends its line: {n}, {n+}, ~{n} (RFC 9051 section 4.3, RFC 3516).
func (r *reader) literal() (n int64, ok bool) {
	if !r.more() || r.line[r.pos] != '{' && r.line[r.pos] != '~' {
		return 0, false
	}
	if n, ok = announced(r.line[r.pos:]); ok {
		r.pos = len(r.line)
	}
	return n, ok
}

// announced reads the announcement that b is.
func announced(b []byte) (n int64, ok bool) {
	text := strings.TrimRight(string(b), " ")
	text = strings.TrimPrefix(text, "~")
	if !strings.HasPrefix(text, "{") || !strings.HasSuffix(text, "}") || len(text) > 24 {
		return 0, false
	}
	n, err := strconv.ParseInt(strings.TrimSuffix(text[1:len(text)-1], "+"), 10, 64)
	return n, err == nil && n >= 0
}

// keepLiteral is a literal that is kept: a name, an envelope's subject.
func (r *reader) keepLiteral(n int64) string {
	if n > int64(maxKept-r.kept) {
		r.bad = true // throwAway finds the announcement again: the line is still the one that it ends
		return ""
	}
	var b strings.Builder
	if _, err := r.src.CopyTo(&b, n); err != nil {
		r.err = err
		return ""
	}
	r.keep(int(n))
	r.readLine()
	return b.String()
}

func (r *reader) readLine() {
	line, err := r.src.ReadLine(maxLine)
	if errors.Is(err, wire.ErrLineTooLong) {
		r.bad, err = true, nil
	}
	r.line, r.pos, r.err = line, 0, err
}

// throwAway passes over the rest of a response that is not understood, with the literals that it announces.
func (r *reader) throwAway() {
	for thrown := int64(0); r.err == nil; {
		i := strings.LastIndexByte(string(r.line), '{')
		if i < 0 {
			return
		}
		n, ok := announced(r.line[i:])
		if !ok {
			return
		}
		if thrown += n; thrown > maxThrown {
			r.err = errLost
			return
		}
		if _, r.err = r.src.CopyTo(io.Discard, n); r.err == nil {
			r.readLine()
		}
	}
}
