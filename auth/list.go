package auth

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// ListID names a list for ever; it is never given twice. Zero is no list.
type ListID uint32

// Posting says who may post to a list. Its owners always may.
type Posting byte

const (
	PostMembers Posting = iota // members, and those of List.Posters
	PostNamed                  // those of List.Posters only
	PostAnyone
)

// Replies says where answers to a list's mail go.
type Replies byte

const (
	ReplyUntouched Replies = iota // where the author wants them: the header is not changed
	ReplyList                     // to the list (Reply-To)
)

// List is an address whose mail goes to its members under rules, as one message with the list's fields (ADR 22).
type List struct {
	ID      ListID
	Address mail.Address
	Name    string         // for people
	Owners  []mail.Address // have LIST-owner@ and hear of members that are paused
	Posting Posting
	Posters []mail.Address // may post besides
	Replies Replies
	Tag     string // in front of the subject; empty: none
	MaxSize int64  // octets of a message; 0: the house's limit
	Created time.Time

	unknown []byte
}

const (
	maxLists       = 10000
	maxListMembers = 5000
	maxTag         = 40
)

// ListRole is which of a list's addresses mail came to.
type ListRole byte

const (
	ListPost        ListRole = iota + 1 // LIST@: to its members
	ListBounces                         // LIST-bounces+TOKEN@: reports on copies
	ListUnsubscribe                     // LIST-unsubscribe@ and LIST-unsubscribe+TOKEN@
	listOwner                           // LIST-owner@ and LIST-request@ (RFC 2142 section 6): its owners; resolved here
)

// ListMail is mail for a list: it leads to nobody at once.
type ListMail struct {
	List    List // shared, not to be changed
	Role    ListRole
	Token   string       // behind the separator
	Address mail.Address // that it came to, main form
}

// listSuffixes are the names that a list has besides its own.
func listSuffixes() []struct {
	suffix string
	role   ListRole
} {
	return []struct {
		suffix string
		role   ListRole
	}{{"-bounces", ListBounces}, {"-unsubscribe", ListUnsubscribe}, {"-owner", listOwner}, {"-request", listOwner}}
}

// At is the list's address with a suffix, and a token behind the separator.
func (d *Directory) At(l List, role ListRole, token string) mail.Address {
	local := l.Address.Local
	for _, s := range listSuffixes() {
		if s.role == role {
			local += s.suffix
			break
		}
	}
	if token != "" {
		local += d.separator + token
	}
	return mail.Address{Local: local, Domain: l.Address.Domain}
}

// OwnersOf is LIST-owner@.
func (d *Directory) OwnersOf(l List) mail.Address { return d.At(l, listOwner, "") }

func (l *List) fields() []field {
	return []field{
		text(1, &l.Name), addresses(2, &l.Owners), amount(3, &l.Posting), addresses(4, &l.Posters),
		amount(5, &l.Replies), text(6, &l.Tag), amount(7, &l.MaxSize),
	}
}

func (l List) encode() []byte {
	b := binary.BigEndian.AppendUint32([]byte{recordVersion, rowList}, uint32(l.ID))
	b = appendAddresses(b, []mail.Address{l.Address})
	b = binary.AppendVarint(b, l.Created.Unix())
	return appendFields(b, l.fields(), l.unknown)
}

// list reads what encode wrote behind the kind.
func (d *decoder) list() List {
	l := List{ID: ListID(d.fixed32())}
	if own := d.addresses(); len(own) == 1 {
		l.Address = own[0]
	}
	l.Created = time.Unix(d.number(), 0).UTC()
	l.unknown = d.fields(l.fields())
	return l
}

func (l List) clone() List {
	l.Owners, l.Posters = slices.Clone(l.Owners), slices.Clone(l.Posters)
	return l
}

// Lists lists all, by domain and local part.
func (d *Directory) Lists(ctx context.Context) ([]List, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return nil, err
	}
	all := sorted(s.lists, func(x List) string { return string(x.Address.Domain) + " " + x.Address.Key() })
	for i := range all {
		all[i] = all[i].clone()
	}
	return all, nil
}

// List finds one by its address.
func (d *Directory) List(ctx context.Context, a mail.Address) (List, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return List{}, err
	}
	if home, ours := s.home(a.Domain); ours {
		a.Domain = home
	}
	l, ok := s.lists[a.Key()]
	if !ok {
		return List{}, fmt.Errorf("%w: %s is no list", ErrNoAddress, a)
	}
	return l.clone(), nil
}

// ListByID finds one by its number.
func (d *Directory) ListByID(ctx context.Context, id ListID) (List, error) {
	s, err := d.snapshot(ctx)
	if err != nil {
		return List{}, err
	}
	for _, l := range s.lists {
		if l.ID == id {
			return l.clone(), nil
		}
	}
	return List{}, fmt.Errorf("%w: list %d", ErrNoAddress, id)
}

// PutList makes a list, or changes one: its number and members stay.
func (d *Directory) PutList(tx *kv.Tx, l List) (ListID, error) {
	if err := checkHome(tx, l.Address); err != nil {
		return 0, err
	}
	if err := d.checkList(tx, l); err != nil {
		return 0, err
	}
	found, err := findRow(tx, addressKey(l.Address))
	if err != nil {
		return 0, err
	}
	switch found.kind {
	case rowList:
		l.ID, l.Created, l.Address, l.unknown = found.list.ID, found.list.Created, found.list.Address, found.list.unknown
	case 0:
		if l.ID, err = nextList(tx); err != nil {
			return 0, err
		}
		if l.Created.IsZero() {
			l.Created = d.options.Now()
		}
		if err := d.checkListNames(tx, l); err != nil {
			return 0, err
		}
	default:
		return 0, fmt.Errorf("%w: %s", ErrExists, l.Address)
	}
	tx.Put(tableNames, addressKey(l.Address), l.encode())
	tx.OnCommit(d.view.changed)
	return l.ID, nil
}

func (d *Directory) checkList(tx *kv.Tx, l List) error {
	odd := func(r rune) bool { return unicode.IsControl(r) || r == unicode.ReplacementChar }
	switch {
	case len(l.Owners) == 0:
		return fmt.Errorf("%w: a list needs an owner", ErrInvalid)
	case len(l.Owners) > 100 || len(l.Posters) > 1000:
		return fmt.Errorf("%w: a list has up to 100 owners and 1,000 who may post", ErrInvalid)
	case len(l.Name) > maxName || strings.ContainsFunc(l.Name, odd):
		return fmt.Errorf("%w: a name has up to %d octets and no control characters", ErrInvalid, maxName)
	case len(l.Tag) > maxTag || strings.ContainsFunc(l.Tag, odd):
		return fmt.Errorf("%w: a tag has up to %d octets and no control characters", ErrInvalid, maxTag)
	case l.Posting > PostAnyone || l.Replies > ReplyList || l.MaxSize < 0:
		return fmt.Errorf("%w: unknown setting of a list", ErrInvalid)
	case len(l.Address.Local) > mail.MaxLocal-len("-unsubscribe")-len(d.separator)-tokenSpace:
		return fmt.Errorf("%w: the name of a list has up to %d octets, since more is put behind it", ErrInvalid, mail.MaxLocal-len("-unsubscribe")-len(d.separator)-tokenSpace)
	}
	loop := d.loopAt(tx, l.Address)
	for _, owner := range l.Owners {
		if err := d.checkMember(tx, owner); err != nil {
			return fmt.Errorf("owner %s: %w", owner, err)
		}
		if err := loop.check(owner); err != nil {
			return fmt.Errorf("owner %s: %w", owner, err)
		}
	}
	for _, a := range l.Posters {
		if a.Local == "" || a.Domain == "" {
			return fmt.Errorf("%w: %q is no address", ErrInvalid, a)
		}
	}
	return nil
}

// tokenSpace is kept free behind a list's name for tokens.
const tokenSpace = 26

// checkListNames refuses a list whose other names somebody has.
func (d *Directory) checkListNames(tx *kv.Tx, l List) error {
	for _, s := range listSuffixes() {
		a := mail.Address{Local: l.Address.Local + s.suffix, Domain: l.Address.Domain}
		if r, err := findRow(tx, addressKey(a)); err != nil || r.kind != 0 {
			return fmt.Errorf("%w: %s, which the list needs", ErrExists, a)
		}
	}
	return nil
}

// ofList tells whether an address is one of a list's other names.
func ofList(tx *kv.Tx, a mail.Address) (bool, error) {
	local := strings.ToLower(a.Local)
	for _, s := range listSuffixes() {
		base, ok := strings.CutSuffix(local, s.suffix)
		if !ok || base == "" {
			continue
		}
		r, err := findRow(tx, addressKey(mail.Address{Local: base, Domain: a.Domain}))
		if err != nil || r.kind == rowList {
			return err == nil, err
		}
	}
	return false, nil
}

func nextList(tx *kv.Tx) (ListID, error) {
	n := 0
	var most uint32 // of those that are there: a repair may have lost the last number
	for key, value := range tx.Scan(tableNames, nil, nil) {
		if len(value) > 5 && value[1] == rowList && strings.Contains(string(key), "@") {
			n++
			most = max(most, binary.BigEndian.Uint32(value[2:]))
		}
	}
	if n >= maxLists {
		return 0, fmt.Errorf("%w: more than %d lists", ErrInvalid, maxLists)
	}
	var last uint32
	if value := tx.Get(tableLists, []byte{listLast}); len(value) == 4 {
		last = binary.BigEndian.Uint32(value)
	}
	last = max(last, most)
	tx.Put(tableLists, []byte{listLast}, binary.BigEndian.AppendUint32(nil, last+1))
	return ListID(last + 1), nil
}

// RemoveList removes a list with its members, and it from the aliases that name it, as RemoveAlias does.
func (d *Directory) RemoveList(tx *kv.Tx, a mail.Address) error {
	found, err := findRow(tx, addressKey(a))
	if err != nil {
		return err
	}
	if found.kind != rowList {
		return fmt.Errorf("%w: %s is no list", ErrNoAddress, a)
	}
	if err := d.forget(tx, []mail.Address{found.list.Address}); err != nil {
		return err
	}
	for _, kind := range []byte{listMember, listSeen} {
		var keys [][]byte
		for key := range scanList(tx, kind, found.list.ID) {
			keys = append(keys, key)
		}
		for _, key := range keys {
			tx.Delete(tableLists, key)
		}
	}
	tx.Delete(tableNames, addressKey(a))
	tx.OnCommit(d.view.changed)
	return nil
}
