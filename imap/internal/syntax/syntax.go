// Package syntax is the grammar of IMAP (RFC 9051 section 9, RFC 3501 section 9):
// a Decoder that takes the client's commands apart and Append functions that
// write responses. It knows no session and no mailbox.
//
// Start at Decoder: Next begins a command, the methods named after the grammar's
// words take its arguments, End says that there are no more, Finish makes the
// stream stand at the next command whatever happened. Errors stick, so that a
// command reads all its arguments and asks once.
package syntax

import (
	"errors"
	"fmt"
)

// ErrLost says that the next bytes of the stream may be the inside of a literal: the
// connection must be closed, since going on would execute message text as commands.
var ErrLost = errors.New("imap: the command stream is lost")

// Kind is the class of a syntax error, hence of its answer.
type Kind uint8

const (
	Bad     Kind = iota // not in the grammar: BAD
	TooBig              // a literal over its limit: NO [TOOBIG]
	BadName             // a mailbox name that is no name in its encoding: NO [CANNOT]
)

// Error is what is wrong with a command, in words for the client's log.
type Error struct {
	Kind Kind
	Text string
}

func (e *Error) Error() string { return "imap: " + e.Text }

func badf(format string, args ...any) *Error {
	return &Error{Kind: Bad, Text: fmt.Sprintf(format, args...)}
}

// Limits bound what one command may cost.
type Limits struct {
	Line    int   // octets of one line
	Literal int64 // octets of one literal that is kept as a string
	Command int64 // octets of all lines and kept literals of one command
	NonSync int64 // octets of one non-synchronizing literal; 0: as any other (RFC 7888 section 5)
	Skip    int64 // what of one command is read only to be thrown away; more: ErrLost
}

// maxDepth bounds nesting of parentheses, NOT and OR.
const maxDepth = 64

// maxTag bounds a tag, which every answer repeats.
const maxTag = 128

// Class of a byte, as bits: what may stand where.
const (
	inAtom    = 1 << iota // ATOM-CHAR
	inAString             // ASTRING-CHAR
	inTag                 // ASTRING-CHAR but "+"
	inPattern             // list-char
	inSet                 // digits and ":,*$"
	inText                // what a quoted string takes without a backslash
)

// classOf is RFC 9051 section 9: atom-specials, resp-specials, list-wildcards.
func classOf(b byte) uint8 {
	var class uint8
	if b >= 0x80 || b >= 0x20 && b != '"' && b != '\\' && b != 0x7f || b == '\t' {
		class |= inText // RFC 9051 lets UTF-8 in; older programs send other 8-bit text, which the caller judges
	}
	if b <= 0x20 || b >= 0x7f {
		return class
	}
	switch b {
	case '(', ')', '{', '"', '\\':
		return class
	case '%':
		return class | inPattern
	case '*':
		return class | inPattern | inSet
	case ']':
		return class | inAString | inTag | inPattern
	case '+':
		return class | inAtom | inAString | inPattern
	}
	class |= inAtom | inAString | inTag | inPattern
	if b >= '0' && b <= '9' || b == ':' || b == ',' || b == '$' {
		class |= inSet
	}
	return class
}

func is(b byte, class uint8) bool { return classOf(b)&class != 0 }
