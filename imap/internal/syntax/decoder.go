package syntax

import (
	"errors"
	"io"
	"math"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/wire"
)

// Source is where commands come from: the connection of a session, or bytes in tests.
type Source interface {
	// ReadLine is wire.Conn's: the bytes are valid until the next read.
	ReadLine(max int) ([]byte, error)
	// CopyTo is wire.Conn's: it reads n bytes even when w fails.
	CopyTo(w io.Writer, n int64) (writeErr, err error)
	// Continue tells the client to send its literal (RFC 9051 section 7.6) and flushes.
	Continue() error
}

// Decoder takes commands apart. Between Finish and Next it holds no memory.
type Decoder struct {
	Limits Limits
	UTF8   bool // mailbox names are UTF-8, not modified UTF-7 (RFC 6855 section 3, RFC 9051 section 5.1)

	src   Source
	line  []byte // current line, its bytes owned by src
	pos   int
	err   error // the first thing that was wrong
	used  int64 // octets of the command so far
	lost  int64 // octets that Finish has thrown away
	depth int
	cut   bool // line has lost its end, and with it the literal that may follow
}

// NewDecoder reads from src.
func NewDecoder(src Source, l Limits) Decoder { return Decoder{src: src, Limits: l} }

// Next reads the beginning of a command: its tag, and its name in upper case. An *Error leaves tag
// empty when there was none; the caller answers and calls Finish in every case but another error.
func (d *Decoder) Next() (tag, name string, err error) {
	d.err, d.used, d.lost, d.depth, d.cut = nil, 0, 0, 0, false
	d.nextLine()
	if d.err != nil {
		return "", "", d.err
	}
	raw := d.take(inTag)
	switch {
	case len(raw) == 0 || len(raw) > maxTag:
		d.fail(badf("a command begins with a tag"))
		return "", "", d.err
	case d.pos == len(d.line):
		d.fail(badf("a command follows the tag"))
	default:
		d.SP()
		name = d.Keyword()
	}
	return string(raw), name, d.err
}

// Finish throws away what is left of the command, literals that are on their way included (RFC 7888
// section 4: the client sends them without waiting), and lets the line go. ErrLost and errors of the source end the connection.
func (d *Decoder) Finish() error {
	defer func() { d.line, d.pos = nil, 0 }()
	var syntax *Error
	if d.err != nil && !errors.As(d.err, &syntax) {
		return d.err
	}
	for !d.cut {
		lit, _, ok := literalAtEnd(d.line)
		if !ok || !lit.NonSync {
			// A synchronizing literal is not sent before its "+" (RFC 9051 section 4.3).
			return nil
		}
		if err := d.drain(lit.Size); err != nil {
			return err
		}
		if err := d.rest(); err != nil {
			return err
		}
	}
	return ErrLost
}

// Refuse takes a line that was read in the middle of a command and is not what the command waits for, or the end of one that
// was too long: when it announces a literal, Finish throws that away.
func (d *Decoder) Refuse(line []byte) { d.line, d.pos, d.cut = line, 0, len(line) == 0 }

// rest reads the line behind a literal without a look at the command's bounds.
func (d *Decoder) rest() error {
	line, err := d.src.ReadLine(d.Limits.Line)
	if errors.Is(err, wire.ErrLineTooLong) {
		d.cut, err = len(line) == 0, nil
	}
	d.line, d.pos = line, 0
	d.lost += int64(len(line))
	return err
}

// drain throws a literal away. All of a command together are bounded: one that never ends would never be answered.
func (d *Decoder) drain(n int64) error {
	if n > d.Limits.Skip-d.lost {
		return ErrLost
	}
	d.lost += n
	_, err := d.src.CopyTo(io.Discard, n)
	return err
}

func (d *Decoder) nextLine() {
	line, err := d.src.ReadLine(d.Limits.Line)
	d.line, d.pos = line, 0
	switch {
	case errors.Is(err, wire.ErrLineTooLong):
		// The source gives the end of the long line, if it can: only it tells whether a literal follows.
		d.cut = len(line) == 0
		d.fail(badf("line of more than %d octets", d.Limits.Line))
	case err != nil:
		d.fail(err)
	default:
		d.spend(int64(len(line)))
	}
}

func (d *Decoder) spend(n int64) {
	d.used += n
	if d.used > d.Limits.Command {
		d.fail(&Error{Kind: TooBig, Text: "command too long"})
	}
}

func (d *Decoder) fail(err error) {
	if d.err == nil {
		d.err = err
	}
}

// Fail makes the command a BAD one, for rules that the grammar alone does not know.
func (d *Decoder) Fail(text string) { d.fail(&Error{Kind: Bad, Text: text}) }

// Err is the first thing that was wrong with the command so far.
func (d *Decoder) Err() error { return d.err }

// End expects the end of the command and returns the first thing that was wrong with it.
func (d *Decoder) End() error {
	if d.err == nil && d.pos != len(d.line) {
		d.fail(badf("unexpected %s", d.here()))
	}
	if d.err == nil {
		d.line, d.pos = nil, 0 // what the command reads from now on (IDLE, AUTHENTICATE) overwrites the bytes
	}
	return d.err
}

// AtEnd reports whether nothing follows.
func (d *Decoder) AtEnd() bool { return d.err != nil || d.pos == len(d.line) }

// here describes the place of an error, for the client's log.
func (d *Decoder) here() string {
	if d.pos >= len(d.line) {
		return "end of command"
	}
	rest := d.line[d.pos:min(len(d.line), d.pos+20)]
	clean := make([]byte, 0, len(rest))
	for _, b := range rest {
		if b < 0x20 || b >= 0x7f {
			b = '?'
		}
		clean = append(clean, b)
	}
	return "'" + string(clean) + "'"
}

// Peek is the next byte, 0 at the end of the line.
func (d *Decoder) Peek() byte {
	if d.err != nil || d.pos >= len(d.line) {
		return 0
	}
	return d.line[d.pos]
}

// Try takes b if it comes next.
func (d *Decoder) Try(b byte) bool {
	if d.Peek() != b {
		return false
	}
	d.pos++
	return true
}

// Expect takes b, which must come next.
func (d *Decoder) Expect(b byte) {
	if d.err == nil && !d.Try(b) {
		d.fail(badf("expected '%c' but got %s", b, d.here()))
	}
}

// SP takes exactly one space (RFC 9051 section 9).
func (d *Decoder) SP() {
	if d.err == nil && !d.Try(' ') {
		d.fail(badf("expected a space but got %s", d.here()))
	}
}

// TrySP takes a space if it comes next.
func (d *Decoder) TrySP() bool { return d.Try(' ') }

// take returns the run of bytes of a class.
func (d *Decoder) take(class uint8) []byte {
	if d.err != nil {
		return nil
	}
	from := d.pos
	for d.pos < len(d.line) && is(d.line[d.pos], class) {
		d.pos++
	}
	return d.line[from:d.pos]
}

// Atom is 1*ATOM-CHAR.
func (d *Decoder) Atom() string {
	raw := d.take(inAtom)
	if len(raw) == 0 {
		d.fail(badf("expected an atom but got %s", d.here()))
	}
	return string(raw)
}

// Keyword is an atom in upper case: names of commands, options and items.
func (d *Decoder) Keyword() string { return strings.ToUpper(d.Atom()) }

// Word is what stands up to the next space, parenthesis, bracket, brace or angle bracket, in upper case: the name of a FETCH item.
func (d *Decoder) Word() string {
	if d.err != nil {
		return ""
	}
	from := d.pos
	for d.pos < len(d.line) && is(d.line[d.pos], inAtom) && d.line[d.pos] != '[' && d.line[d.pos] != '<' {
		d.pos++
	}
	if d.pos == from {
		d.fail(badf("expected an atom but got %s", d.here()))
	}
	return strings.ToUpper(string(d.line[from:d.pos]))
}

// AString is an atom, "]" included, or a string.
func (d *Decoder) AString() string {
	if b := d.Peek(); b == '"' || b == '{' || b == '~' && d.literalNext() {
		return d.String()
	}
	raw := d.take(inAString)
	if len(raw) == 0 {
		d.fail(badf("expected a string but got %s", d.here()))
	}
	return string(raw)
}

// NString is NIL or a string; ok is false for NIL.
func (d *Decoder) NString() (s string, ok bool) {
	if b := d.Peek(); b == '"' || b == '{' || b == '~' {
		return d.String(), true
	}
	if atom := d.Atom(); d.err == nil && !strings.EqualFold(atom, "NIL") {
		d.fail(badf("expected NIL or a string but got %s", atom))
	}
	return "", false
}

// String is a quoted string or a literal, its octets as sent.
func (d *Decoder) String() string {
	if d.Peek() == '"' {
		return d.quoted()
	}
	return d.literalString()
}

func (d *Decoder) quoted() string {
	d.pos++
	from, escaped := d.pos, false
	for d.pos < len(d.line) {
		switch b := d.line[d.pos]; {
		case b == '"':
			raw := d.line[from:d.pos]
			d.pos++
			if escaped {
				return unescape(raw)
			}
			return string(raw)
		case b == '\\':
			// Only quoted-specials may be escaped.
			if d.pos+1 >= len(d.line) || d.line[d.pos+1] != '"' && d.line[d.pos+1] != '\\' {
				d.fail(badf("wrong escape in a quoted string"))
				return ""
			}
			escaped = true
			d.pos += 2
		case !is(b, inText):
			d.fail(badf("control character in a quoted string"))
			return ""
		default:
			d.pos++
		}
	}
	d.fail(badf("quoted string without an end"))
	return ""
}

func unescape(raw []byte) string {
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		if raw[i] == '\\' {
			i++
		}
		out = append(out, raw[i])
	}
	return string(out)
}

// Number is a number of 32 bits.
func (d *Decoder) Number() uint32 {
	n := d.Number64()
	if n > math.MaxUint32 {
		d.fail(badf("number over 4294967295"))
		return 0
	}
	return uint32(n)
}

// Number64 is a number of 63 bits (RFC 9051 section 9).
func (d *Decoder) Number64() uint64 {
	from := d.pos
	var n uint64
	for c := d.Peek(); c >= '0' && c <= '9'; c = d.Peek() {
		if n > (math.MaxInt64-uint64(c-'0'))/10 {
			d.fail(badf("number over 9223372036854775807"))
			return 0
		}
		n = n*10 + uint64(c-'0')
		d.pos++
	}
	if d.err == nil && d.pos == from {
		d.fail(badf("expected a number but got %s", d.here()))
	}
	return n
}

// List calls item for each member of a parenthesised list, which may be empty.
func (d *Decoder) List(item func()) {
	d.Expect('(')
	if !d.Enter() {
		return
	}
	defer d.Leave()
	if d.Try(')') {
		return
	}
	for d.err == nil {
		item()
		if d.Try(')') {
			return
		}
		d.SP()
	}
}

// Enter counts one level of nesting, and fails when it is one too many; Leave ends it.
func (d *Decoder) Enter() bool {
	if d.depth++; d.depth > maxDepth {
		d.fail(badf("nested deeper than %d", maxDepth))
	}
	return d.err == nil
}

// Leave ends a level that Enter began.
func (d *Decoder) Leave() { d.depth-- }

// Base64 is what stands up to the next space: the initial response of AUTHENTICATE, "=" included (RFC 4959).
func (d *Decoder) Base64() string { return string(d.take(inAString)) }
