package inbound

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/list"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// TestListsRefuse: what a list does not take is refused while its sender listens; where others get the message too, it is taken.
func TestListsRefuse(t *testing.T) {
	r := newRig(t)
	dir := auth.New(r.db, auth.Options{})
	zone, err := dns.NewZone(`_dmarc.good.test. IN TXT "v=DMARC1; p=none"`)
	if err != nil {
		t.Fatal(err)
	}
	resolver := zone.Client(dns.Options{})
	defer resolver.Close()
	err = r.db.Update(t.Context(), func(tx *kv.Tx) error {
		dev := auth.List{Address: parse(t, "dev@alpha.test"), Owners: []mail.Address{parse(t, "alice@alpha.test")}, MaxSize: 2000}
		if _, err := dir.PutList(tx, dev); err != nil {
			return err
		}
		open := auth.List{Address: parse(t, "open@alpha.test"), Owners: dev.Owners, Posting: auth.PostAnyone}
		if _, err := dir.PutList(tx, open); err != nil {
			return err
		}
		_, err := dir.AddMembers(tx, dev.Address, []mail.Address{parse(t, "zoe@good.test"), parse(t, "max@plain.test")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	r.desk = New(Options{Hostname: "mx.alpha.test", Directory: dir, Store: r.store, Queue: r.queue, MaxSize: 1000,
		Checks: mailauth.New(mailauth.Options{Resolver: resolver, Hostname: "mx.alpha.test"}),
		Lists:  list.New(list.Options{Store: r.store, DB: r.db, Directory: dir, Queue: r.queue, Hostname: "mx.alpha.test"}),
		Local:  local.New(local.Options{Store: r.store, Directory: dir, Queue: r.queue})})
	for _, c := range []struct {
		name, from, to string
		size           int64
		author         string
		code           int // 0: taken
		has            string
	}{
		{name: "a member whose domain says nothing", from: "max@plain.test", to: "dev@alpha.test", author: "max@plain.test"},
		{name: "a member, forged", from: "max@plain.test", to: "dev@alpha.test", author: "zoe@good.test", code: 550, has: "not proven"},
		{name: "forged, to a list for anyone", from: "max@plain.test", to: "open@alpha.test", author: "zoe@good.test"},
		{name: "one of our own people, forged", from: "max@plain.test", to: "dev@alpha.test", author: "alice@alpha.test", code: 550, has: "not proven"},
		{name: "a stranger", from: "max@plain.test", to: "dev@alpha.test", author: "eve@evil.test", code: 550, has: "may not post"},
		{name: "a stranger, to alice too", from: "max@plain.test", to: "dev@alpha.test alice@alpha.test", author: "eve@evil.test"},
		{name: "a stranger, to two lists", from: "max@plain.test", to: "open@alpha.test dev@alpha.test", author: "eve@evil.test", code: 550, has: "dev@alpha.test"},
		{name: "a report", to: "dev@alpha.test", author: "max@plain.test", code: 550, has: "no reports"},
		{name: "too large", from: "max@plain.test", to: "dev@alpha.test", size: 3000, author: "max@plain.test", code: 552, has: "larger"},
		{name: "mail to leave", from: "max@plain.test", to: "dev-unsubscribe@alpha.test", author: "eve@evil.test"},
	} {
		s, err := r.desk.NewSession(t.Context(), smtp.Peer{ID: "c1", Hello: "mx.good.test", Extended: true, Remote: netip.MustParseAddrPort("192.0.2.7:4711")})
		if err != nil {
			t.Fatal(err)
		}
		err = s.Mail(c.from, &gosmtp.MailOptions{Size: c.size})
		for to := range strings.FieldsSeq(c.to) {
			if err == nil {
				err = s.Rcpt(to, &gosmtp.RcptOptions{})
			}
		}
		if err == nil {
			err = s.Data(strings.NewReader("From: " + c.author + "\r\nSubject: x\r\n\r\nx\r\n"))
		}
		said, refused := errors.AsType[*gosmtp.SMTPError](err)
		if c.code == 0 && err != nil || c.code != 0 && (!refused || said.Code != c.code || !strings.Contains(said.Message, c.has)) {
			t.Errorf("%s: %v", c.name, err)
		}
		items, err := r.queue.List(t.Context(), queue.Filter{})
		if err != nil || (len(items) == 1) != (c.code == 0) {
			t.Errorf("%s: %d wait, %v", c.name, len(items), err)
		}
		if _, err := r.queue.Cancel(t.Context(), queue.Filter{}, false); err != nil && len(items) > 0 {
			t.Fatal(err)
		}
		if err := s.Logout(); err != nil {
			t.Fatal(err)
		}
	}
}
