package store

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/store/kv"
)

const (
	firstKeyword = 8 // bit of the mailbox's first own keyword
	maxKeywords  = 64 - firstKeyword
	maxKeyword   = 200 // octets of one keyword
)

// Keywords lists the mailbox's own keywords: index i belongs to bit 8+i. It only grows.
func (s *Store) Keywords(ctx context.Context, id MailboxID) ([]string, error) {
	var out []string
	err := s.db.View(ctx, func(tx *kv.Tx) error {
		if tx.Get(tabMail, stateKey(id)) == nil {
			return ErrNoMailbox
		}
		out = loadKeywords(tx, id).names
		return nil
	})
	return out, err
}

// keywords are a mailbox's own keywords while a mutation works with them.
type keywords struct {
	id    MailboxID
	names []string
	grown bool
}

// Names are stored with their length before them, so that nothing in them needs quoting.
func loadKeywords(tx *kv.Tx, id MailboxID) *keywords {
	k := &keywords{id: id}
	for b := tx.Get(tabKeywords, key32(uint32(id))); len(b) > 0 && len(b) > int(b[0]); b = b[1+int(b[0]):] {
		k.names = append(k.names, string(b[1:1+int(b[0])]))
	}
	return k
}

func (k *keywords) save(tx *kv.Tx) {
	if !k.grown {
		return
	}
	var b []byte
	for _, n := range k.names {
		b = append(append(b, byte(len(n))), n...)
	}
	tx.Put(tabKeywords, key32(uint32(k.id)), b)
}

// known is the bits that have a meaning in this mailbox.
func (k *keywords) known() Flags {
	return 1<<(firstKeyword+len(k.names)) - 1 // shifting by 64 gives 0, and 0-1 all bits
}

// bit finds a keyword, in any case (RFC 9051 section 2.3.2); 0 when the mailbox does not have it.
func (k *keywords) bit(name string) Flags {
	if f := wellKnown(name); f != 0 {
		return f
	}
	i := slices.IndexFunc(k.names, func(n string) bool { return strings.EqualFold(n, name) })
	if i < 0 {
		return 0
	}
	return 1 << (firstKeyword + i)
}

// learn is bit, and makes the keyword known when there is room.
func (k *keywords) learn(name string) (Flags, error) {
	if f := k.bit(name); f != 0 {
		return f, nil
	}
	if !ValidKeyword(name) {
		return 0, fmt.Errorf("%w: %q", ErrKeyword, name)
	}
	if len(k.names) >= maxKeywords {
		return 0, fmt.Errorf("%w: a mailbox has at most %d keywords of its own", ErrLimit, maxKeywords)
	}
	k.names = append(k.names, name)
	k.grown = true
	return 1 << (firstKeyword + len(k.names) - 1), nil
}

// learnAll is learn for a list.
func (k *keywords) learnAll(names []string) (Flags, error) {
	var f Flags
	for _, n := range names {
		b, err := k.learn(n)
		if err != nil {
			return 0, err
		}
		f |= b
	}
	return f, nil
}

// wellKnown is the bit of a keyword that has one in every mailbox (RFC 5788 registry).
func wellKnown(name string) Flags {
	switch strings.ToLower(name) {
	case "$forwarded":
		return Forwarded
	case "$junk":
		return Junk
	case "$notjunk":
		return NotJunk
	}
	return 0
}

// ValidKeyword reports whether name is an atom (RFC 9051 section 9, flag-keyword) of at most 200 octets.
func ValidKeyword(name string) bool {
	if name == "" || len(name) > maxKeyword {
		return false
	}
	for _, c := range []byte(name) {
		if c <= ' ' || c >= 0x7f || strings.IndexByte(`(){%*"\]`, c) >= 0 {
			return false
		}
	}
	return true
}
