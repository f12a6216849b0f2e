package junkmail

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/posthouse-mail/posthouse/internal/dns"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Trained are the numbers of messages that an account has taught, half of them junk, for which rates are taken.
func Trained() []int { return []int{0, 50, 200} }

// Trial says how rates are taken.
type Trial struct {
	Accounts int    // each with worlds of its own
	Messages int    // of each class and account
	Lists    bool   // block lists are asked
	Same     bool   // trained with other mail of the very senders and templates that it is tested with
	Dir      string // where tables are made
}

// Rate is what a judge made of test mail.
type Rate struct {
	Trained         int
	Good, GoodJunk  int // good mail, and how much of it went into Junk
	Waits           int // good mail that had to come twice
	Friends, Friend int // good mail of known correspondents, and how much of it went into Junk
	Junk, Found     int
	Refused         int // of what was found
	JunkWaits       int // junk that has to come twice, which most of its senders never do
	Missed          map[string]int
	Wronged         map[string]int
}

// trialist is one account's house.
type trialist struct {
	judge  *spam.Judge
	check  *mailauth.Checker
	close  func()
	to     mail.Address
	counts []*Rate
}

// Measure trains accounts and judges mail that they have never seen.
func Measure(ctx context.Context, t Trial) ([]*Rate, error) {
	var rates []*Rate
	for _, n := range Trained() {
		rates = append(rates, &Rate{Trained: n, Missed: map[string]int{}, Wronged: map[string]int{}})
	}
	for a := range t.Accounts {
		if err := measureAccount(ctx, t, uint64(a+1), rates); err != nil {
			return nil, err
		}
	}
	return rates, nil
}

const host = "mx.example.org"

func measureAccount(ctx context.Context, t Trial, seed uint64, rates []*Rate) error {
	now := time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)
	o := Options{Seed: seed, To: "alice@example.org", Now: now}
	train := New(o)
	o.Test = true
	test := New(o)
	if t.Same {
		train = test
	}
	var lessons, mails []Mail
	for range Trained()[len(Trained())-1] / 2 {
		lessons = append(lessons, train.Junk(), train.Good())
	}
	for range t.Messages {
		mails = append(mails, test.Good(), test.Junk())
	}
	h, err := newTrialist(t, now, append(train.Records(), test.Records()...))
	if err != nil {
		return err
	}
	defer h.close()
	h.counts = rates
	if err := h.teach(ctx, lessons, test.Friends()); err != nil {
		return err
	}
	for _, m := range mails {
		h.take(ctx, m)
	}
	return nil
}

func newTrialist(t Trial, now time.Time, records []string) (*trialist, error) {
	zone, err := dns.NewZone(records...)
	if err != nil {
		return nil, err
	}
	client := zone.Client(dns.Options{})
	dir, err := os.MkdirTemp(t.Dir, "junkmail-")
	if err != nil {
		return nil, err
	}
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(dir, "side.db"), Pace: time.Millisecond})
	if err != nil {
		return nil, err
	}
	clock := func() time.Time { return now }
	so := spam.Options{Side: side, Resolver: client, Now: clock, Hostname: host, Local: func(d mail.Domain) bool { return d == "example.org" }}
	if t.Lists {
		for _, text := range ListTexts() {
			l, err := spam.ParseList(text)
			if err != nil {
				return nil, err
			}
			so.Lists = append(so.Lists, l)
		}
	}
	h := &trialist{judge: spam.New(so), to: mail.Address{Local: "alice", Domain: "example.org"}}
	h.check = mailauth.New(mailauth.Options{Resolver: client, Hostname: host, Now: clock})
	h.close = func() {
		side.Close()
		client.Close()
		os.RemoveAll(dir)
	}
	return h, nil
}

// teach gives one account nothing, one the first lessons, one all of them; all of them have written to their friends.
func (h *trialist) teach(ctx context.Context, lessons []Mail, friends []string) error {
	var list []mail.Address
	for _, f := range friends {
		a, err := mail.ParseAddress(f)
		if err != nil {
			return err
		}
		list = append(list, a)
	}
	for i, n := range Trained() {
		account := mail.AccountID(i + 1)
		h.judge.Wrote(ctx, account, "", list)
		for _, m := range lessons[:n] {
			class := spam.Good
			if m.Junk {
				class = spam.Junk
			}
			r := h.report(ctx, m)
			stored := append([]byte(fmt.Sprintf("Return-Path: <%s>\r\n%sReceived: from %s ([%s])\r\n\tby %s (posthouse) with ESMTP id x; Sun, 22 Nov 2026 12:00:00 +0000\r\n", m.From, r.Field(host), m.Hello, m.Remote, host)), m.Raw...)
			if _, err := h.judge.Learn(ctx, account, bytes.NewReader(stored), class); err != nil {
				return err
			}
		}
	}
	return nil
}

func (h *trialist) report(ctx context.Context, m Mail) mailauth.Report {
	from, _ := mail.ParseAddress(m.From)
	c := h.check.Begin(ctx, mailauth.Session{Remote: m.Remote, Hello: m.Hello, From: from})
	head, body, _ := bytes.Cut(m.Raw, []byte("\r\n\r\n"))
	c.Header(append(bytes.Clone(head), "\r\n"...))
	c.Write(body)
	return c.Finish()
}

// take judges one message for each account.
func (h *trialist) take(ctx context.Context, m Mail) {
	from, _ := mail.ParseAddress(m.From)
	s := h.judge.Begin(ctx, spam.Facts{Remote: m.Remote, Hello: m.Hello, From: from})
	s.Write(m.Raw)
	f := s.Finish(h.report(ctx, m))
	for i, r := range h.counts {
		v := h.judge.Verdict(ctx, f, spam.Recipient{Account: mail.AccountID(i + 1), Address: h.to})
		r.count(m, v)
	}
}

func (r *Rate) count(m Mail, v spam.Verdict) {
	inJunk := v.Class >= spam.Junk
	if m.Junk {
		r.Junk++
		if inJunk {
			r.Found++
		} else {
			r.Missed[m.Kind]++
		}
		switch v.Class {
		case spam.Refuse:
			r.Refused++
		case spam.Doubtful:
			r.JunkWaits++
		}
		return
	}
	r.Good++
	if m.Friend {
		r.Friends++
	}
	if v.Class == spam.Doubtful {
		r.Waits++
	}
	if inJunk {
		r.GoodJunk++
		r.Wronged[m.Kind]++
		if m.Friend {
			r.Friend++
		}
	}
}

// String is the rate as a line of a table.
func (r *Rate) String() string {
	percent := func(n, of int) string { return fmt.Sprintf("%.2f %%", 100*float64(n)/float64(max(of, 1))) }
	return fmt.Sprintf("| %d | %s | %d of %d | %s | %s | %s | %s |", r.Trained, percent(r.GoodJunk, r.Good), r.Friend, r.Friends, percent(r.Found, r.Junk), percent(r.Refused, r.Junk), percent(r.JunkWaits, r.Junk), percent(r.Waits, r.Good))
}
