package auth

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// tableLists has what lists grow by. Its keys begin with a kind:
//
//	l                       -> the last list number u32
//	m list u32 address key  -> a member
//	s list u32 digest [16]  -> when a message was posted, unix seconds u64
//	k account u32           -> how many masked addresses it has made, u32
const tableLists kv.Table = "r"

const (
	listLast   = 'l'
	listMember = 'm'
	listSeen   = 's'
	maskCount  = 'k'
)

// MemberState tells whether a member gets a list's mail.
type MemberState byte

const (
	MemberActive  MemberState = iota
	MemberPaused              // an operator or he himself did it
	MemberBounced             // its mail came back for days
)

func (s MemberState) String() string {
	switch s {
	case MemberActive:
		return "active"
	case MemberPaused:
		return "paused"
	case MemberBounced:
		return "bounced"
	}
	return "unknown"
}

// Member is one member of a list.
type Member struct {
	Address mail.Address
	State   MemberState
	Since   time.Time // of the state
	Joined  time.Time
	Bounces int       // days on which its mail came back, in a row
	First   time.Time // of these days
	Last    time.Time
	Said    string // by the host that refused it last

	unknown []byte
}

func (m *Member) fields() []field {
	return []field{amount(1, &m.State), moment(2, &m.Since), moment(3, &m.Joined), amount(4, &m.Bounces), moment(5, &m.First), moment(6, &m.Last), text(7, &m.Said)}
}

// moment is a time in whole seconds; the zero time is none.
func moment(tag uint64, at *time.Time) field {
	return field{tag,
		func() []byte {
			if at.IsZero() {
				return nil
			}
			return binary.AppendVarint(nil, at.Unix())
		},
		func(in *decoder) { *at = time.Unix(in.number(), 0).UTC() }}
}

func (m *Member) encode() []byte {
	b := appendAddresses([]byte{recordVersion}, []mail.Address{m.Address})
	return appendFields(b, m.fields(), m.unknown)
}

func decodeMember(value []byte) (Member, error) {
	in := decoder{rest: value}
	in.version()
	var m Member
	if own := in.addresses(); len(own) == 1 {
		m.Address = own[0]
	}
	m.unknown = in.fields(m.fields())
	if in.bad || m.Address.IsNull() {
		return Member{}, fmt.Errorf("%w: member of a list", ErrBadRecord)
	}
	return m, nil
}

func listKey(kind byte, id ListID, rest string) []byte {
	return append(binary.BigEndian.AppendUint32([]byte{kind}, uint32(id)), rest...)
}

// scanList walks the rows of one list of one kind, keys copied.
func scanList(tx *kv.Tx, kind byte, id ListID) iter.Seq2[[]byte, []byte] {
	return func(yield func([]byte, []byte) bool) {
		prefix := listKey(kind, id, "")
		for key, value := range tx.Scan(tableLists, prefix, nil) {
			if !bytes.HasPrefix(key, prefix) || !yield(bytes.Clone(key), value) {
				return
			}
		}
	}
}

// Members lists a list's members, by address.
func (d *Directory) Members(ctx context.Context, id ListID) (all []Member, err error) {
	err = d.db.View(ctx, func(tx *kv.Tx) error {
		all = membersIn(tx, id)
		return nil
	})
	return all, err
}

// CountMembers counts those of a list without reading them.
func (d *Directory) CountMembers(ctx context.Context, id ListID) (n int, err error) {
	err = d.db.View(ctx, func(tx *kv.Tx) error {
		for range scanList(tx, listMember, id) {
			n++
		}
		return nil
	})
	return n, err
}

// membersIn passes over what cannot be read: Broken tells of it.
func membersIn(tx *kv.Tx, id ListID) (all []Member) {
	for _, value := range scanList(tx, listMember, id) {
		if m, err := decodeMember(value); err == nil {
			all = append(all, m)
		}
	}
	return all
}

// FindMember is the first member of a list whose address key matches. Only keys are read on the way, so that a word of a stranger costs
// little: match may be asked thousands of times, and must not keep what it is given. ErrNoAddress.
func (d *Directory) FindMember(ctx context.Context, id ListID, match func(key []byte) bool) (m Member, err error) {
	prefix := listKey(listMember, id, "")
	err = d.db.View(ctx, func(tx *kv.Tx) error {
		for key, value := range tx.Scan(tableLists, prefix, nil) {
			if !bytes.HasPrefix(key, prefix) {
				break
			}
			if match(key[len(prefix):]) {
				m, err = decodeMember(value)
				return err
			}
		}
		return fmt.Errorf("%w: no such member", ErrNoAddress)
	})
	return m, err
}

// IsMember tells whether an address is a member of a list, paused or not.
func (d *Directory) IsMember(ctx context.Context, id ListID, a mail.Address) (is bool, err error) {
	err = d.db.View(ctx, func(tx *kv.Tx) error {
		is = tx.Get(tableLists, listKey(listMember, id, a.Key())) != nil
		return nil
	})
	return is, err
}

// AddMembers adds members to a list; those that it has stay as they are.
func (d *Directory) AddMembers(tx *kv.Tx, list mail.Address, add []mail.Address) (added int, err error) {
	l, err := findList(tx, list)
	if err != nil {
		return 0, err
	}
	loop := d.loopAt(tx, l.Address)
	now := d.options.Now().UTC().Truncate(time.Second)
	for _, a := range add {
		key := listKey(listMember, l.ID, a.Key())
		if tx.Get(tableLists, key) != nil {
			continue
		}
		if err := loop.check(a); err != nil {
			return 0, err
		}
		if err := d.checkMember(tx, a); err != nil {
			return 0, err
		}
		m := Member{Address: a, Joined: now, Since: now}
		tx.Put(tableLists, key, m.encode())
		added++
	}
	if n := len(membersIn(tx, l.ID)); n > maxListMembers {
		return 0, fmt.Errorf("%w: a list has up to %d members", ErrInvalid, maxListMembers)
	}
	return added, nil
}

// RemoveMembers takes members out of a list; ErrNoAddress names one that is none.
func (d *Directory) RemoveMembers(tx *kv.Tx, list mail.Address, gone []mail.Address) error {
	l, err := findList(tx, list)
	if err != nil {
		return err
	}
	for _, a := range gone {
		key := listKey(listMember, l.ID, a.Key())
		if tx.Get(tableLists, key) == nil {
			return fmt.Errorf("%w: %s is no member of %s", ErrNoAddress, a, l.Address)
		}
		tx.Delete(tableLists, key)
	}
	return nil
}

// ChangeMember changes what is known of a member, as it is in the transaction.
func (d *Directory) ChangeMember(tx *kv.Tx, id ListID, a mail.Address, change func(*Member) error) error {
	key := listKey(listMember, id, a.Key())
	value := tx.Get(tableLists, key)
	if value == nil {
		return fmt.Errorf("%w: %s is no member", ErrNoAddress, a)
	}
	m, err := decodeMember(value)
	if err != nil {
		return err
	}
	if err := change(&m); err != nil {
		return err
	}
	tx.Put(tableLists, key, m.encode())
	return nil
}

// SetMember pauses a member or resumes it; what was counted of its bounces is forgotten.
func (d *Directory) SetMember(tx *kv.Tx, list, a mail.Address, s MemberState) error {
	l, err := findList(tx, list)
	if err != nil {
		return err
	}
	return d.ChangeMember(tx, l.ID, a, func(m *Member) error {
		*m = Member{Address: m.Address, Joined: m.Joined, State: s, Since: d.options.Now().UTC().Truncate(time.Second), unknown: m.unknown}
		return nil
	})
}

// Outline is what repair needs of lists and keys when no copy of the tables is left: members, and numbers that must not be given twice. Which
// messages were posted it can do without.
func (d *Directory) Outline() kv.Outline {
	return kv.Outline{Whole: []kv.Table{tableKeys}, Rows: func(tx *kv.Tx, yield func(t kv.Table, key, value []byte) error) error {
		for key, value := range tx.Scan(tableLists, nil, nil) {
			if len(key) > 0 && key[0] == listSeen {
				continue
			}
			if err := yield(tableLists, key, value); err != nil {
				return err
			}
		}
		return nil
	}}
}

func findList(tx *kv.Tx, a mail.Address) (List, error) {
	home, err := homeOf(tx, a)
	if err != nil {
		return List{}, err
	}
	r, err := findRow(tx, addressKey(home))
	if err == nil && r.kind != rowList {
		err = fmt.Errorf("%w: %s is no list", ErrNoAddress, a)
	}
	return r.list, err
}

// maxSeen and seenFor bound what is kept of a list's messages.
const (
	maxSeen = 5000
	seenFor = 30 * 24 * time.Hour
)

// Seen tells whether a message was posted to a list before, by what names it.
func (d *Directory) Seen(ctx context.Context, id ListID, name [16]byte) (seen bool, err error) {
	err = d.db.View(ctx, func(tx *kv.Tx) error {
		seen = tx.Get(tableLists, listKey(listSeen, id, string(name[:]))) != nil
		return nil
	})
	return seen, err
}

// NoteSeen keeps that a message was posted, for a month, and forgets the oldest where there are too many.
func (d *Directory) NoteSeen(tx *kv.Tx, id ListID, name [16]byte, at time.Time) {
	type row struct {
		key []byte
		at  uint64
	}
	var all []row
	for key, value := range scanList(tx, listSeen, id) {
		if len(value) == 8 {
			all = append(all, row{key, binary.BigEndian.Uint64(value)})
		}
	}
	slices.SortFunc(all, func(a, b row) int { return cmp.Compare(a.at, b.at) })
	for i, r := range all {
		if len(all)-i >= maxSeen || int64(r.at) < at.Add(-seenFor).Unix() {
			tx.Delete(tableLists, r.key)
		}
	}
	tx.Put(tableLists, listKey(listSeen, id, string(name[:])), binary.BigEndian.AppendUint64(nil, uint64(at.Unix())))
}

// dropMembers takes addresses that go away out of the lists they are members of.
func dropMembers(tx *kv.Tx, gone func(mail.Address) bool) {
	var keys [][]byte
	for key, value := range tx.Scan(tableLists, []byte{listMember}, []byte{listMember + 1}) {
		if m, err := decodeMember(value); err == nil && gone(m.Address) {
			keys = append(keys, bytes.Clone(key))
		}
	}
	for _, key := range keys {
		tx.Delete(tableLists, key)
	}
}

// brokenMembers adds rows of lists that cannot be read.
func brokenMembers(tx *kv.Tx, bad func(error)) {
	for key, value := range tx.Scan(tableLists, []byte{listMember}, []byte{listMember + 1}) {
		if _, err := decodeMember(value); err != nil {
			bad(fmt.Errorf("%w %x", errors.Unwrap(err), key))
		}
	}
}
