package queue

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/blob"
)

func address(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// full is an entry with something in every field.
func full(t testing.TB) *entry {
	r := Result{Verdict: Later, Code: 451, Status: "4.7.1", Text: "greylisted\ncome back", Remote: "mx.beta.test", Detail: "[192.0.2.1]:25 clear"}
	return &entry{
		id: "1b2c3d", domain: "beta.test", from: address(t, "alice@alpha.test"), body: mail.Body8BitMIME, utf8: true, held: true, told: true, orphan: true,
		ret: mail.ReturnHeaders, envid: "QQ314", place: blob.LSN(7<<40 | 99), size: 4096, created: 1700000000000, last: 1700000060000, attempts: 3,
		recipients: []recipient{
			{Recipient: mail.Recipient{Address: address(t, "carol@beta.test"), Notify: mail.NotifyFailure, OriginalType: "RFC822", Original: "c@x.test"}, result: r},
			{Recipient: mail.Recipient{Address: address(t, `"d d"@beta.test`)}, result: r},
			{Recipient: mail.Recipient{Address: address(t, "e@gamma.test")}, state: owedFailure, result: Result{Verdict: Never, Code: 550, Status: "5.1.1"}},
			{Recipient: mail.Recipient{Address: address(t, "f@beta.test")}},
		},
	}
}

func TestEntryStoredForm(t *testing.T) {
	e := full(t)
	b := appendEntry(nil, e)
	got, err := parseEntry(b)
	if err != nil || !reflect.DeepEqual(got, e) {
		t.Fatalf("parseEntry gave %+v, %v", got, err)
	}
	g, err := peek(b)
	if err != nil || string(g.from) != "alpha.test" || string(g.to) != "beta.test" || g.since != e.created || g.attempts != 3 || !g.held || !g.told || g.owed {
		t.Fatalf("peek gave %+v, %v", g, err)
	}
	for i := range b {
		if _, err := parseEntry(b[:i]); err == nil {
			t.Errorf("the first %d of %d octets are an entry", i, len(b))
		}
	}
	e.requireTLS, e.unproven = true, true
	e.timing = timing{release: e.created + 3600_000, asked: "for;3600", box: store.Waiting{Account: 1, Mailbox: 300, UID: 70000}}
	c := appendEntry(nil, e)
	got, err = parseEntry(c)
	if err != nil || !reflect.DeepEqual(got, e) || b[0] != 1 || c[0] != 2 { // rows of before read on, and are written as before
		t.Fatalf("with REQUIRETLS parseEntry gave %+v, %v", got, err)
	}
	if g, err := peek(c); err != nil || string(g.to) != "beta.test" || g.attempts != 3 || g.since != e.timing.release {
		t.Fatalf("with REQUIRETLS peek gave %+v, %v", g, err)
	}
	c[2] |= 0x80
	if _, err := parseEntry(c); err == nil {
		t.Error("an unknown flag was taken")
	}
	if _, err := parseEntry(append(b, 0)); err == nil {
		t.Error("an octet too many was taken")
	}
	b[0] = 3
	if _, err := parseEntry(b); err == nil {
		t.Error("an unknown version was taken")
	}
}

// Whatever parses prints back to a form that parses to the same, and peek never disagrees with parseEntry.
func FuzzEntry(f *testing.F) {
	f.Add(appendEntry(nil, full(f)))
	f.Add(appendEntry(nil, &entry{id: "x", domain: "d.test", recipients: []recipient{{Recipient: mail.Recipient{Address: mail.Address{Local: "a", Domain: "d.test"}}}}}))
	late := full(f)
	late.timing = timing{release: 1, asked: "until;2026-01-02T03:04:05Z", box: store.Waiting{Account: 1, Mailbox: 2, UID: 3}}
	f.Add(appendEntry(nil, late))
	f.Add([]byte{1, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parseEntry(b)
		if err != nil {
			return
		}
		again := appendEntry(nil, e)
		e2, err := parseEntry(again)
		if err != nil || !bytes.Equal(appendEntry(nil, e2), again) {
			t.Fatalf("%x became %x: %v", b, again, err)
		}
		if g, err := peek(again); err != nil || g.owed != (e.waits() == 0) || string(g.to) != string(e.domain) {
			t.Fatalf("peek: %+v, %v", g, err)
		}
	})
}
