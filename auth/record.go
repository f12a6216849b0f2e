package auth

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/text/unicode/norm"

	"github.com/posthouse-mail/posthouse/auth/sasl"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// The tables (store.md): a has a record per account, key 0 the last id that was given;
// l has a row per name: "local@domain", "@domain", or a login name, which has no @.
const (
	tableAccounts kv.Table = "a"
	tableNames    kv.Table = "l"
)

// recordVersion begins every value; a reader refuses what it does not know.
const recordVersion = 1

// Kinds of rows in l, the second octet of the value.
const (
	rowAddress = 'a' // of an account
	rowAlias   = 'x'
	rowDomain  = 'd'
	rowLogin   = 'n'
	rowList    = 'm'
	rowMask    = 'k'
)

func accountKey(id mail.AccountID) []byte { return binary.BigEndian.AppendUint32(nil, uint32(id)) }
func domainKey(d mail.Domain) []byte      { return []byte("@" + string(d)) }
func addressKey(a mail.Address) []byte    { return []byte(a.Key()) }
func loginKey(login string) []byte        { return []byte(foldLogin(login)) }
func foldLogin(login string) string       { return norm.NFC.String(strings.ToLower(login)) }

// record is an account with its secrets.
type record struct {
	Account
	Secret
}

func (r *record) clone() Account {
	a := r.Account
	a.Addresses = slices.Clone(a.Addresses)
	a.Settings.Forward = slices.Clone(a.Settings.Forward)
	return a
}

const flagDisabled = 1

func (r *record) encode() []byte {
	var flags byte
	if r.Disabled {
		flags |= flagDisabled
	}
	b := []byte{recordVersion, flags, byte(r.Doors)}
	b = binary.AppendVarint(b, r.Created.Unix())
	b = appendText(b, r.Name)
	b = appendText(b, r.Login)
	b = appendAddresses(b, r.Addresses)
	b = appendText(b, r.phc)
	if r.scram == nil {
		b = append(b, 0)
	} else {
		b = appendCredentials(append(b, 1), *r.scram)
	}
	return appendFields(b, r.fields(), r.Settings.unknown)
}

// fields is what may stand behind the fixed part: settings, and secrets that came later.
func (r *record) fields() []field { return append(r.Settings.fields(), r.Secret.fields()...) }

func appendCredentials(b []byte, c sasl.Credentials) []byte {
	b = binary.AppendUvarint(b, uint64(c.Iterations))
	for _, part := range [][]byte{c.Salt, c.StoredKey, c.ServerKey} {
		b = appendText(b, string(part))
	}
	return b
}

func (d *decoder) credentials() sasl.Credentials {
	return sasl.Credentials{Iterations: int(d.count()), Salt: []byte(d.text()), StoredKey: []byte(d.text()), ServerKey: []byte(d.text())}
}

func decodeAccount(id mail.AccountID, value []byte) (*record, error) {
	in := decoder{rest: value}
	in.version()
	flags, doors := in.octet(), in.octet()
	r := &record{Account: Account{ID: id, Doors: Door(doors), Disabled: flags&flagDisabled != 0}}
	r.Created = time.Unix(in.number(), 0).UTC()
	r.Name, r.Login = in.text(), in.text()
	r.Addresses = in.addresses()
	r.phc = in.text()
	if in.octet() == 1 {
		keys := in.credentials()
		r.scram = &keys
	}
	if len(in.rest) > 0 {
		r.Settings.unknown = in.fields(r.fields())
	}
	if in.bad || len(r.Addresses) == 0 {
		return nil, fmt.Errorf("%w: account %d", ErrBadRecord, id)
	}
	return r, nil
}

func encodeOwner(kind byte, id mail.AccountID) []byte {
	return binary.BigEndian.AppendUint32([]byte{recordVersion, kind}, uint32(id))
}

const flagSendAs = 1

func (a Alias) encode() []byte {
	var flags byte
	if a.SendAs {
		flags |= flagSendAs
	}
	b := []byte{recordVersion, rowAlias, flags}
	b = appendAddresses(b, []mail.Address{a.Address})
	return appendAddresses(b, a.Members)
}

func (d Domain) encode() []byte {
	b := []byte{recordVersion, rowDomain}
	b = appendText(b, string(d.AliasOf))
	b = appendAddresses(b, []mail.Address{d.CatchAll})
	return appendFields(b, d.Settings.fields(), d.Settings.unknown)
}

// row is a decoded value of l; kind tells which field holds.
type row struct {
	kind   byte
	owner  mail.AccountID
	alias  Alias
	domain Domain
	list   List
	mask   Mask
}

func decodeRow(key, value []byte) (row, error) {
	in := decoder{rest: value}
	in.version()
	out := row{kind: in.octet()}
	switch out.kind {
	case rowAddress, rowLogin:
		out.owner = mail.AccountID(in.fixed32())
	case rowAlias:
		out.alias.SendAs = in.octet()&flagSendAs != 0
		if own := in.addresses(); len(own) == 1 {
			out.alias.Address = own[0]
		}
		out.alias.Members = in.addresses()
	case rowDomain:
		out.domain.Name = mail.Domain(strings.TrimPrefix(string(key), "@"))
		out.domain.AliasOf = mail.Domain(in.text())
		if catchAll := in.addresses(); len(catchAll) == 1 {
			out.domain.CatchAll = catchAll[0]
		}
		if len(in.rest) > 0 {
			out.domain.Settings.unknown = in.fields(out.domain.Settings.fields())
		}
	case rowList:
		out.list = in.list()
		in.bad = in.bad || out.list.Address.IsNull() || out.list.ID == 0
	case rowMask:
		out.mask = in.mask()
		in.bad = in.bad || out.mask.Address.IsNull()
	default:
		in.bad = true
	}
	if in.bad {
		return row{}, fmt.Errorf("%w: name %q", ErrBadRecord, key)
	}
	return out, nil
}

func appendText(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendAddresses(b []byte, all []mail.Address) []byte {
	b = binary.AppendUvarint(b, uint64(len(all)))
	for _, a := range all {
		b = appendText(appendText(b, a.Local), string(a.Domain))
	}
	return b
}

// decoder reads a value; after the first misfit it is bad and gives zeros.
type decoder struct {
	rest []byte
	bad  bool
}

func (d *decoder) take(n uint64) []byte {
	if d.bad || n > uint64(len(d.rest)) {
		d.bad = true
		return nil
	}
	out := d.rest[:n]
	d.rest = d.rest[n:]
	return out
}

func (d *decoder) octet() byte {
	if b := d.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (d *decoder) version() {
	if d.octet() != recordVersion {
		d.bad = true
	}
}

func (d *decoder) fixed32() uint32 {
	if b := d.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (d *decoder) number() int64 {
	n, size := binary.Varint(d.rest)
	d.bad = d.bad || size <= 0
	d.take(uint64(max(size, 0)))
	return n
}

func (d *decoder) count() uint64 {
	n, size := binary.Uvarint(d.rest)
	d.bad = d.bad || size <= 0
	d.take(uint64(max(size, 0)))
	return n
}

func (d *decoder) text() string { return string(d.take(d.count())) }

func (d *decoder) addresses() []mail.Address {
	n := d.count()
	if n > uint64(len(d.rest)) { // each takes two octets at least
		d.bad = true
	}
	var out []mail.Address
	for i := uint64(0); i < n && !d.bad; i++ {
		local, domain := d.text(), d.text()
		out = append(out, mail.Address{Local: local, Domain: mail.Domain(domain)})
	}
	return out
}
