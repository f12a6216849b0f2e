// Package junkbook keeps whom the users let in and whom they shut out: addresses
// and domains, for each account. It is their own data, so it stands in the
// tables of the house and is part of every backup.
package junkbook

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// table has a row for each entry: account u32, address or domain -> version, 'a' or 'b', time.
const table kv.Table = "f"

const version = 1

// maxEntries bounds what one account may write down.
const maxEntries = 10_000

var (
	// ErrLimit: the account has as many entries as it may have.
	ErrLimit = errors.New("junkbook: 10,000 senders are written down already: remove some")
	// ErrNoSender: the text is neither an address nor a domain.
	ErrNoSender = errors.New("junkbook: neither an address nor a domain")
	// ErrNoEntry: nothing is written down about that sender.
	ErrNoEntry = errors.New("junkbook: nothing is written down about this sender")
)

// Entry is what a user says of a sender.
type Entry struct {
	Sender string // address or domain, in canonical form; a domain stands for what is below it too
	Block  bool   // else let in
	Made   time.Time
}

// Book has the entries of all accounts.
type Book struct {
	db  *kv.DB
	now func() time.Time
}

// New returns a Book over the tables of the house.
func New(db *kv.DB, now func() time.Time) *Book {
	if now == nil {
		now = time.Now
	}
	db.Outline(kv.Outline{Whole: []kv.Table{table}}) // nobody could learn it again
	return &Book{db: db, now: now}
}

// Canonical is the form in which a sender is written down. ErrNoSender.
func Canonical(sender string) (string, error) {
	text := strings.TrimPrefix(strings.TrimSpace(sender), "@")
	text = strings.TrimSuffix(strings.TrimPrefix(text, "<"), ">")
	if strings.Contains(text, "@") {
		a, err := mail.ParseAddress(text)
		if err != nil {
			return "", fmt.Errorf("%w: %w", ErrNoSender, err)
		}
		return a.Key(), nil
	}
	d, err := mail.ParseDomain(text)
	if err != nil {
		return "", fmt.Errorf("%w: %w", ErrNoSender, err)
	}
	return string(d), nil
}

// Put writes an entry down; it replaces one about the same sender.
func (b *Book) Put(tx *kv.Tx, account mail.AccountID, sender string, block bool) (Entry, error) {
	text, err := Canonical(sender)
	if err != nil {
		return Entry{}, err
	}
	if !strings.ContainsAny(text, "@.:") { // half a name, which no sender has
		return Entry{}, fmt.Errorf("%w: %s has no dot", ErrNoSender, text)
	}
	key := append(prefix(account), text...)
	if tx.Get(table, key) == nil {
		n := 0
		for range tx.Scan(table, prefix(account), after(account)) {
			n++
		}
		if n >= maxEntries {
			return Entry{}, ErrLimit
		}
	}
	e := Entry{Sender: text, Block: block, Made: b.now().UTC().Truncate(time.Second)}
	tx.Put(table, key, e.encode())
	return e, nil
}

// Remove takes an entry out; ErrNoEntry.
func (b *Book) Remove(tx *kv.Tx, account mail.AccountID, sender string) error {
	text, err := Canonical(sender)
	if err != nil {
		return err
	}
	key := append(prefix(account), text...)
	if tx.Get(table, key) == nil {
		return ErrNoEntry
	}
	tx.Delete(table, key)
	return nil
}

// In is what a transaction has of a sender. ErrNoEntry.
func (b *Book) In(tx *kv.Tx, account mail.AccountID, sender string) (Entry, error) {
	text, err := Canonical(sender)
	if err != nil {
		return Entry{}, err
	}
	key := append(prefix(account), text...)
	if v := tx.Get(table, key); v != nil {
		if e, ok := decode(key, v); ok {
			return e, nil
		}
	}
	return Entry{}, ErrNoEntry
}

// RemoveAccount takes out all that an account wrote down.
func (b *Book) RemoveAccount(tx *kv.Tx, account mail.AccountID) {
	var keys [][]byte
	for k := range tx.Scan(table, prefix(account), after(account)) {
		keys = append(keys, append([]byte(nil), k...))
	}
	for _, k := range keys {
		tx.Delete(table, k)
	}
}

// Entries lists what an account has written down, in the order of the senders.
func (b *Book) Entries(ctx context.Context, account mail.AccountID) (out []Entry, err error) {
	err = b.db.View(ctx, func(tx *kv.Tx) error {
		out = nil
		for k, v := range tx.Scan(table, prefix(account), after(account)) {
			if e, ok := decode(k, v); ok {
				out = append(out, e)
			}
		}
		return nil
	})
	return out, err
}

// Find is the closest entry about one of the senders: an address goes before its domain, that before the domain above it; of two as
// close, the one that lets in. False: there is none.
func (b *Book) Find(ctx context.Context, account mail.AccountID, senders ...mail.Address) (found Entry, ok bool, err error) {
	err = b.db.View(ctx, func(tx *kv.Tx) error {
		found, ok = Entry{}, false
		closest := -1
		for _, a := range senders {
			for i, text := range names(a) {
				key := append(prefix(account), text...)
				v := tx.Get(table, key)
				if v == nil {
					continue
				}
				e, sound := decode(key, v)
				if sound && (!ok || i < closest || i == closest && found.Block) {
					found, ok, closest = e, true, i
				}
				break
			}
		}
		return nil
	})
	return found, ok, err
}

// maxLevels bounds how many domains above a sender's are looked at.
const maxLevels = 10

// names are the entries that an address may have, the closest first. A domain of one label is nobody's.
func names(a mail.Address) []string {
	if a.IsNull() || a.Domain == "" {
		return nil
	}
	out := []string{a.Key(), string(a.Domain)}
	for rest := string(a.Domain); len(out) < maxLevels && !a.Domain.IsLiteral(); {
		_, above, ok := strings.Cut(rest, ".")
		if !ok || !strings.Contains(above, ".") {
			break
		}
		out, rest = append(out, above), above
	}
	return out
}

// Check says in words which rows cannot be read, and which belong to no account.
func (b *Book) Check(ctx context.Context, known func(mail.AccountID) bool) (problems []string, err error) {
	err = b.db.View(ctx, func(tx *kv.Tx) error {
		problems = nil
		for k, v := range tx.Scan(table, nil, nil) {
			if _, ok := decode(k, v); !ok {
				problems = append(problems, fmt.Sprintf("junk: row %q cannot be read", k))
				continue
			}
			if id := mail.AccountID(binary.BigEndian.Uint32(k)); !known(id) {
				problems = append(problems, fmt.Sprintf("junk: %q is written down for account %d, which is not there", k[4:], id))
			}
		}
		return nil
	})
	return problems, err
}

func prefix(account mail.AccountID) []byte {
	return binary.BigEndian.AppendUint32(make([]byte, 0, 64), uint32(account))
}

func after(account mail.AccountID) []byte {
	if account == 0xffffffff {
		return nil
	}
	return prefix(account + 1)
}

func (e Entry) encode() []byte {
	kind := byte('a')
	if e.Block {
		kind = 'b'
	}
	return binary.BigEndian.AppendUint64([]byte{version, kind}, uint64(e.Made.Unix()))
}

func decode(key, value []byte) (Entry, bool) {
	if len(key) <= 4 || len(value) < 10 || value[0] != version || value[1] != 'a' && value[1] != 'b' {
		return Entry{}, false
	}
	made := time.Unix(int64(binary.BigEndian.Uint64(value[2:])), 0).UTC()
	return Entry{Sender: string(key[4:]), Block: value[1] == 'b', Made: made}, true
}
