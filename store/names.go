package store

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// Limits of a mailbox name and of what an account may have of them.
const (
	maxLevel     = 255  // octets of one level
	maxName      = 1000 // octets of a whole name
	maxDepth     = 32
	maxMailboxes = 10_000
	maxSubs      = 20_000
)

// Inbox is the mailbox that every account has (RFC 9051 section 5.1).
const Inbox = "INBOX"

// CheckName brings a name into its stored form (NFC, INBOX in upper case) or says why not (ErrBadName).
func CheckName(name string) (string, error) {
	switch {
	case name == "":
		return "", fmt.Errorf("%w: it is empty", ErrBadName)
	case len(name) > 4*maxName: // NFC may shorten a name, but not that much
		return "", fmt.Errorf("%w: it is longer than %d octets", ErrBadName, maxName)
	case !utf8.ValidString(name):
		return "", fmt.Errorf("%w: it is not valid UTF-8", ErrBadName)
	}
	for _, r := range name {
		// RFC 5198 section 2; U+2028 and U+2029 are line ends to some clients
		if unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || r == '\ufeff' || r == utf8.RuneError {
			return "", fmt.Errorf("%w: it holds the character %U", ErrBadName, r)
		}
	}
	name = norm.NFC.String(name)
	if len(name) > maxName {
		return "", fmt.Errorf("%w: it is longer than %d octets", ErrBadName, maxName)
	}
	levels := strings.Split(name, "/")
	if len(levels) > maxDepth {
		return "", fmt.Errorf("%w: it is deeper than %d levels", ErrBadName, maxDepth)
	}
	for _, l := range levels {
		if l == "" {
			return "", fmt.Errorf("%w: it has an empty level", ErrBadName)
		}
		if len(l) > maxLevel {
			return "", fmt.Errorf("%w: a level is longer than %d octets", ErrBadName, maxLevel)
		}
	}
	if strings.EqualFold(levels[0], Inbox) && len(levels[0]) == len(Inbox) {
		name = Inbox + name[len(Inbox):]
	}
	return name, nil
}

// parents yields the names above name, the top one first.
func parents(name string) []string {
	var out []string
	for i, c := range name {
		if c == '/' {
			out = append(out, name[:i])
		}
	}
	return out
}
