package syntax

import (
	"strings"

	goimap "github.com/emersion/go-imap/v2"
)

// maxFlags bounds the flags of one command.
const maxFlags = 256

// Flags takes a flag-list, or flags without parentheses up to the end of the command, as STORE allows
// (RFC 9051 section 9, store-att-flags).
func (d *Decoder) Flags() []goimap.Flag {
	var flags []goimap.Flag
	add := func() {
		if len(flags) == maxFlags {
			d.fail(badf("more than %d flags", maxFlags))
			return
		}
		flags = append(flags, d.Flag())
	}
	if d.Peek() == '(' {
		d.List(add)
		return flags
	}
	for add(); d.TrySP(); add() {
	}
	return flags
}

// Flag takes one flag. System flags come in their usual case, keywords as written (they are compared without case).
func (d *Decoder) Flag() goimap.Flag {
	if !d.Try('\\') {
		return goimap.Flag(d.Atom())
	}
	name := d.Atom()
	for _, f := range [...]goimap.Flag{goimap.FlagSeen, goimap.FlagAnswered, goimap.FlagFlagged, goimap.FlagDeleted, goimap.FlagDraft} {
		if strings.EqualFold(name, string(f[1:])) {
			return f
		}
	}
	return goimap.Flag(`\` + name)
}
