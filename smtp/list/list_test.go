package list

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"io"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
)

// rig is a house with alice, bob and the list dev (bob and dora@away.test, owned by alice).
type rig struct {
	t     *testing.T
	lists *Lists
	store *store.Store
	db    *kv.DB
	queue *queue.Queue
	dir   *auth.Directory
	now   time.Time
	keys  map[mail.Domain]mailauth.SigningKey
	zone  []string
}

func parse(t testing.TB, s string) mail.Address {
	t.Helper()
	a, err := mail.ParseAddress(s)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// newRig makes it; zone is what DNS has besides the keys of alpha.test and good.test.
func newRig(t *testing.T, zone ...string) *rig {
	t.Helper()
	r := &rig{t: t, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), keys: map[mail.Domain]mailauth.SigningKey{}, zone: zone}
	r.store, r.db = storetest.New(t, func(db *kv.DB, s *store.Store) {
		var err error
		if r.queue, err = queue.New(db, s, queue.Options{Hostname: "mx.alpha.test"}); err != nil {
			t.Fatal(err)
		}
		r.dir = auth.New(db, auth.Options{Now: func() time.Time { return r.now }})
		Register(db, r.dir)
	})
	err := r.db.Update(t.Context(), func(tx *kv.Tx) error {
		if err := r.dir.PutDomain(tx, auth.Domain{Name: "alpha.test"}); err != nil {
			return err
		}
		for _, name := range []string{"alice", "bob"} {
			id, err := r.dir.CreateAccount(tx, auth.Account{Addresses: []mail.Address{parse(t, name+"@alpha.test"), parse(t, name+".long@alpha.test")}, Doors: auth.DoorAll}, auth.Secret{})
			if err != nil {
				return err
			}
			if err := r.store.CreateAccount(tx, id, store.Quota{}); err != nil {
				return err
			}
		}
		if _, err := r.dir.PutList(tx, auth.List{Address: parse(t, "dev@alpha.test"), Name: "Developers", Owners: []mail.Address{parse(t, "alice@alpha.test")}}); err != nil {
			return err
		}
		_, err := r.dir.AddMembers(tx, parse(t, "dev@alpha.test"), []mail.Address{parse(t, "bob@alpha.test"), parse(t, "dora@away.test")})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, domain := range []mail.Domain{"alpha.test", "good.test"} {
		pub, private, err := ed25519.GenerateKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		text := "v=DKIM1; k=ed25519; p=" + base64.StdEncoding.EncodeToString(pub)
		r.keys[domain] = mailauth.SigningKey{Domain: string(domain), Selector: "s", Private: private}
		r.zone = append(r.zone, "s._domainkey."+string(domain)+`. IN TXT "`+text+`"`)
	}
	r.with(Options{})
	return r
}

func (r *rig) checker() *mailauth.Checker {
	r.t.Helper()
	z, err := dns.NewZone(r.zone...)
	if err != nil {
		r.t.Fatal(err)
	}
	c := z.Client(dns.Options{})
	r.t.Cleanup(func() { c.Close() })
	return mailauth.New(mailauth.Options{Resolver: c, Hostname: "mx.alpha.test", Now: func() time.Time { return r.now }})
}

// with makes the lists anew.
func (r *rig) with(o Options) {
	o.Now, o.Store, o.DB, o.Directory, o.Queue, o.Hostname = func() time.Time { return r.now }, r.store, r.db, r.dir, r.queue, "mx.alpha.test"
	o.Checks = r.checker()
	o.Keys = func(_ context.Context, d mail.Domain) ([]mailauth.SigningKey, error) {
		if k, ok := r.keys[d]; ok {
			return []mailauth.SigningKey{k}, nil
		}
		return nil, nil
	}
	r.lists = New(o)
}

// settings changes the list.
func (r *rig) settings(change func(*auth.List)) {
	r.t.Helper()
	l, err := r.dir.List(r.t.Context(), parse(r.t, "dev@alpha.test"))
	if err != nil {
		r.t.Fatal(err)
	}
	change(&l)
	if err := r.db.Update(r.t.Context(), func(tx *kv.Tx) error { _, err := r.dir.PutList(tx, l); return err }); err != nil {
		r.t.Fatal(err)
	}
}

// take is mail out of the queue for one of the list's addresses.
func (r *rig) take(from, to, text string) queue.Result {
	r.t.Helper()
	route, err := r.dir.Resolve(r.t.Context(), parse(r.t, to))
	if err != nil || len(route.Lists) != 1 {
		r.t.Fatalf("%s leads to %+v (%v)", to, route, err)
	}
	e := mail.Envelope{Recipients: []mail.Recipient{{Address: parse(r.t, to)}}}
	if from != "" {
		e.From = parse(r.t, from)
	}
	text = strings.ReplaceAll(text, "\n", "\r\n")
	a := queue.Attempt{Item: queue.Item{ID: r.queue.NewID(), Envelope: e}, Content: io.NewSectionReader(strings.NewReader(text), 0, int64(len(text)))}
	return r.lists.Take(r.t.Context(), a, route.Lists[0])
}

// leaving is what waits in the queue, by recipient, with its text as it leaves; the queue is empty then.
func (r *rig) leaving() map[string]copied {
	r.t.Helper()
	items, err := r.queue.List(r.t.Context(), queue.Filter{})
	if err != nil {
		r.t.Fatal(err)
	}
	out := map[string]copied{}
	for _, it := range items {
		b, err := r.store.OpenAt(r.t.Context(), it.Place)
		if err != nil {
			r.t.Fatal(err)
		}
		raw := make([]byte, b.Size())
		if n, err := b.ReadAt(raw, 0); n < len(raw) {
			r.t.Fatal(err)
		}
		b.Close()
		if first, rest, _ := bytes.Cut(raw, []byte("\r\n")); bytes.HasPrefix(first, []byte("Return-Path:")) {
			raw = rest
		}
		out[it.Envelope.Recipients[0].Address.String()] = copied{it, it.Envelope.Front + string(raw)}
	}
	if len(items) > 0 {
		if _, err := r.queue.Cancel(r.t.Context(), queue.Filter{}, false); err != nil {
			r.t.Fatal(err)
		}
	}
	return out
}

type copied struct {
	queue.Item
	text string
}

// there is what the next host finds out about a copy.
func (r *rig) there(c copied) mailauth.Report {
	header, body, _ := strings.Cut(c.text, "\r\n\r\n")
	k := r.checker().Begin(r.t.Context(), mailauth.Session{Remote: netip.MustParseAddr("192.0.2.9"), Hello: "mx.alpha.test", From: c.Envelope.From})
	k.Header([]byte(header + "\r\n"))
	_, _ = k.Write([]byte(body))
	return k.Finish()
}

func (r *rig) signed(domain mail.Domain, text string) string {
	r.t.Helper()
	text = strings.ReplaceAll(text, "\n", "\r\n")
	header, body, _ := strings.Cut(text, "\r\n\r\n")
	s := mailauth.NewSigner([]byte(header+"\r\n"), r.now, r.keys[domain])
	_, _ = s.Write([]byte(body))
	f, err := s.Sign()
	if err != nil {
		r.t.Fatal(err)
	}
	return strings.ReplaceAll(string(f)+text, "\r\n", "\n")
}

func has(t *testing.T, text string, want ...string) {
	t.Helper()
	for _, w := range want {
		if !strings.Contains(text, w) {
			t.Errorf("lacks %q:\n%s", w, text)
		}
	}
}

func lacks(t *testing.T, text string, bad ...string) {
	t.Helper()
	for _, w := range bad {
		if strings.Contains(text, w) {
			t.Errorf("has %q:\n%s", w, text)
		}
	}
}

const hello = "From: Zoe <zoe@good.test>\nTo: dev@alpha.test\nSubject: hello\nMessage-ID: <1@good.test>\nDate: Fri, 02 Jan 2026 03:04:05 +0000\n\nhello all\n"

// TestPost: one text, a copy for each member under a sender of his own, the list's fields, and nothing that breaks the author's
// signature; the same message again goes to nobody.
func TestPost(t *testing.T) {
	r := newRig(t, `_dmarc.good.test. IN TXT "v=DMARC1; p=reject"`)
	r.settings(func(l *auth.List) { l.Posting = auth.PostAnyone })
	text := "Authentication-Results: mx.alpha.test; dkim=pass header.d=good.test; dmarc=pass header.from=good.test\n" + r.signed("good.test", hello)
	if got := r.take("zoe@good.test", "dev@alpha.test", text); got.Verdict != queue.Done || got.Handoff != queue.Posted {
		t.Fatal(got)
	}
	copies := r.leaving()
	if len(copies) != 2 || copies["bob@alpha.test"].Place != copies["dora@away.test"].Place {
		t.Fatalf("%+v", copies)
	}
	senders := map[mail.Address]bool{}
	for who, c := range copies {
		senders[c.Envelope.From] = true
		if !strings.HasPrefix(c.Envelope.From.Local, "dev-bounces+") || c.Envelope.From.Domain != "alpha.test" {
			t.Errorf("%s gets it from %s", who, c.Envelope.From)
		}
		has(t, c.text, "List-Id: \"Developers\" <dev.alpha.test>\r\n", "List-Post: <mailto:dev@alpha.test>\r\n", "Precedence: list\r\n", "From: Zoe <zoe@good.test>\r\n",
			"List-Unsubscribe: <mailto:dev-unsubscribe@alpha.test?subject=unsubscribe>\r\n", "X-Loop: dev@alpha.test\r\n", "ARC-Seal: ", "\r\n\r\nhello all\r\n")
		lacks(t, c.text, "One-Click", "\nReply-To:", "Return-Path")
		seen := r.there(c)
		if seen.DMARC.Result != mailauth.Pass || seen.ARC.Result != mailauth.Pass {
			t.Errorf("the next host sees %+v, %+v", seen.DMARC, seen.ARC)
		}
		if !slices.ContainsFunc(seen.DKIM, func(d mailauth.DKIM) bool { return d.Domain == "alpha.test" && d.Result == mailauth.Pass }) {
			t.Errorf("the list's signature: %+v", seen.DKIM)
		}
	}
	if len(senders) != 2 {
		t.Errorf("senders %v", senders)
	}
	if got := r.take("zoe@good.test", "dev@alpha.test", text); got.Verdict != queue.Done || len(r.leaving()) != 0 {
		t.Errorf("posted twice: %v", got)
	}
}

// TestMunge: a change that breaks the author's signature makes the list the author where the author's domain would have copies refused.
func TestMunge(t *testing.T) {
	for _, c := range []struct {
		name, dmarc string
		change      func(*auth.List)
		unsigned    bool
		munged      bool
	}{
		{name: "reject, untouched", dmarc: "reject", change: func(*auth.List) {}},
		{name: "reject, unsigned", dmarc: "reject", change: func(*auth.List) {}, unsigned: true, munged: true},
		{name: "none, tag", dmarc: "none", change: func(l *auth.List) { l.Tag = "[dev]" }},
		{name: "reject, tag", dmarc: "reject", change: func(l *auth.List) { l.Tag = "[dev]" }, munged: true},
		{name: "quarantine, answers to the list", dmarc: "quarantine", change: func(l *auth.List) { l.Replies = auth.ReplyList }, munged: true},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := newRig(t, `_dmarc.good.test. IN TXT "v=DMARC1; p=`+c.dmarc+`"`)
			r.settings(func(l *auth.List) { l.Posting = auth.PostAnyone; c.change(l) })
			text := hello
			if !c.unsigned {
				text = r.signed("good.test", hello)
			}
			if got := r.take("zoe@good.test", "dev@alpha.test", text); got.Verdict != queue.Done {
				t.Fatal(got)
			}
			x := r.leaving()["dora@away.test"]
			if munged := strings.Contains(x.text, "via Developers"); munged != c.munged {
				t.Fatalf("munged: %t\n%s", munged, x.text)
			}
			if c.munged {
				has(t, x.text, "<dev@alpha.test>\r\n", "Reply-To: ")
				if c.dmarc == "reject" {
					has(t, x.text, "Reply-To: zoe@good.test\r\n")
				}
				if d := r.there(x).DMARC; d.Result == mailauth.Fail {
					t.Errorf("%+v", d)
				}
			}
		})
	}
}

// TestRefuses: who may post, and what nobody may.
func TestRefuses(t *testing.T) {
	r := newRig(t)
	mailFrom := func(from, more string) string {
		return "From: " + from + "\nMessage-ID: <" + fmt.Sprint(len(more), from) + ">\n" + more + "\nx\n"
	}
	failed := "Authentication-Results: mx.alpha.test; dmarc=fail header.from=away.test\n"
	for _, c := range []struct {
		name, text string
		post       auth.Posting
		code       int // 0: posted; 250: taken, and posted to nobody
		status     string
	}{
		{name: "a member", text: mailFrom("dora@away.test", "")},
		{name: "another name of a member", text: mailFrom("bob.long@alpha.test", "")},
		{name: "an owner", text: mailFrom("alice@alpha.test", "")},
		{name: "a stranger", text: mailFrom("eve@evil.test", ""), code: 550, status: "5.7.2"},
		{name: "a stranger to an open list", text: mailFrom("eve@evil.test", ""), post: auth.PostAnyone},
		{name: "a member who is not named", text: mailFrom("dora@away.test", "A: b\n"), post: auth.PostNamed, code: 550, status: "5.7.2"},
		{name: "two authors, one a stranger", text: mailFrom("dora@away.test, eve@evil.test", ""), code: 550, status: "5.7.2"},
		{name: "a member whom somebody forged", text: failed + mailFrom("dora@away.test", ""), code: 550, status: "5.7.1"},
		{name: "results of somebody else", text: strings.Replace(failed, "mx.alpha", "mx.evil", 1) + mailFrom("dora@away.test", "B: c\n")},
		{name: "nobody", text: "Subject: x\n\nx\n", post: auth.PostAnyone, code: 550, status: "5.7.1"},
		{name: "from the list already", text: mailFrom("dora@away.test", "List-Id: Dev <DEV.alpha.test>\n"), code: 554, status: "5.4.6"},
		{name: "through the list already", text: mailFrom("dora@away.test", "X-Loop: Dev@alpha.test\n"), code: 554, status: "5.4.6"},
		{name: "an automatic answer", text: mailFrom("dora@away.test", "Auto-Submitted: auto-replied (vacation)\n"), code: 250},
		{name: "an automatic answer of old", text: mailFrom("dora@away.test", "Precedence: auto_reply\n"), code: 250},
		{name: "bulk is no answer", text: mailFrom("dora@away.test", "Precedence: bulk\nSubject: more\n")},
		{name: "not automatic, and says so", text: mailFrom("dora@away.test", "Auto-Submitted: no\n")},
		{name: "another list's mail", text: mailFrom("dora@away.test", "List-Id: <other.away.test>\nX-Loop: other@away.test\n")},
	} {
		t.Run(c.name, func(t *testing.T) {
			r.t = t
			r.settings(func(l *auth.List) { l.Posting = c.post })
			l, err := r.dir.List(t.Context(), parse(t, "dev@alpha.test"))
			if err != nil {
				t.Fatal(err)
			}
			header, _, _ := strings.Cut(strings.ReplaceAll(c.text, "\n", "\r\n"), "\r\n\r\n")
			said := r.lists.Refuse(t.Context(), l, []byte(header+"\r\n"))
			if early := c.code != 0 && !strings.HasPrefix(c.text, "Authentication-Results"); (said != nil) != early {
				t.Errorf("in the session: %v", said)
			}
			got := r.take("dora@away.test", "dev@alpha.test", c.text)
			sent := len(r.leaving())
			switch {
			case c.code == 0 && (got.Verdict != queue.Done || sent != 2), c.code == 250 && (got.Verdict != queue.Done || sent != 0):
				t.Errorf("%v, %d copies", got, sent)
			case c.code >= 500 && (got.Verdict != queue.Never || got.Code != c.code || got.Status != c.status || sent != 0):
				t.Errorf("%v, %d copies", got, sent)
			}
		})
	}
	r.t = t
	r.settings(func(l *auth.List) { l.Posting, l.MaxSize = auth.PostAnyone, 100 })
	if got := r.take("dora@away.test", "dev@alpha.test", hello+strings.Repeat("x\n", 8<<10)); got.Code != 552 {
		t.Error(got)
	}
	if got := r.take("", "dev@alpha.test", hello); got.Verdict != queue.Done || len(r.leaving()) != 0 {
		t.Error("a report was posted", got)
	}
}
