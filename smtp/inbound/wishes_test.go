package inbound

import (
	"testing"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// TestBorrowedEntries: an entry that lets in is for who is there named, and not for a proven stranger with his address in MAIL FROM.
func TestBorrowedEntries(t *testing.T) {
	c := newCourt(t, 20)
	c.update(func(tx *kv.Tx) error {
		for sender, block := range map[string]bool{"friend.test": false, "boss@friend.test": false, "evil.test": true, "bad@friend.test": true} {
			if _, err := c.book.Put(tx, c.ids["alice"], sender, block); err != nil {
				return err
			}
		}
		return nil
	})
	mallory := []mailauth.DKIM{{Result: mailauth.Pass, Domain: "mallory.test"}}
	for name, x := range map[string]struct {
		author, path string
		spf          mailauth.Result
		dkim         []mailauth.DKIM
		in, out      string
	}{
		"himself":               {"boss@friend.test", "boss@friend.test", mailauth.Pass, nil, "boss@friend.test", ""},
		"his path, proven":      {"list@mallory.test", "boss@friend.test", mailauth.Pass, nil, "boss@friend.test", ""},
		"no SPF":                {"list@mallory.test", "boss@friend.test", mailauth.None, nil, "boss@friend.test", ""},
		"borrowed":              {"x@mallory.test", "boss@friend.test", mailauth.Fail, mallory, "", ""},
		"borrowed softly":       {"x@mallory.test", "boss@friend.test", mailauth.SoftFail, mallory, "", ""},
		"borrowed against":      {"x@evil.test", "boss@friend.test", mailauth.Fail, nil, "", "evil.test"},
		"forwarded, and signed": {"boss@friend.test", "boss@friend.test", mailauth.Fail, []mailauth.DKIM{{Result: mailauth.Pass, Domain: "friend.test"}}, "boss@friend.test", ""},
		"shut out by path":      {"x@mallory.test", "bad@friend.test", mailauth.Fail, nil, "", "bad@friend.test"},
	} {
		path := parse(t, x.path)
		report := &mailauth.Report{SPF: mailauth.SPF{Result: x.spf, Domain: string(path.Domain)}, DKIM: x.dkim}
		to, judged := Wishes{Book: c.book, Directory: c.dir}.Of(t.Context(), c.ids["alice"], mail.Address{}, SendersOf(parse(t, x.author), path, report))
		if sent := x.spf == mailauth.Pass || x.dkim != nil && x.dkim[0].Domain == "friend.test"; to.Sent != sent {
			t.Errorf("%s: sent is %t", name, to.Sent)
		}
		if !judged || to.LetIn != x.in || to.KeptOut != x.out {
			t.Errorf("%s: let in %q, kept out %q", name, to.LetIn, to.KeptOut)
		}
	}
}
