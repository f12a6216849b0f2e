package inbound

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/junkbook"
	"github.com/posthouse-mail/posthouse/smtp/local"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// court is a house with a judge: alice, bob (who is the postmaster), and the aliases team (both), out (alice, dora@away.test), gone
// (dora@away.test). An account's own line makes it take the plain message of these tests for what the test wants.
type court struct {
	*rig
	t      *testing.T
	dir    *auth.Directory
	side   *kv.Side
	judge  *spam.Judge
	book   *junkbook.Book
	now    time.Time
	junked []uint64
}

// Lines under which the plain message, whose score is about 0, is of a class.
const (
	asGood     = 90
	asDoubtful = 8
	asJunk     = -5
	asRefuse   = -30
)

func newCourt(t *testing.T, line float64) *court {
	t.Helper()
	c := &court{rig: newRig(t), t: t, now: time.Now()}
	c.dir = auth.New(c.db, auth.Options{Postmaster: parse(t, "bob@alpha.test")})
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { side.Close() })
	c.side = side
	c.judge = spam.New(spam.Options{Side: side, Hostname: "mx.alpha.test", Now: func() time.Time { return c.now },
		Lines: spam.Lines{Doubtful: line - 10, Junk: line, Refuse: line + 10}})
	c.book = junkbook.New(c.db, nil)
	c.desk = New(Options{
		Hostname: "mx.alpha.test", Directory: c.dir, Store: c.store, Queue: c.queue, Judge: c.judge, Wishes: Wishes{Book: c.book, Directory: c.dir},
		Greylist: true, Now: func() time.Time { return c.now },
		Local: local.New(local.Options{Store: c.store, Directory: c.dir, Queue: c.queue,
			Junked: func(_ mail.AccountID, id uint64) { c.junked = append(c.junked, id) }}),
	})
	c.update(func(tx *kv.Tx) error {
		if err := c.store.SetQuota(tx, c.ids["bob"], store.Quota{}); err != nil {
			return err
		}
		return c.dir.PutAlias(tx, auth.Alias{Address: parse(t, "gone@alpha.test"), Members: []mail.Address{parse(t, "dora@away.test")}})
	})
	return c
}

func (c *court) update(fn func(tx *kv.Tx) error) {
	c.t.Helper()
	if err := c.db.Update(c.t.Context(), fn); err != nil {
		c.t.Fatal(err)
	}
}

func (c *court) set(who string, change func(*auth.AccountSettings)) {
	c.t.Helper()
	c.update(func(tx *kv.Tx) error {
		return c.dir.Configure(tx, c.ids[who], func(s *auth.AccountSettings) error { change(s); return nil })
	})
}

const plainMail = "From: Zoe <zoe@shop.test>\r\nTo: alice@alpha.test, bob@alpha.test, team@alpha.test\r\nSubject: hello\r\nDate: %s\r\n" +
	"Message-ID: <1@shop.test>\r\nX-Spam-Flag: YES\r\nX-Spam-Status: No, score=-99\r\n\r\nsee you on Friday\r\n"

// send returns the code of the answer, 250 when the message was taken.
func (c *court) send(to ...string) (int, string) {
	c.t.Helper()
	s, err := c.desk.NewSession(c.t.Context(), smtp.Peer{ID: "c1", Hello: "mx.shop.test", Extended: true, Remote: netip.MustParseAddrPort("192.0.2.7:4711")})
	if err != nil {
		c.t.Fatal(err)
	}
	defer s.Logout()
	if err := s.Mail("zoe@shop.test", &gosmtp.MailOptions{}); err != nil {
		c.t.Fatal(err)
	}
	for _, a := range to {
		if err := s.Rcpt(a+"@alpha.test", &gosmtp.RcptOptions{}); err != nil {
			c.t.Fatal(a, err)
		}
	}
	err = s.Data(strings.NewReader(fmt.Sprintf(plainMail, c.now.Format(time.RFC1123Z))))
	if said, ok := errors.AsType[*gosmtp.SMTPError](err); ok {
		return said.Code, said.Message
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return 250, ""
}

// where says who has the message where: "alice Junk, queue dora@away.test".
func (c *court) where() string {
	c.t.Helper()
	var all []string
	for _, who := range []string{"alice", "bob"} {
		for _, box := range []string{"INBOX", "Junk"} {
			for _, m := range storetest.Rows(c.t, c.store, c.ids[who], box) {
				all = append(all, who+" "+box)
				if (m.Flags&store.Junk != 0) != (box == "Junk") {
					c.t.Errorf("%s's message in %s has the flags %b", who, box, m.Flags)
				}
			}
		}
	}
	items, err := c.queue.List(c.t.Context(), queue.Filter{})
	if err != nil {
		c.t.Fatal(err)
	}
	for _, it := range items {
		all = append(all, "queue "+it.Envelope.Recipients[0].Address.String())
	}
	return strings.Join(all, ", ")
}

// TestJudged: each account says for itself what the message is; refused is what nobody wants, and junk goes on to nobody outside.
func TestJudged(t *testing.T) {
	for _, c := range []struct {
		name       string
		alice, bob float64 // their lines
		house      float64 // the line for those outside; 0: good
		to         string
		code       int
		want       string
	}{
		{name: "good for both", to: "team", code: 250, want: "alice INBOX, bob INBOX"},
		{name: "junk for one", alice: asJunk, to: "team", code: 250, want: "alice Junk, bob INBOX"},
		{name: "who would refuse has it in Junk", alice: asRefuse, to: "team", code: 250, want: "alice Junk, bob INBOX"},
		{name: "refused and junk", alice: asRefuse, bob: asJunk, to: "alice bob", code: 250, want: "alice Junk, bob Junk"},
		{name: "nobody wants it", alice: asRefuse, bob: asRefuse, to: "team", code: 550},
		{name: "one who does not want it", alice: asRefuse, to: "alice", code: 550},
		{name: "a postmaster hears everything", bob: asRefuse, to: "postmaster", code: 250, want: "bob Junk"},
		{name: "doubtful", alice: asDoubtful, to: "alice", code: 451},
		{name: "doubtful for one, good for the other", alice: asDoubtful, to: "team", code: 250, want: "alice INBOX, bob INBOX"},
		{name: "doubtful for one, refused by the other", alice: asDoubtful, bob: asRefuse, to: "team", code: 451},
		{name: "good goes on", to: "out", code: 250, want: "alice INBOX, queue dora@away.test"},
		{name: "junk does not go on", house: asJunk, alice: asGood, to: "out", code: 250, want: "alice INBOX"},
		{name: "junk only for outside is refused", house: asJunk, to: "gone", code: 550},
		{name: "doubtful only for outside", house: asDoubtful, to: "gone", code: 451},
		{name: "junk for outside, and taken for another", house: asJunk, alice: asGood, to: "gone alice", code: 250, want: "alice INBOX, bob Junk"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.house == 0 {
				c.house = asGood
			}
			k := newCourt(t, c.house)
			for who, line := range map[string]float64{"alice": c.alice, "bob": c.bob} {
				if line != 0 {
					k.set(who, func(s *auth.AccountSettings) { s.JunkLine = int32(line * 10) })
				}
			}
			code, said := k.send(strings.Fields(c.to)...)
			if got := k.where(); code != c.code || got != c.want {
				t.Errorf("%d %s: %s; want %d: %s", code, said, got, c.code, c.want)
			}
			if n := strings.Count(c.want, "Junk"); len(k.junked) != n {
				t.Errorf("%d were told of as junk, want %d", len(k.junked), n)
			}
		})
	}
}

// TestRefusedIsListed: who was refused or has to come again stands in the book of each account, and is let in when he may.
func TestRefusedIsListed(t *testing.T) {
	c := newCourt(t, asGood)
	c.set("alice", func(s *auth.AccountSettings) { s.JunkLine = asRefuse * 10 })
	c.set("bob", func(s *auth.AccountSettings) { s.JunkLine = asDoubtful * 10 })
	if code, said := c.send("alice"); code != 550 || !strings.Contains(said, "let you in") {
		t.Error(code, said)
	}
	if code, said := c.send("bob"); code != 451 || !strings.Contains(said, "minutes") {
		t.Error(code, said)
	}
	if err := c.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, who := range []string{"alice", "bob"} {
		list, err := c.judge.Refusals(t.Context(), c.ids[who])
		if err != nil || len(list) != 1 || list[0].Sender != "zoe@shop.test" || list[0].Subject != "hello" {
			t.Errorf("%s: %+v %v", who, list, err)
		}
	}
	c.now = c.now.Add(10 * time.Minute)
	if code, said := c.send("bob"); code != 250 {
		t.Error("he came again:", code, said)
	}
	c.update(func(tx *kv.Tx) error {
		_, err := c.book.Put(tx, c.ids["alice"], "zoe@shop.test", false)
		return err
	})
	if code, said := c.send("alice"); code != 250 {
		t.Error("he was let in:", code, said)
	}
	if got := c.where(); got != "alice INBOX, bob INBOX" {
		t.Error(got)
	}
	c.update(func(tx *kv.Tx) error {
		_, err := c.book.Put(tx, c.ids["bob"], "shop.test", true)
		return err
	})
	if code, said := c.send("bob"); code != 250 {
		t.Error(code, said)
	}
	if got := c.where(); got != "alice INBOX, bob INBOX, bob Junk" {
		t.Error("he was shut out:", got)
	}
}

// TestDisownedIsListed: what the author's domain has refused stands in the same list.
func TestDisownedIsListed(t *testing.T) {
	c := newCourt(t, asGood)
	z, err := dns.NewZone(`_dmarc.shop.test. IN TXT "v=DMARC1; p=reject"`)
	if err != nil {
		t.Fatal(err)
	}
	resolver := z.Client(dns.Options{})
	defer resolver.Close()
	c.desk.o.Checks = mailauth.New(mailauth.Options{Resolver: resolver, Hostname: "mx.alpha.test"})
	if code, said := c.send("alice"); code != 550 {
		t.Error(code, said)
	}
	if err := c.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	list, err := c.judge.Refusals(t.Context(), c.ids["alice"])
	if err != nil || len(list) != 1 || list[0].Sender != "zoe@shop.test" || !strings.Contains(list[0].Reason, "DMARC") {
		t.Errorf("%+v %v", list, err)
	}
}

// TestHelpersDoubt: a helper that is unsure makes strangers wait, and nobody else.
func TestHelpersDoubt(t *testing.T) {
	h := &hearing{accounts: []opinion{
		{judged: true},
		{judged: true, verdict: spam.Verdict{Known: true}},
		{judged: true, to: spam.Recipient{LetIn: "shop.test"}},
		{},
		{judged: true, verdict: spam.Verdict{Class: spam.Junk}},
	}, outside: &opinion{judged: true}}
	h.doubt()
	var got []spam.Class
	for _, o := range h.all() {
		got = append(got, o.verdict.Class)
	}
	if fmt.Sprint(got) != "[doubtful good good good junk doubtful]" {
		t.Error(got)
	}
}

// TestList: junk for the members of a list is refused; what is for the list itself is taken.
func TestList(t *testing.T) {
	c := newCourt(t, asJunk)
	l := auth.List{Address: parse(t, "club@alpha.test"), Posting: auth.PostAnyone, Owners: []mail.Address{parse(t, "alice@alpha.test")}}
	c.update(func(tx *kv.Tx) (err error) {
		l.ID, err = c.dir.PutList(tx, l)
		return err
	})
	if code, said := c.send("club"); code != 550 || !strings.Contains(said, "junk") {
		t.Error(code, said)
	}
	if code, said := c.send("club", "alice"); code != 250 || c.where() != "alice Junk, bob Junk" {
		t.Error(code, said, c.where())
	}
	back := c.dir.At(l, auth.ListBounces, "token")
	if code, said := c.send(back.Local); code != 250 || !strings.Contains(c.where(), "queue "+back.String()) {
		t.Error(code, said, c.where())
	}
}

// TestVerdictFields: what strangers claim goes, and an account's own signals stand only in its own copy.
func TestVerdictFields(t *testing.T) {
	c := newCourt(t, asGood)
	text := func(who, box string) string {
		t.Helper()
		rows := storetest.Rows(t, c.store, c.ids[who], box)
		return storetest.Text(t, c.store, rows[len(rows)-1])
	}
	c.update(func(tx *kv.Tx) error {
		_, err := c.book.Put(tx, c.ids["alice"], "shop.test", true)
		return err
	})
	c.send("alice")
	if own := text("alice", "Junk"); !strings.Contains(own, "X-Spam-Flag: YES\r\nX-Spam-Status: Yes, score=") || !strings.Contains(own, "kept_out=") || strings.Contains(own, "-99") {
		t.Error(own)
	}
	c.send("team")
	if common := text("bob", "INBOX"); !strings.Contains(common, "X-Spam-Status: No, score=") || strings.Contains(common, "kept_out") || strings.Contains(common, "Flag") || strings.Contains(common, "-99") {
		t.Error(common)
	}
	c.set("bob", func(s *auth.AccountSettings) { s.JunkOff = true })
	c.send("bob")
	if off := text("bob", "INBOX"); strings.Contains(off, "X-Spam") {
		t.Error(off)
	}
	box, err := c.store.Mailbox(t.Context(), c.ids["alice"], "Junk")
	if err != nil {
		t.Fatal(err)
	}
	if words, err := c.store.Keywords(t.Context(), box.ID); err != nil || fmt.Sprint(words) != "["+FirstContact+"]" {
		t.Error(words, err)
	}
}

// TestFullMailbox: whoever could not be asked, because his mailbox is full, has not refused.
func TestFullMailbox(t *testing.T) {
	c := newCourt(t, asGood)
	c.update(func(tx *kv.Tx) error { return c.store.SetQuota(tx, c.ids["bob"], store.Quota{Bytes: 10}) })
	c.set("alice", func(s *auth.AccountSettings) { s.JunkLine = asRefuse * 10 })
	if code, said := c.send("team"); code != 250 || c.where() != "alice Junk, queue bob@alpha.test" {
		t.Error(code, said, c.where())
	}
}

// TestForwardingAccount: junk of somebody who forwards his mail stays in his Junk here.
func TestForwardingAccount(t *testing.T) {
	c := newCourt(t, asGood)
	c.set("alice", func(s *auth.AccountSettings) { s.Forward = []mail.Address{parse(t, "alice@away.test")} })
	if code, said := c.send("alice"); code != 250 || c.where() != "queue alice@away.test" {
		t.Error(code, said, c.where())
	}
	c.set("alice", func(s *auth.AccountSettings) { s.JunkLine = asJunk * 10 })
	if code, said := c.send("alice"); code != 250 || c.where() != "alice Junk, queue alice@away.test" {
		t.Error(code, said, c.where())
	}
}

// silence is a resolver that never answers.
type silence struct {
	dns.Resolver
	asked chan struct{}
}

func (r silence) A(ctx context.Context, _ string) ([]netip.Addr, bool, error) {
	select {
	case r.asked <- struct{}{}:
	default:
	}
	<-ctx.Done()
	return nil, false, ctx.Err()
}
func (r silence) AAAA(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	return r.A(ctx, host)
}
func (r silence) IP(ctx context.Context, host string) ([]netip.Addr, bool, error) {
	return r.A(ctx, host)
}
func (r silence) TXT(ctx context.Context, _ string) ([]string, bool, error) {
	_, _, err := r.A(ctx, "")
	return nil, false, err
}
func (r silence) MX(ctx context.Context, _ string) ([]dns.MX, bool, error) {
	_, _, err := r.A(ctx, "")
	return nil, false, err
}
func (r silence) PTR(ctx context.Context, _ netip.Addr) ([]string, bool, error) {
	_, _, err := r.A(ctx, "")
	return nil, false, err
}

// TestSilentLists: lists that do not answer hold a message no longer than they may, and count as nothing.
func TestSilentLists(t *testing.T) {
	c := newCourt(t, asGood)
	list, err := spam.ParseList("slow address slow.test 127.0.0.2=9")
	if err != nil {
		t.Fatal(err)
	}
	dumb := silence{asked: make(chan struct{}, 1)}
	c.desk.o.Judge = spam.New(spam.Options{Hostname: "mx.alpha.test", Resolver: dumb, Lists: []spam.List{list}, AskOfPrivate: true, ListWait: 50 * time.Millisecond})
	began := time.Now()
	if code, said := c.send("alice"); code != 250 && code != 451 {
		t.Error(code, said)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("the message was held for %s", took)
	}
	select {
	case <-dumb.asked:
	default:
		t.Error("nothing was asked")
	}
}
