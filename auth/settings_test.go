package auth

import (
	"reflect"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
)

// TestSettings: each setting is kept, and what a newer program has set stays.
func TestSettings(t *testing.T) {
	base := Account{ID: 1, Addresses: []mail.Address{{Local: "a", Domain: "b.test"}}}
	base.Created = base.Created.UTC()
	for name, s := range map[string]AccountSettings{
		"none":     {},
		"forward":  {Forward: []mail.Address{{Local: "x", Domain: "away.test"}}},
		"keep":     {Keep: true},
		"operator": {Operator: true},
		"web only": {WebOnly: true},
		"hold":     {Hold: 30 * time.Second, SentCopy: -1},
		"send off": {SendOff: "stolen", SendOffSince: 1_700_000_000},
		"limits":   {Limits: SendLimits{MessagesHour: 1, MessagesDay: 2, RecipientsHour: 3, RecipientsDay: -1, NewDay: 5}},
		"unknown":  {Keep: true, unknown: []byte{0x80, 0x7f, 2, 'h', 'i', 99, 0}},
	} {
		r := &record{Account: base}
		r.Settings = s
		got, err := decodeAccount(1, r.encode())
		if err != nil || !reflect.DeepEqual(got.Settings, s) {
			t.Errorf("%s: %+v became %+v (%v)", name, s, got, err)
		}
		if name == "none" && len(r.encode()) != len((&record{Account: base}).encode()) {
			t.Error("no settings take room")
		}
	}
	var whole record
	seen := map[uint64]bool{}
	for _, f := range whole.fields() {
		if f.tag == 0 || seen[f.tag] {
			t.Errorf("tag %d of an account is used twice", f.tag)
		}
		seen[f.tag] = true
	}
	var domain DomainSettings
	clear(seen)
	for _, f := range domain.fields() {
		if f.tag == 0 || seen[f.tag] {
			t.Errorf("tag %d of a domain is used twice", f.tag)
		}
		seen[f.tag] = true
	}
}

// TestFields: every kind of field comes back, and a value that does not fit makes the record unreadable.
func TestFields(t *testing.T) {
	type values struct {
		N int64
		U uint8
		B bool
		T string
		A []mail.Address
	}
	list := func(v *values) []field {
		return []field{amount(5, &v.N), amount(300, &v.U), flag(1, &v.B), text(2, &v.T), addresses(3, &v.A)}
	}
	in := values{N: -7e9, U: 200, B: true, T: "zoë", A: []mail.Address{{Local: "a", Domain: "b.test"}}}
	b := appendFields(nil, list(&in), nil)
	var out values
	d := decoder{rest: b}
	if d.fields(list(&out)); d.bad || !reflect.DeepEqual(in, out) {
		t.Errorf("%+v became %+v", in, out)
	}
	for _, bad := range [][]byte{{5}, {5, 3, 0}, {5, 0}, {1, 2, 1, 1}, appendText([]byte{0xac, 2}, "\x80\x10"), appendText([]byte{3}, "\x09\x00")} {
		d := decoder{rest: bad}
		if d.fields(list(&out)); !d.bad {
			t.Errorf("%x was taken", bad)
		}
	}
}
