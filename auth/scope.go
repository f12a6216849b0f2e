package auth

import (
	"fmt"
	"slices"
	"strings"
)

// Scope is a bit set of what a token may do.
type Scope uint32

// What a token of an account may do with it, and what one of an operator may do with the house. The bits are stored.
const (
	ScopeMail       Scope = 1 << iota // read and file mail: IMAP and POP3, its messages over the API
	ScopeSend                         // send: the submission ports, the API
	ScopeAccount                      // settings of the account: forwarding, junk, limits
	ScopeMasks                        // masked addresses
	ScopeRead                         // see what operators see, mail excepted
	ScopeDirectory                    // domains, accounts, aliases, lists
	ScopeQueue                        // mail that waits, and to whom nothing is sent
	ScopeEverything                   // all that operators may do
)

// ScopesOwn are those that an account may give to a token of its own, ScopesHouse those that need an operator.
const (
	ScopesOwn   = ScopeMail | ScopeSend | ScopeAccount | ScopeMasks
	ScopesHouse = ScopeRead | ScopeDirectory | ScopeQueue | ScopeEverything
)

// scopeNames is in the order of the bits.
func scopeNames() []string {
	return []string{"mail", "send", "account", "masks", "read", "directory", "queue", "everything"}
}

// Names lists the scopes of a set.
func (s Scope) Names() []string {
	out := []string{}
	for i, name := range scopeNames() {
		if s&(1<<i) != 0 {
			out = append(out, name)
		}
	}
	return out
}

// String is the names as RFC 6749 section 3.3 writes them: a space between.
func (s Scope) String() string { return strings.Join(s.Names(), " ") }

// Any tells whether one of the scopes in need is there; everything is each of the operators' own.
func (s Scope) Any(need Scope) bool {
	if s&ScopeEverything != 0 {
		s |= ScopesHouse
	}
	return s&need != 0
}

// ParseScopes is the inverse of Names.
func ParseScopes(names []string) (all Scope, err error) {
	for _, name := range names {
		i := slices.Index(scopeNames(), strings.ToLower(strings.TrimSpace(name)))
		if i < 0 {
			return 0, fmt.Errorf("%w: %q is no scope: there are %s", ErrInvalid, name, strings.Join(scopeNames(), ", "))
		}
		all |= 1 << i
	}
	return all, nil
}

// doors are the services of programs that a token opens.
func (s Scope) doors() (d Door) {
	if s&ScopeMail != 0 {
		d |= DoorIMAP | DoorPOP3
	}
	if s&ScopeSend != 0 {
		d |= DoorSubmission
	}
	return d
}
