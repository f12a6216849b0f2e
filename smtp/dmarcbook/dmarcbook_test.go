package dmarcbook

import (
	"encoding/json"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/mailauth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// noon is the clock of these tests.
var noon = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC)

type bench struct {
	*testing.T
	side *kv.Side
	now  time.Time
	book *Book
}

func setUp(t *testing.T, change func(*Options)) *bench {
	t.Helper()
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db"), Pace: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := side.Close(); err != nil {
			t.Error(err)
		}
	})
	b := &bench{T: t, side: side, now: noon}
	o := Options{Side: side, Now: func() time.Time { return b.now }}
	if change != nil {
		change(&o)
	}
	b.book = New(o)
	return b
}

// message is one of the domain of author, from an address.
func message(author, policyAt, ip string, interval int) Message {
	return Message{
		Report: &mailauth.Report{
			Session: mailauth.Session{Remote: netip.MustParseAddr(ip), Hello: "mx", From: mail.Address{Local: "a", Domain: mail.Domain(author)}},
			SPF:     mailauth.SPF{Result: mailauth.Fail, Domain: author},
			DKIM:    []mailauth.DKIM{{Result: mailauth.Pass, Domain: author, Selector: "s"}},
			DMARC: mailauth.DMARC{Result: mailauth.Pass, Domain: author, AlignedDKIM: true, Policy: "reject",
				Record: &mailauth.PolicyRecord{Domain: policyAt, Policy: "reject", Percent: 100, ReportInterval: interval, Aggregate: []mailauth.ReportAddress{{Address: "r@" + policyAt}}}},
		},
		To: "here.test", Disposition: "none",
	}
}

// owed reads all that is owed.
func (b *bench) owed() (all []Domain) {
	b.Helper()
	after := ""
	for {
		page, next, err := b.book.Owed(b.Context(), after, 2)
		if err != nil {
			b.Fatal(err)
		}
		for _, d := range page {
			if err := b.book.Read(b.Context(), &d); err != nil {
				b.Fatal(err)
			}
			all = append(all, d)
		}
		if next == "" {
			return all
		}
		after = next
	}
}

func shown(all []Domain) (out string) {
	for _, d := range all {
		out += fmt.Sprintf("%s %s+%s missed %d:", d.Name, d.Period.Begin.Format("02T15"), d.Period.Length, d.Missed)
		for _, r := range d.Rows {
			out += fmt.Sprintf(" %s %s x%d", r.Source, r.HeaderFrom, r.Count)
		}
		out += "\n"
	}
	return out
}

// TestCounts: mail is counted by policy domain, source and period; nothing is owed before its period is over; what was reported is gone.
func TestCounts(t *testing.T) {
	b := setUp(t, nil)
	for range 3 {
		b.book.Count(message("one.test", "one.test", "192.0.2.1", 86400))
	}
	b.book.Flush(t.Context())
	b.book.Count(message("one.test", "one.test", "192.0.2.1", 86400))
	b.book.Count(message("sub.one.test", "one.test", "192.0.2.2", 86400))
	b.book.Count(message("two.test", "two.test", "::ffff:192.0.2.3", 3600)) // asks for more than it gets
	b.book.Count(message("three.test", "three.test", "2001:db8::1", 43200))
	none := message("four.test", "four.test", "192.0.2.1", 86400)
	none.Report.DMARC.Record.Aggregate = nil // wants none
	b.book.Count(none)
	b.book.Flush(t.Context())
	if got := b.owed(); len(got) != 0 {
		t.Errorf("owed too early: %s", shown(got))
	}
	b.now = noon.Add(6 * time.Hour)
	if got, want := shown(b.owed()), "two.test 04T12+6h0m0s missed 0: 192.0.2.3 two.test x1\n"; got != want {
		t.Errorf("owed in the evening:\n%swant\n%s", got, want)
	}
	b.now = noon.Add(12 * time.Hour)
	const all = "two.test 04T12+6h0m0s missed 0: 192.0.2.3 two.test x1\n" +
		"three.test 04T12+12h0m0s missed 0: 2001:db8::1 three.test x1\n" +
		"one.test 04T00+24h0m0s missed 0: 192.0.2.1 one.test x4 192.0.2.2 sub.one.test x1\n"
	got := b.owed()
	if shown(got) != all {
		t.Fatalf("owed at midnight:\n%swant\n%s", shown(got), all)
	}
	if p := got[2].Policy; p.P != "reject" || p.Percent != 100 {
		t.Errorf("the policy: %+v", p)
	}
	if err := b.book.Reported(t.Context(), got[2]); err != nil {
		t.Fatal(err)
	}
	if left := b.owed(); len(left) != 2 {
		t.Errorf("after a report: %s", shown(left))
	}
	b.now = noon.Add(6 * day)
	b.book.Forget()
	if err := b.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	if left := b.owed(); len(left) != 0 {
		t.Errorf("after a week: %s", shown(left))
	}
}

// TestCountLimits: a flood of different sources loses details first and is then said to be missing; other domains are counted all the same.
func TestCountLimits(t *testing.T) {
	b := setUp(t, func(o *Options) { o.MaxRows = 3 })
	for i := range 20 {
		b.book.Count(message(fmt.Sprintf("x%d.one.test", i), "one.test", fmt.Sprintf("192.0.2.%d", i), 86400))
		b.book.Flush(t.Context())
	}
	b.book.Count(message("two.test", "two.test", "192.0.2.1", 86400))
	b.book.Flush(t.Context())
	b.now = noon.Add(day)
	got := b.owed()
	if len(got) != 2 || len(got[0].Rows) != 6 || got[0].Missed != 14 || len(got[1].Rows) != 1 {
		t.Fatalf("owed:\n%s", shown(got))
	}
	coarse := 0
	for _, r := range got[0].Rows {
		if r.HeaderFrom == "one.test" && r.Signatures == nil {
			coarse++
		}
	}
	if coarse != 3 {
		t.Errorf("%d rows without details, want 3", coarse)
	}
}

// TestReceived: one report counts once, old ones and too many go.
func TestReceived(t *testing.T) {
	b := setUp(t, func(o *Options) { o.MaxSize = 2000 })
	r := Received{ID: "1", Sender: "far.test", Domain: "one.test", Begin: noon.Add(-day), End: noon, Taken: noon, Sources: []Source{{Address: "192.0.2.1", Count: 5}}}
	for i, want := range []bool{false, true} {
		again, err := b.book.KeepReport(t.Context(), r)
		if err != nil || again != want {
			t.Fatalf("%d: %v %v", i, again, err)
		}
	}
	forged := r
	forged.Sender, forged.Sources = "evil.test", []Source{{Address: "192.0.2.1", Count: 5000}} // says the same id
	if again, err := b.book.KeepReport(t.Context(), forged); again || err != nil {
		t.Fatal(again, err)
	}
	all, err := b.book.Reports(t.Context(), "one.test", noon.Add(-time.Hour))
	if err != nil || len(all) != 2 || all[1].Sender != "far.test" || all[1].Sources[0].Count != 5 {
		t.Fatalf("%+v %v", all, err)
	}
	if all, _ := b.book.Reports(t.Context(), "two.test", time.Time{}); len(all) != 0 {
		t.Errorf("another domain: %+v", all)
	}
	for i := range 20 {
		r.ID, r.Taken = fmt.Sprint("more", i), noon.Add(time.Duration(i)*time.Minute)
		if _, err := b.book.KeepReport(t.Context(), r); err != nil {
			t.Fatal(err)
		}
	}
	forget := func() []Received {
		b.book.Forget()
		if err := b.side.Flush(t.Context()); err != nil {
			t.Fatal(err)
		}
		all, err := b.book.Reports(t.Context(), "", time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	if all = forget(); len(all) < 3 || len(all) > 10 {
		t.Errorf("%d reports in 2,000 octets", len(all))
	}
	for _, r := range all {
		if r.Sender == "far.test" && r.Taken.Before(noon.Add(9*time.Minute)) {
			t.Errorf("an older one stayed: %s", r.ID)
		}
	}
	b.now = noon.Add(91 * day)
	if all = forget(); len(all) != 0 {
		t.Errorf("after 91 days: %d", len(all))
	}
}

// TestWaiting: what is to be read waits over a restart.
func TestWaiting(t *testing.T) {
	b := setUp(t, nil)
	w := Waiting{At: 77, ID: "x", Sender: "far.test", To: []string{"postmaster@one.test"}, Taken: noon}
	b.book.Wait(w)
	w.Tries = 1
	b.book.Wait(w)
	if err := b.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err := New(Options{Side: b.side}).Waiting(t.Context(), 10)
	if err != nil || len(all) != 1 || all[0].At != 77 || all[0].Tries != 1 || all[0].Sender != "far.test" {
		t.Fatalf("%+v %v", all, err)
	}
	if err := b.book.Over(t.Context(), all[0]); err != nil {
		t.Fatal(err)
	}
	if all, _ = b.book.Waiting(t.Context(), 10); len(all) != 0 {
		t.Errorf("%+v", all)
	}
}

// TestReceivedFlood: the bound holds at once, a report of many long names is kept in part, and who sends most loses his own reports.
func TestReceivedFlood(t *testing.T) {
	const most = 1 << 20
	b := setUp(t, func(o *Options) { o.MaxSize = most })
	honest := Received{ID: "1", Sender: "far.test", Domain: "one.test", Begin: noon.Add(-day), End: noon, Taken: noon.Add(-time.Hour), Sources: []Source{{Address: "192.0.2.1", Count: 5}}}
	if _, err := b.book.KeepReport(t.Context(), honest); err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("x", 255)
	big := Received{Sender: "evil.test", Domain: "one.test", Begin: noon.Add(-day), End: noon, Taken: noon}
	for i := range 1000 {
		big.Sources = append(big.Sources, Source{Address: fmt.Sprint(i), Count: 1, Disposition: long, Reason: long, HeaderFrom: long, EnvelopeFrom: long, SPFResult: long})
	}
	for i := range 20 {
		big.ID, big.Sender = fmt.Sprint(i), fmt.Sprint("x", i, ".evil.test")
		if _, err := b.book.KeepReport(t.Context(), big); err != nil {
			t.Fatal(err)
		}
	}
	all, err := b.book.Reports(t.Context(), "", time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	size, there := 0, false
	for _, r := range all {
		text, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		size += len(text)
		there = there || r.Sender == "far.test"
		sum := r.Other
		for _, s := range r.Sources {
			sum += s.Count
		}
		if r.Sender != "far.test" && sum != 1000 {
			t.Errorf("%s counts %d messages", r.Sender, sum)
		}
	}
	if size > most || size < most/2 || !there {
		t.Errorf("%d octets of %d reports are kept; the honest one: %t", size, len(all), there)
	}
}
