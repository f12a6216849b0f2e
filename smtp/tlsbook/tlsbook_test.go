package tlsbook

import (
	"context"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/posthouse-mail/posthouse/smtp/tlspolicy"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// house is a Book with a clock that is set by hand.
type house struct {
	*Book
	side *kv.Side
	now  time.Time
}

func newHouse(t *testing.T) *house {
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
	h := &house{side: side, now: time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)}
	h.Book = New(Options{Side: side, Now: func() time.Time { return h.now }})
	return h
}

func (h *house) sync(t *testing.T) {
	t.Helper()
	if err := h.side.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
}

const text = "version: STSv1\nmode: enforce\nmx: mx.beta.test\nmax_age: 864000\n"

func TestPolicies(t *testing.T) {
	h := newHouse(t)
	var _ tlspolicy.Cache = h
	if _, ok := h.Find("beta.test"); ok {
		t.Fatal("found what was never kept")
	}
	want := tlspolicy.Entry{ID: "1", Policy: text, Fetched: h.now, Used: h.now}
	h.Keep("beta.test", want)
	h.Keep("failed.test", tlspolicy.Entry{Failed: h.now, Type: "sts-policy-fetch-error", Reason: "x"})
	if got, ok := h.Find("beta.test"); !ok || got != want {
		t.Fatalf("%+v", got)
	}
	if all, err := h.Domains(t.Context()); err != nil || !slices.Equal(all, []string{"beta.test"}) {
		t.Fatalf("%v %v", all, err)
	}
	h.now = h.now.Add(9 * day)
	h.forget()
	h.sync(t)
	if _, ok := h.Find("beta.test"); !ok {
		t.Error("a policy that holds was forgotten")
	}
	if _, ok := h.Find("failed.test"); ok {
		t.Error("an old failure is remembered")
	}
	h.now = h.now.Add(2 * day)
	h.forget()
	h.sync(t)
	if _, ok := h.Find("beta.test"); ok {
		t.Error("a policy that is over is remembered")
	}
}

// A host with a habit of verified TLS is remembered; one that was seen once or twice, or long ago, is not.
func TestHosts(t *testing.T) {
	h := newHouse(t)
	see := func(days ...int) {
		t.Helper()
		begin := h.now
		for _, d := range days {
			h.now = begin.Add(time.Duration(d) * day)
			h.Verified("mx.beta.test")
			h.Verified("mx.beta.test")
			h.sync(t)
		}
	}
	fell := func() string {
		was, fell, first := h.Fell("mx.beta.test")
		h.sync(t)
		return fmt.Sprint(fell, first, was.Days)
	}
	see(0, 7)
	if got := fell(); got != "false false 0" {
		t.Errorf("after two sightings: %s", got)
	}
	see(3, 9)
	if got := fell(); got != "true true 4" {
		t.Errorf("after weeks: %s", got)
	}
	if got := fell(); got != "true false 4" {
		t.Errorf("the second time on a day: %s", got)
	}
	h.now = h.now.Add(day)
	if got := fell(); got != "true true 4" {
		t.Errorf("the next day: %s", got)
	}
	if known, err := h.ForgetHost(t.Context(), "mx.beta.test"); !known || err != nil || fell() != "false false 0" {
		t.Errorf("forgotten: %v %v %s", known, err, fell())
	}
	see(0, 8, 16)
	h.now = h.now.Add((keepHost + 1) * day)
	if got := fell(); got != "false false 0" {
		t.Errorf("long ago: %s", got)
	}
	h.forget()
	h.sync(t)
	if known, _ := h.ForgetHost(t.Context(), "mx.beta.test"); known {
		t.Error("it is never forgotten")
	}
}

func TestCounts(t *testing.T) {
	h := newHouse(t)
	sts := tlspolicy.Verdict{Kind: tlspolicy.STS, Domain: "beta.test", Policy: strings.Split(strings.TrimSpace(text), "\n"), Hosts: []string{"mx.beta.test"}}
	bad := &Failure{Type: "certificate-expired", Host: "mx.beta.test", Address: "192.0.2.1", Reason: "x"}
	for i := range 10 {
		h.Count(Session{Domain: "beta.test", Verdict: sts})
		if i < 3 {
			h.Count(Session{Domain: "beta.test", Verdict: sts, Failure: bad})
		}
		if i == 5 {
			h.Flush(t.Context())
		}
		h.Count(Session{Domain: "gamma.test"})
	}
	h.Flush(t.Context())
	page, err := h.Day(t.Context(), h.now, "", 10)
	if err != nil || len(page) != 2 || page[0].Name != "beta.test" || page[1].Name != "gamma.test" {
		t.Fatalf("%+v %v", page, err)
	}
	p := page[0].Policies[0]
	if len(page[0].Policies) != 1 || p.Good != 10 || p.Bad != 3 || len(p.Failures) != 1 || p.Failures[0].Count != 3 || p.Failures[0].Address != "192.0.2.1" {
		t.Errorf("%+v", p)
	}
	if q := page[1].Policies[0]; q.Kind != tlspolicy.None || q.Domain != "gamma.test" || q.Good != 10 {
		t.Errorf("%+v", q)
	}
	if page, err = h.Day(t.Context(), h.now, "beta.test", 10); err != nil || len(page) != 1 || page[0].Name != "gamma.test" {
		t.Errorf("behind beta.test: %+v %v", page, err)
	}
	if page, _ = h.Day(t.Context(), h.now.Add(day), "", 10); len(page) != 0 {
		t.Errorf("tomorrow: %+v", page)
	}
	if err := h.Reported(t.Context(), h.now, "beta.test"); err != nil {
		t.Fatal(err)
	}
	if page, _ = h.Day(t.Context(), h.now, "", 10); len(page) != 1 {
		t.Errorf("after the report: %+v", page)
	}
	h.now = h.now.Add(keepCounts + day)
	h.forget()
	h.sync(t)
	if page, _ = h.Day(t.Context(), h.now.Add(-keepCounts-day), "", 10); len(page) != 0 {
		t.Errorf("for ever: %+v", page)
	}
}

// Strangers choose hosts, addresses and domains: the rows stay small.
func TestCountsAreBounded(t *testing.T) {
	h := newHouse(t)
	for i := range 3 * maxFailures {
		h.Count(Session{Domain: "beta.test", Verdict: tlspolicy.Verdict{Kind: tlspolicy.DANE, Domain: fmt.Sprintf("mx%d.beta.test", i)},
			Failure: &Failure{Type: "validation-failure", Host: fmt.Sprint(i)}})
		if i%50 == 0 {
			h.Flush(t.Context())
		}
	}
	h.Flush(t.Context())
	page, err := h.Day(t.Context(), h.now, "", 10)
	if err != nil || len(page[0].Policies) != maxPolicies {
		t.Fatalf("%d policies, %v", len(page[0].Policies), err)
	}
	sum := int64(0)
	for _, p := range page[0].Policies {
		sum += p.Bad
		if len(p.Failures) > maxFailures {
			t.Errorf("%d failures", len(p.Failures))
		}
	}
	if sum != 3*maxFailures {
		t.Errorf("%d of %d sessions were counted", sum, 3*maxFailures)
	}
	for i := range maxDomains + 10 {
		h.Count(Session{Domain: fmt.Sprint(i)})
	}
	if len(h.counts) > maxDomains {
		t.Errorf("%d domains", len(h.counts))
	}
}

func TestReceived(t *testing.T) {
	h := newHouse(t)
	for i := range 3 {
		r := Received{ID: fmt.Sprint(i), From: "Example", End: h.now.Add(-time.Duration(i) * 45 * day), Text: []byte(`{}`)}
		for _, want := range []bool{false, true} {
			if again, err := h.KeepReport(t.Context(), r); err != nil || again != want {
				t.Fatal(again, err)
			}
		}
	}
	all, err := h.Reports(t.Context(), 2)
	if err != nil || len(all) != 2 || all[0].ID != "0" || all[1].ID != "1" {
		t.Fatalf("%+v %v", all, err)
	}
	h.now = h.now.Add(day)
	h.forget()
	h.sync(t)
	if all, _ = h.Reports(t.Context(), 10); len(all) != 2 {
		t.Errorf("%+v", all)
	}
}

func TestRunWritesAtItsEnd(t *testing.T) {
	h := newHouse(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { h.Run(ctx); close(done) }()
	h.Count(Session{Domain: "beta.test"})
	cancel()
	<-done
	if page, err := h.Day(t.Context(), h.now, "", 10); err != nil || len(page) != 1 {
		t.Errorf("%+v %v", page, err)
	}
}
