package queue

import (
	"io"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Mail whose sender is not proven: the sender never hears of it, whatever it asked for; the postmaster gets it back, once a day for
// each address.
func TestUnproven(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, dir: t.TempDir(), o: Options{Hostname: "mx.alpha.test"}}
		h.open()
		defer h.close()
		var told []string
		c := &carrier{deliver: func(a Attempt) Outcome {
			if a.Envelope.From.IsNull() {
				text, _ := io.ReadAll(a.Content)
				told = append(told, a.Envelope.Recipients[0].Address.String()+" "+string(text))
				return Fail(1, Result{Verdict: Done})
			}
			if a.Envelope.Recipients[0].Address.Local == "late" {
				return Fail(len(a.Envelope.Recipients), Result{Verdict: Later, Status: "4.2.0"})
			}
			if a.Envelope.Recipients[0].Address.Local == "good" {
				return Fail(len(a.Envelope.Recipients), Result{Verdict: Done, Handoff: Relayed})
			}
			if !a.Envelope.Unproven {
				t.Error("the carrier does not hear of it")
			}
			return Fail(len(a.Envelope.Recipients), Result{Verdict: Never, Code: 550, Status: "5.7.1", Remote: "mx.beta.test", Text: "5.7.1 no"})
		}}
		h.run(c)
		send := func(to string) {
			e := envelope(t, "forged@victim.test", to)
			e.Unproven = true
			h.send(e, "From: forged@victim.test\r\nSubject: win\r\n\r\nthe whole text\r\n")
			settled(6 * 24 * time.Hour)
		}
		for _, to := range []string{"carol@beta.test", "dora@beta.test NEVER", "good@beta.test SUCCESS", "late@beta.test DELAY,FAILURE"} {
			send(to)
		}
		if len(told) != 3 {
			t.Fatalf("%d reports: %q", len(told), told)
		}
		for _, text := range told {
			if !strings.HasPrefix(text, "postmaster ") || !strings.Contains(text, "To: <postmaster@mx.alpha.test>") || !strings.Contains(text, "A message from <forged@victim.test>") || !strings.Contains(text, "the whole text") {
				t.Errorf("the report is %s", text)
			}
		}
		told = nil
		for i := range 3 { // the same address again on one day
			e := envelope(t, "forged@victim.test", "carol@beta.test")
			e.Unproven = true
			h.send(e, "\r\nx\r\n")
			settled(time.Minute)
			if len(told) != 1 {
				t.Errorf("message %d: %d reports", i, len(told))
			}
		}
		if n := len(h.list()); n != 0 {
			t.Errorf("%d wait", n)
		}
		if e, ok := h.q.SuccessPart("x", unprovenEnvelope(t), Delivered); ok {
			t.Errorf("success is reported: %v", e)
		}
	})
}

// What could not be written for him is written later: the day's one report on an address is not used up by a disk that failed.
func TestUnprovenSurvivesTheDisk(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, fs := newFragileHouse(t, Options{Hostname: "mx.alpha.test"})
		var failing atomic.Bool
		fs.SetFail(func(op vfstest.Op) error {
			if failing.Load() && (op.Kind == "write" || op.Kind == "sync") && strings.HasSuffix(op.Name, ".seg") {
				return syscall.EIO
			}
			return nil
		})
		told := 0
		h.run(&carrier{deliver: func(a Attempt) Outcome {
			if a.Envelope.From.IsNull() {
				told++
				return Fail(1, Result{Verdict: Done})
			}
			failing.Store(true)
			return Fail(1, Result{Verdict: Never, Code: 550, Status: "5.7.1", Remote: "mx.beta.test", Text: "5.7.1 no"})
		}})
		e := envelope(t, "forged@victim.test", "carol@beta.test")
		e.Unproven = true
		h.send(e, "Subject: win\r\n\r\nx\r\n")
		settled(10 * time.Second)
		if !failing.Load() || told != 0 {
			t.Fatal("the disk did not fail")
		}
		failing.Store(false)
		settled(10 * time.Minute)
		if told != 1 || len(h.list()) != 0 {
			t.Errorf("the postmaster had %d reports, %d entries wait", told, len(h.list()))
		}
	})
}

func unprovenEnvelope(t *testing.T) mail.Envelope {
	e := envelope(t, "forged@victim.test", "alice@alpha.test SUCCESS")
	e.Unproven = true
	return e
}

// The postmaster hears of some messages of a day only.
func TestPostmasterHears(t *testing.T) {
	var p postmaster
	day := time.Unix(1_700_000_000, 0)
	one := func(i int) []reported {
		return []reported{{recipient: recipient{Recipient: mail.Recipient{Address: mail.Address{Local: strings.Repeat("a", i+1), Domain: "b.test"}}}}}
	}
	n := 0
	for i := range 60 {
		if p.allow(one(i), day) {
			n++
		}
		if p.allow(one(i), day) {
			t.Fatal("the same address twice")
		}
	}
	if n != postmasterHears || len(p.told) != n {
		t.Errorf("he hears of %d", n)
	}
	if !p.allow(one(0), day.AddDate(0, 0, 1)) {
		t.Error("not on the next day")
	}
}

// Mail for an account that is gone: its sender hears of it when our own results prove it, or when there are none.
func TestOrphanOfAForger(t *testing.T) {
	for results, want := range map[string]string{
		"": "zoe@good.test",
		"Authentication-Results: mx.alpha.test; spf=pass smtp.mailfrom=zoe@good.test":                               "zoe@good.test",
		"Authentication-Results: mx.alpha.test; spf=pass smtp.mailfrom=good.test":                                   "zoe@good.test",
		"Authentication-Results: mx.alpha.test;\r\n\tdkim=pass header.d=good.test header.s=s; spf=none":             "zoe@good.test",
		"Authentication-Results: mx.alpha.test; dkim=pass header.d=evil.test; spf=fail smtp.mailfrom=zoe@good.test": "postmaster",
		"Authentication-Results: mx.alpha.test; spf=pass smtp.helo=good.test; dkim=fail header.d=good.test":         "postmaster",
		"Authentication-Results: mx.alpha.test; none":                                                               "postmaster",
		"Authentication-Results: mx.other.test; spf=fail smtp.mailfrom=zoe@good.test":                               "zoe@good.test",
	} {
		synctest.Test(t, func(t *testing.T) {
			h := &house{t: t, dir: t.TempDir(), o: Options{Hostname: "mx.alpha.test"}}
			h.open()
			defer h.close()
			got := ""
			c := &carrier{deliver: func(a Attempt) Outcome {
				if !a.Envelope.From.IsNull() {
					return Fail(1, Result{Verdict: Later})
				}
				got = a.Envelope.Recipients[0].Address.String()
				return Fail(1, Result{Verdict: Done})
			}}
			h.run(c)
			h.send(envelope(t, "x@y.test", "held@y.test"), "Return-Path: <zoe@good.test>\r\n"+results+"\r\nSubject: x\r\n\r\nx\r\n")
			item := h.list()
			if len(item) != 1 {
				t.Fatalf("%d wait", len(item))
			}
			if err := h.db.Update(t.Context(), func(tx *kv.Tx) error {
				return h.q.Orphan(tx, kv.Entry{LSN: item[0].Place, Body: item[0].Place, Size: item[0].Size}, 7)
			}); err != nil {
				t.Fatal(err)
			}
			settled(time.Minute)
			if got != want {
				t.Errorf("with %q %q is told, want %q", results, got, want)
			}
			if _, err := h.q.Cancel(t.Context(), Filter{}, false); err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Failed hears of what another host refused for good, once, and of nothing else.
func TestFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var heard []string
		h := &house{t: t, dir: t.TempDir(), o: Options{Hostname: "mx.alpha.test", Failed: func(to, from mail.Address, r Result) {
			heard = append(heard, to.String()+" "+from.String()+" "+r.Status)
		}}}
		h.open()
		defer h.close()
		c := &carrier{deliver: func(a Attempt) Outcome {
			o := Outcome{}
			for _, r := range a.Envelope.Recipients {
				o.Results = append(o.Results, map[string]Result{
					"gone":  {Verdict: Never, Code: 550, Status: "5.1.1", Remote: "mx.beta.test", Text: "no such user"},
					"ours":  {Verdict: Never, Status: "5.4.4", Text: "no such host"},
					"later": {Verdict: Later, Code: 450, Status: "4.2.0", Remote: "mx.beta.test"},
				}[r.Address.Local])
				if r.Address.Local == "alice" {
					o.Results[len(o.Results)-1] = Result{Verdict: Done}
				}
			}
			return o
		}}
		h.run(c)
		h.send(envelope(t, "alice@alpha.test", "gone@beta.test", "ours@beta.test", "later@beta.test"), "\r\nx\r\n")
		settled(time.Hour)
		if len(heard) != 1 || heard[0] != "gone@beta.test alice@alpha.test 5.1.1" {
			t.Errorf("heard %q", heard)
		}
		if _, err := h.q.Cancel(t.Context(), Filter{}, false); err != nil {
			t.Fatal(err)
		}
	})
}
