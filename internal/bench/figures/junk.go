package main

import (
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/posthouse-mail/posthouse/internal/bench/junkmail"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/smtp/spam"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// junk prints what a judge makes of generated mail that it has never seen, after 0, 50 and 200 messages that its account has taught.
func (b *bench) junk() error {
	for _, t := range []struct {
		name  string
		trial junkmail.Trial
	}{
		{"strangers only, no lists", junkmail.Trial{}},
		{"strangers only, block lists", junkmail.Trial{Lists: true}},
		{"senders met before, no lists", junkmail.Trial{Same: true}},
	} {
		t.trial.Accounts, t.trial.Messages, t.trial.Dir = 5, 200, b.dir
		rates, err := junkmail.Measure(context.Background(), t.trial)
		if err != nil {
			return err
		}
		for _, r := range rates {
			percent := func(n, of int) float64 { return 100 * float64(n) / float64(max(of, 1)) }
			b.add(r.GoodJunk*200 <= r.Good && r.Friend == 0, fmt.Sprintf("junk: %s, %d taught: good mail in Junk (of correspondents)", t.name, r.Trained), "at most 0.5 % (none)",
				"%.2f %% of %d (%d of %d)", percent(r.GoodJunk, r.Good), r.Good, r.Friend, r.Friends)
			b.add(true, fmt.Sprintf("junk: %s, %d taught: junk found, and made to come twice", t.name, r.Trained), "shown",
				"%.1f %%, %.1f %% of %d", percent(r.Found, r.Junk), percent(r.JunkWaits, r.Junk), r.Junk)
		}
	}
	return b.junkCPU()
}

// junkCPU is what a verdict about a message of 12 KB costs.
func (b *bench) junkCPU() error {
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(b.dir, "junk-side.db"), Pace: time.Millisecond})
	if err != nil {
		return err
	}
	defer side.Close()
	judge := spam.New(spam.Options{Side: side})
	ctx := context.Background()
	w := junkmail.New(junkmail.Options{Seed: 1, To: "alice@example.org", Now: time.Now()})
	for range 100 {
		for _, l := range []struct {
			mail  junkmail.Mail
			class spam.Class
		}{{w.Good(), spam.Good}, {w.Junk(), spam.Junk}} {
			if _, err := judge.Learn(ctx, 1, bytes.NewReader(l.mail.Raw), l.class); err != nil {
				return err
			}
		}
	}
	raw := w.Long(12 << 10)
	const n = 2000
	begin := cpuTime()
	for range n {
		s := judge.Begin(ctx, spam.Facts{Remote: netip.MustParseAddr("198.18.1.2"), Hello: "mail.example.net"})
		s.Write(raw)
		judge.Verdict(ctx, s.Finish(mailauth.Report{}), spam.Recipient{Account: 1, Address: mail.Address{Local: "alice", Domain: "example.org"}})
	}
	each := (cpuTime() - begin) / n
	b.add(each <= 500*time.Microsecond, "junk: CPU of a verdict, 12 KB", "at most 0.5 ms", "%.3f ms", each.Seconds()*1000)
	return nil
}
