package queue

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/internal/vfs"
	"github.com/posthouse-mail/posthouse/internal/vfs/vfstest"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// carrier is a Transport of functions that notes what it was asked.
type carrier struct {
	mu      sync.Mutex
	tried   []string
	route   func(s Stream) (Route, error)
	deliver func(a Attempt) Outcome
}

func (c *carrier) Route(_ context.Context, s Stream) (Route, error) {
	if c.route != nil {
		return c.route(s)
	}
	return Route{Host: "mx." + string(s.To)}, nil
}

func (c *carrier) Deliver(_ context.Context, _ Route, a Attempt) Outcome {
	c.mu.Lock()
	for _, r := range a.Envelope.Recipients {
		c.tried = append(c.tried, r.Address.String())
	}
	c.mu.Unlock()
	if a.Envelope.From.IsNull() && a.Domain == "alpha.test" { // a report has come back
		return Fail(1, Result{Verdict: Done, Handoff: Delivered})
	}
	return c.deliver(a)
}

func (c *carrier) count(to string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, t := range c.tried {
		if t == to {
			n++
		}
	}
	return n
}

// doneAndNever takes the first recipient and refuses the others.
func doneAndNever(a Attempt) Outcome {
	out := Fail(len(a.Envelope.Recipients), Result{Verdict: Never, Code: 550, Status: "5.1.1", Text: "no"})
	out.Results[0] = Result{Verdict: Done, Code: 250, Status: "2.0.0"}
	return out
}

func settled(d time.Duration) {
	<-time.After(d)
	synctest.Wait()
}

// The log cannot take the report: what was delivered is not delivered again, and the report goes out in the end.
func TestReportThatCannotBeStored(t *testing.T) {
	for name, failure := range map[string]error{"disk full": vfs.ErrFull, "broken": errors.New("input/output error")} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var unsettled int
				log := slog.New(recorder{func(r slog.Record, _ map[string]slog.Value) {
					if r.Message == logx.QueueUnsettled {
						unsettled++
					}
				}})
				h, fs := newFragileHouse(t, Options{Hostname: "mail.alpha.test", Logger: log})
				c := &carrier{deliver: func(a Attempt) Outcome {
					fs.SetFail(func(op vfstest.Op) error { return failure })
					return doneAndNever(a)
				}}
				h.run(c)
				h.send(envelope(t, "alice@alpha.test", "carol@beta.test", "dora@beta.test"), sample)
				settled(90 * time.Second)
				if unsettled == 0 || c.count("alice@alpha.test") != 0 {
					t.Fatalf("the failure was not met: %d, %v", unsettled, c.tried)
				}
				// Killed now, it would not deliver to carol once more.
				if left := h.list(); len(left) != 1 || len(left[0].Envelope.Recipients) != 0 {
					t.Errorf("what came of the attempt is not kept: %+v", left)
				}
				fs.SetFail(nil)
				settled(5 * time.Minute)
				if c.count("carol@beta.test") != 1 || c.count("dora@beta.test") != 1 || c.count("alice@alpha.test") != 1 {
					t.Errorf("tried %v", c.tried)
				}
				if left := h.list(); len(left) != 0 {
					t.Errorf("left %+v", left)
				}
			})
		})
	}
}

// The stored message is damaged in its middle: the sender hears of the failure all the same, once.
func TestReportOnADamagedMessage(t *testing.T) {
	var content strings.Builder
	content.WriteString("Subject: x\r\n\r\n")
	for i := range 30_000 {
		fmt.Fprintf(&content, "%x\r\n", sha256.Sum256([]byte{byte(i), byte(i >> 8)}))
	}
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, dir: t.TempDir(), o: Options{Hostname: "mail.alpha.test", ReturnMax: 10 << 20}, kv: kv.Options{Plain: true}}
		h.open()
		defer h.close()
		c := &carrier{deliver: func(a Attempt) Outcome {
			damage(t, h.dir, content.String()[1<<20:1<<20+100])
			return Fail(1, Result{Verdict: Never, Code: 550, Status: "5.1.1", Text: "no"})
		}}
		h.run(c)
		e := envelope(t, "alice@alpha.test", "carol@beta.test")
		e.Return = mail.ReturnFull
		h.send(e, content.String())
		settled(2 * time.Hour)
		if c.count("alice@alpha.test") != 1 || len(h.list()) != 0 {
			t.Errorf("tried %v, left %d", c.tried, len(h.list()))
		}
	})
}

// A report about a message that required TLS requires it too, and gives back no more than the header (RFC 8689 section 5).
func TestReportRequiresTLS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, dir: t.TempDir(), o: Options{Hostname: "mail.alpha.test"}}
		h.open()
		defer h.close()
		c := &carrier{deliver: func(a Attempt) Outcome {
			if !a.Envelope.RequireTLS {
				t.Errorf("mail from %s does not require TLS", a.Envelope.From)
			}
			if a.Envelope.From.IsNull() {
				text, _ := io.ReadAll(a.Content)
				if strings.Contains(string(text), "a secret") || !strings.Contains(string(text), "text/rfc822-headers") {
					t.Errorf("the report says %s", text)
				}
				return Fail(1, Result{Verdict: Done})
			}
			return Fail(1, Result{Verdict: Never, Status: "5.7.30", Text: "no REQUIRETLS there"})
		}}
		h.run(c)
		e := envelope(t, "alice@alpha.test", "carol@beta.test")
		e.Return, e.RequireTLS = mail.ReturnFull, true
		h.send(e, "Subject: x\r\n\r\na secret\r\n")
		settled(time.Hour)
		if c.count("alice@alpha.test") != 1 {
			t.Errorf("tried %v", c.tried)
		}
	})
}

// A message that the disk does not give back any more is returned at once: tries for five days would not mend it.
func TestDamagedBody(t *testing.T) {
	content := "Subject: x\r\n\r\n" + strings.Repeat("all work and no play\r\n", 10) + "this will be damaged\r\n"
	synctest.Test(t, func(t *testing.T) {
		h := &house{t: t, dir: t.TempDir(), o: Options{Hostname: "mail.alpha.test"}, kv: kv.Options{Plain: true}}
		h.open()
		defer h.close()
		c := &carrier{deliver: func(a Attempt) Outcome {
			if a.Envelope.From.IsNull() {
				text, _ := io.ReadAll(a.Content)
				if !strings.Contains(string(text), "damaged and cannot be sent") {
					t.Errorf("the report says %s", text)
				}
				return Fail(1, Result{Verdict: Done})
			}
			if _, err := io.ReadAll(a.Content); err == nil {
				t.Error("the damage was not seen")
			}
			return Fail(1, Result{Verdict: Later, Status: "4.4.2", Text: "the connection was lost"})
		}}
		h.send(envelope(t, "alice@alpha.test", "carol@beta.test"), content)
		damage(t, h.dir, "this will be damaged")
		h.run(c)
		settled(2 * time.Hour)
		if c.count("carol@beta.test") != 1 || c.count("alice@alpha.test") != 1 || len(h.list()) != 0 {
			t.Errorf("tried %v, left %d", c.tried, len(h.list()))
		}
	})
}

// damage spoils the text in the one file below dir that has it.
func damage(t *testing.T, dir, text string) {
	found := 0
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if at := bytes.Index(b, []byte(text)); err == nil && at >= 0 {
			found++
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			defer f.Close()
			_, err = f.WriteAt([]byte("damaged"), int64(at))
			return err
		}
		return err
	})
	if err != nil || found != 1 {
		t.Errorf("damaged %d files, %v", found, err)
	}
}

func TestPanickingCarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{})
		c := &carrier{deliver: func(a Attempt) Outcome {
			if a.Attempts == 0 {
				panic("boo")
			}
			return Fail(1, Result{Verdict: Done})
		}}
		h.run(c)
		h.send(envelope(t, "alice@alpha.test", "carol@beta.test"), sample)
		settled(time.Minute)
		if items := h.list(); len(items) != 1 || items[0].Results[0].Status != "4.3.0" {
			t.Fatalf("the queue has %+v", items)
		}
		settled(10 * time.Minute)
		if c.count("carol@beta.test") != 2 || len(h.list()) != 0 {
			t.Errorf("tried %v, left %+v", c.tried, h.list())
		}
	})
}

// A carrier that answers for the wrong number of recipients has delivered nobody knows what: it is tried again.
func TestMiscountingCarrier(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{})
		c := &carrier{deliver: func(Attempt) Outcome { return Outcome{} }}
		h.run(c)
		h.send(envelope(t, "", "carol@beta.test"), sample)
		settled(time.Minute)
		if items := h.list(); len(items) != 1 || items[0].Attempts != 1 {
			t.Errorf("the queue has %+v", items)
		}
	})
}

func TestRouteErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{})
		c := &carrier{route: func(s Stream) (Route, error) {
			switch s.To {
			case "pass.test":
				return Route{}, ErrPass
			case "dns.test":
				return Route{}, errors.New("no answer")
			case "panic.test":
				panic("boo")
			}
			return Route{Host: "x"}, nil
		}}
		h.run(c)
		for _, d := range []string{"pass.test", "dns.test", "panic.test"} {
			h.send(envelope(t, "alice@alpha.test", "x@"+d), sample)
		}
		settled(time.Second)
		want := map[mail.Domain]string{"pass.test": "4.3.5", "dns.test": "4.4.3", "panic.test": "4.3.0"}
		items := h.list()
		for _, it := range items {
			if it.Results[0].Status != want[it.Domain] || it.Attempts != 1 {
				t.Errorf("%s: %+v", it.Domain, it.Results[0])
			}
		}
		if len(items) != 3 {
			t.Errorf("%d entries", len(items))
		}
	})
}

func TestVerbs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := metrics.New()
		h := newHouse(t, Options{Metrics: m, Hostname: "mail.alpha.test"})
		block := make(chan struct{})
		c := &carrier{deliver: func(a Attempt) Outcome {
			if a.Domain == "busy.test" {
				<-block
			}
			return Fail(len(a.Envelope.Recipients), Result{Verdict: Later, Code: 451, Status: "4.3.0", Text: "later"})
		}}
		h.run(c)
		busy := h.send(envelope(t, "alice@alpha.test", "x@busy.test"), sample)
		id := h.send(envelope(t, "alice@alpha.test", "carol@beta.test NEVER", "dora@beta.test", "eve@gamma.test"), sample)
		null := h.send(envelope(t, "", "carol@beta.test"), sample)
		settled(time.Second)
		count := func(want int, f Filter) {
			t.Helper()
			items, err := h.q.List(t.Context(), f)
			if err != nil && !errors.Is(err, ErrNoItem) || len(items) != want {
				t.Errorf("%+v: %d entries, %v; want %d", f, len(items), err, want)
			}
		}
		count(4, Filter{})
		count(2, Filter{IDs: []string{id}})
		count(3, Filter{IDs: []string{id, null}})
		count(2, Filter{Domain: "beta.test"})
		count(1, Filter{Sender: "<>"})
		count(3, Filter{Sender: "ALICE@alpha.test"})
		count(2, Filter{Recipient: "Carol@beta.test"})
		count(1, Filter{Limit: 1})
		count(0, Filter{IDs: []string{"nothing"}})
		if _, err := h.q.Retry(t.Context(), Filter{IDs: []string{"nothing"}}); !errors.Is(err, ErrNoItem) {
			t.Errorf("retry of nothing: %v", err)
		}
		if n, err := h.q.Cancel(t.Context(), Filter{IDs: []string{busy, null}}, true); n != 1 || !errors.Is(err, ErrBusy) {
			t.Errorf("cancel: %d, %v", n, err)
		}
		count(0, Filter{IDs: []string{null}}) // nobody to tell
		if n, err := h.q.Hold(t.Context(), Filter{IDs: []string{id}}); n != 2 || err != nil {
			t.Errorf("hold: %d, %v", n, err)
		}
		count(2, Filter{Held: true})
		for name, want := range map[string]float64{"queue_entries": 3, "queue_entries_held": 2, "queue_attempts_active": 1, "queue_oldest_seconds": 1} {
			if got := gauge(t, m, name); got != want {
				t.Errorf("%s is %v, want %v", name, got, want)
			}
		}
		before := c.count("carol@beta.test")
		if n, err := h.q.Retry(t.Context(), Filter{IDs: []string{id}}); n != 2 || err != nil {
			t.Errorf("retry: %d, %v", n, err)
		}
		settled(time.Hour)
		if c.count("carol@beta.test") != before {
			t.Error("a held entry was tried")
		}
		if n, err := h.q.Release(t.Context(), Filter{IDs: []string{id}}); n != 2 || err != nil {
			t.Errorf("release: %d, %v", n, err)
		}
		settled(time.Second)
		if c.count("carol@beta.test") != before+1 {
			t.Error("a released entry that was due was not tried")
		}
		if n, err := h.q.Cancel(t.Context(), Filter{IDs: []string{id}}, true); n != 2 || err != nil {
			t.Errorf("cancel: %d, %v", n, err)
		}
		settled(time.Second)
		count(0, Filter{IDs: []string{id}})
		if n := c.count("alice@alpha.test"); n != 2 { // one for each domain, without the recipient that wants to hear of nothing
			t.Errorf("alice was told %d times", n)
		}
		close(block)
		settled(time.Second)
		count(1, Filter{})
	})
}

func gauge(t *testing.T, m *metrics.Set, name string) float64 {
	t.Helper()
	families, err := m.Registry().Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == metrics.Prefix+name {
			return f.GetMetric()[0].GetGauge().GetValue()
		}
	}
	t.Fatalf("no metric %s", name)
	return 0
}

// A row that cannot be read is told of, and the others are seen to.
func TestBrokenRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		told := 0
		h := newHouse(t, Options{Logger: slog.New(recorder{func(r slog.Record, _ map[string]slog.Value) {
			if r.Message == logx.QueueBroken {
				told++
			}
		}})})
		h.send(envelope(t, "", "carol@beta.test"), sample)
		h.send(envelope(t, "", "dora@beta.test"), sample)
		first := h.list()[0]
		key := rowKey(first.Due.UnixMilli(), first.Number)
		var row []byte
		put := func(v []byte) {
			if err := h.db.Update(t.Context(), func(tx *kv.Tx) error {
				row = slices.Clone(tx.Get(rows, key))
				tx.Put(rows, key, v)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		}
		put([]byte("\x09what is this"))
		good := row
		c := &carrier{deliver: func(a Attempt) Outcome { return Fail(1, Result{Verdict: Done}) }}
		h.run(c)
		settled(time.Minute)
		if items := h.list(); len(items) != 0 || told == 0 || c.count("dora@beta.test") != 1 || c.count("carol@beta.test") != 0 {
			t.Errorf("left %+v, told %d times, tried %v", items, told, c.tried)
		}
		put(good)
		if len(h.list()) != 1 {
			t.Error("the entry was touched")
		}
	})
}

// Retry by the operator goes out at once, though the host is left alone.
func TestRetryWakesTheHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{})
		c := &carrier{deliver: func(a Attempt) Outcome {
			return Fail(1, Result{Verdict: Later, Status: "4.4.1", Text: "no answer", Host: HostDown})
		}}
		h.run(c)
		id := h.send(envelope(t, "", "carol@beta.test"), sample)
		settled(time.Second)
		for want := 2; want < 5; want++ {
			if _, err := h.q.Retry(t.Context(), Filter{IDs: []string{id}}); err != nil {
				t.Fatal(err)
			}
			settled(time.Second)
			if n := c.count("carol@beta.test"); n != want {
				t.Fatalf("%d attempts, want %d", n, want)
			}
		}
	})
}

// At the end, what is in flight is finished; what outlasts the grace is told to stop.
func TestShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, Options{})
		c := &carrier{deliver: func(a Attempt) Outcome {
			<-time.After(10 * time.Second)
			return Fail(1, Result{Verdict: Done})
		}}
		h.run(c)
		h.send(envelope(t, "", "carol@beta.test"), sample)
		settled(time.Second)
		h.stop()
		h.stop = nil
		if left := h.list(); len(left) != 0 {
			t.Errorf("left %+v", left)
		}
	})
}

// When results cannot be stored any more, nothing is sent again and again: the queue stops.
func TestDatabaseEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h, _ := newFragileHouse(t, Options{})
		c := &carrier{deliver: func(a Attempt) Outcome {
			if err := h.db.Close(); err != nil {
				t.Error(err)
			}
			return Fail(1, Result{Verdict: Done})
		}}
		done := make(chan error, 1)
		h.send(envelope(t, "", "carol@beta.test"), sample)
		go func() { done <- h.q.Run(context.Background(), c) }()
		if err := <-done; !errors.Is(err, kv.ErrClosed) {
			t.Errorf("Run gave %v", err)
		}
		if n := c.count("carol@beta.test"); n != 1 {
			t.Errorf("%d attempts", n)
		}
		h.db = nil
	})
}

func TestNewID(t *testing.T) {
	h := newHouse(t, Options{})
	var ids []string
	for range 10_000 {
		ids = append(ids, h.q.NewID())
	}
	for _, id := range ids {
		if len(id) != 13 || strings.Trim(id, idLetters) != "" {
			t.Fatalf("id %q", id)
		}
	}
	slices.Sort(ids)
	if n := len(slices.Compact(ids)); n != 10_000 {
		t.Errorf("%d different ids", n)
	}
}
