package syntax

import (
	"io"
	"math"
	"strings"
)

// Literal is the announcement of a literal: {n}, {n+}, ~{n} or ~{n+} (RFC 9051 section 4.3, RFC 7888, RFC 3516).
type Literal struct {
	Size    int64
	NonSync bool // its octets come without being asked for
	Binary  bool // literal8: may hold NUL
}

// literalAtEnd finds the announcement that ends a line. Nothing else in a command can end in "}" behind a number and
// "{", so that this needs no parse of what stands before, and Finish holds for every broken command.
func literalAtEnd(line []byte) (lit Literal, start int, ok bool) {
	i := len(line) - 1
	if i < 0 || line[i] != '}' {
		return lit, 0, false
	}
	i--
	if i >= 0 && line[i] == '+' {
		lit.NonSync = true
		i--
	}
	end := i + 1
	for i >= 0 && line[i] >= '0' && line[i] <= '9' {
		i--
	}
	if i < 0 || line[i] != '{' || i+1 == end {
		return lit, 0, false
	}
	lit.Size = saturate(line[i+1 : end])
	if i > 0 && line[i-1] == '~' {
		lit.Binary = true
		i--
	}
	return lit, i, true
}

func saturate(digits []byte) int64 {
	var n int64
	for _, c := range digits {
		if n > (math.MaxInt64-int64(c-'0'))/10 {
			return math.MaxInt64
		}
		n = n*10 + int64(c-'0')
	}
	return n
}

// literalNext reports whether a literal is announced here.
func (d *Decoder) literalNext() bool {
	_, start, ok := literalAtEnd(d.line)
	return ok && start == d.pos
}

// Literal takes the announcement of a literal. Its octets are read by CopyLiteral; a caller that does not want
// them reports an error instead, and Finish does the right thing.
func (d *Decoder) Literal() Literal {
	if d.err != nil {
		return Literal{}
	}
	lit, start, ok := literalAtEnd(d.line)
	if !ok || start != d.pos {
		d.fail(badf("expected a literal but got %s", d.here()))
		return Literal{}
	}
	if lit.NonSync && d.Limits.NonSync > 0 && lit.Size > d.Limits.NonSync {
		// RFC 7888 section 5: under LITERAL- such a literal must not be sent.
		d.fail(&Error{Kind: TooBig, Text: "non-synchronizing literal too big"})
		return Literal{}
	}
	return lit
}

// CopyLiteral asks the client for a literal where that is needed, hands its octets to w, and goes on with the line behind it. The
// error is w's: the literal is read to its end all the same. Other errors stick in the Decoder.
func (d *Decoder) CopyLiteral(w io.Writer, lit Literal) error {
	if d.err == nil && !lit.NonSync {
		if err := d.src.Continue(); err != nil {
			d.fail(err)
		}
	}
	if d.err != nil {
		return nil
	}
	d.line, d.pos = nil, 0
	writeErr, err := d.src.CopyTo(w, lit.Size)
	if err != nil {
		d.fail(err)
		return nil
	}
	d.nextLine()
	return writeErr
}

func (d *Decoder) literalString() string {
	if d.Peek() != '{' && d.Peek() != '~' {
		d.fail(badf("expected a string but got %s", d.here()))
		return ""
	}
	lit := d.Literal()
	if d.err == nil && lit.Size > d.Limits.Literal {
		d.fail(&Error{Kind: TooBig, Text: "literal too big"})
	}
	d.spend(lit.Size)
	if d.err != nil {
		return ""
	}
	var octets strings.Builder
	octets.Grow(int(lit.Size))
	_ = d.CopyLiteral(&octets, lit) // a Builder does not fail
	s := octets.String()
	if d.err == nil && !lit.Binary && strings.IndexByte(s, 0) >= 0 {
		d.fail(badf("NUL in a literal")) // RFC 9051 section 4.3: only a literal8 may hold it
	}
	return s
}
