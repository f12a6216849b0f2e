package queue

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/store"
)

// model is the queue as a plain map: what became of each recipient. The local part of a recipient is the script of its
// attempts: l later, d done, n never; behind the end, done.
type model struct {
	t    *testing.T
	mu   sync.Mutex
	fate map[string]*fate       // by recipient
	held map[string]bool        // ids
	text string                 // of all mail but reports; empty: several
	out  map[store.UID][]string // recipients of what was put into the Outbox

	scheduled, drafts, binned int // messages that were put into the Outbox, given back as drafts, expunged
}

type fate struct {
	from                string
	delivered, reported int
	cancelled           bool
	due                 time.Time // not before
	back                bool      // taken out of the Outbox
}

func (m *model) Route(_ context.Context, s Stream) (Route, error) {
	return Route{Host: "mx." + string(s.To)}, nil
}

func (m *model) Deliver(_ context.Context, _ Route, a Attempt) Outcome {
	m.mu.Lock()
	defer m.mu.Unlock()
	if a.Domain == "sender.test" {
		return m.takeReport(a)
	}
	if m.held[a.ID] {
		m.t.Errorf("%s was tried while it was held", a.ID)
	}
	if text, err := io.ReadAll(a.Content); m.text != "" && (err != nil || string(text) != m.text) {
		m.t.Errorf("%s: its text is another one: %v", a.ID, err)
	}
	var out Outcome
	for _, r := range a.Envelope.Recipients {
		f := m.fate[r.Address.String()]
		if f.back || time.Now().Before(f.due) {
			m.t.Errorf("%s was tried; due %v, now %v, taken back %v", r.Address, f.due, time.Now(), f.back)
		}
		script, _, _ := strings.Cut(r.Address.Local, "-")
		c := byte('d')
		if a.Attempts < len(script) {
			c = script[a.Attempts]
		}
		switch c {
		case 'd':
			f.delivered++
			out.Results = append(out.Results, Result{Verdict: Done, Code: 250, Status: "2.0.0"})
		case 'n':
			out.Results = append(out.Results, Result{Verdict: Never, Code: 550, Status: "5.1.1"})
		default:
			out.Results = append(out.Results, Result{Verdict: Later, Code: 451, Status: "4.3.0"})
		}
	}
	return out
}

// takeReport counts the failures that a report names.
func (m *model) takeReport(a Attempt) Outcome {
	b, err := io.ReadAll(a.Content)
	if err != nil {
		m.t.Error(err)
	}
	status := parseReport(m.t, b).bodies[1]
	for _, block := range strings.Split(status, "\r\n\r\n")[1:] {
		if !strings.Contains(block, "Action: failed") {
			continue
		}
		_, rest, _ := strings.Cut(block, "Final-Recipient: rfc822;")
		to, _, _ := strings.Cut(rest, "\r\n")
		if f := m.fate[to]; f != nil {
			f.reported++
		} else {
			m.t.Errorf("report on %q, whom nobody wrote to", to)
		}
	}
	return Fail(1, Result{Verdict: Done, Handoff: Delivered})
}

// check compares the queue's list with the map.
func (m *model) check(h *house) {
	m.t.Helper()
	waiting := map[string]bool{}
	items := h.list()
	if problems, err := h.q.CheckOutbox(m.t.Context()); err != nil || len(problems) > 0 {
		m.t.Error(err, problems)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, it := range items {
		for _, r := range it.Envelope.Recipients {
			waiting[r.Address.String()] = true
		}
		if f := m.fate[it.Envelope.Recipients[0].Address.String()]; f != nil && m.held[it.ID] != it.Held {
			m.t.Errorf("%s: held %v", it.ID, it.Held)
		}
	}
	for to, f := range m.fate {
		ends := f.delivered + f.reported
		gone := f.cancelled || f.back || f.from == "" // may go without a word
		if waiting[to] && (ends != 0 || f.cancelled || f.back) || !waiting[to] && !gone && ends != 1 || f.delivered > 1 || f.reported > 1 {
			m.t.Errorf("%s: waiting %v, %+v", to, waiting[to], *f)
		}
	}
}

func runModel(t *testing.T, ops []byte) {
	synctest.Test(t, func(t *testing.T) {
		m := &model{t: t, fate: map[string]*fate{}, held: map[string]bool{}, text: sample, out: map[store.UID][]string{}}
		h := newHouse(t, Options{Hostname: "mail.sender.test"})
		h.account()
		h.run(m)
		var ids []string
		settle := func() { // whatever is due now happens
			<-time.After(200 * time.Millisecond)
			synctest.Wait()
		}
		for i := 0; i+1 < len(ops) && i < 80; i += 2 {
			op, arg := ops[i]%14, int(ops[i+1])
			pick := Filter{}
			if len(ids) > 0 {
				pick.IDs = []string{ids[arg%len(ids)]}
			}
			m.do(h, op, arg, pick, &ids)
			if arg%3 > 0 { // else the next operation comes at once
				settle()
				m.check(h)
			}
		}
		m.mu.Lock()
		clear(m.held)
		m.mu.Unlock()
		if _, err := h.q.Release(t.Context(), Filter{}); err != nil {
			t.Error(err)
		}
		for range 13 {
			<-time.After(12 * time.Hour)
		}
		settle()
		m.check(h)
		m.checkOutbox(h)
		if left := h.list(); len(left) != 0 {
			t.Errorf("%d entries outlive their time: %+v", len(left), left[0])
		}
	})
}

func (m *model) do(h *house, op byte, arg int, pick Filter, ids *[]string) {
	var err error
	if op == 6 || op == 9 { // an attempt that runs is finished all the same
		<-time.After(200 * time.Millisecond)
		synctest.Wait()
	}
	switch op {
	case 0, 1, 2, 3:
		*ids = append(*ids, m.send(h, len(*ids), op, arg))
	case 4:
		<-time.After(time.Duration(arg+1) * 5 * time.Minute)
	case 5:
		if arg%2 == 1 {
			h.crash()
		} else {
			h.close()
		}
		h.open()
		h.run(m)
	case 6:
		if _, err = h.q.Hold(m.t.Context(), pick); err == nil {
			for _, it := range h.list() {
				if it.Held {
					m.hold(it.ID, true)
				}
			}
		}
	case 7:
		for _, id := range *ids {
			if pick.IDs == nil || id == pick.IDs[0] {
				m.hold(id, false)
			}
		}
		_, err = h.q.Release(m.t.Context(), pick)
	case 8:
		_, err = h.q.Retry(m.t.Context(), pick)
	case 9:
		for _, it := range h.list() {
			if pick.IDs == nil || it.ID == pick.IDs[0] {
				m.cancel(it, arg%2 == 0)
			}
		}
		waiting := map[string]bool{}
		for _, it := range h.list() {
			if it.Waits && (pick.IDs == nil || it.ID == pick.IDs[0]) {
				waiting[it.ID] = true
			}
		}
		m.drafts += len(waiting)
		_, err = h.q.Cancel(m.t.Context(), pick, arg%2 == 1)
	case 11, 12:
		*ids = append(*ids, m.schedule(h, len(*ids), arg))
	case 13:
		m.takeBack(h, arg)
	case 10: // every body that can move has another place, while attempts run
		err = h.compact()
	}
	if err != nil && err != ErrNoItem {
		m.t.Errorf("operation %d: %v", op, err)
	}
}

func (m *model) hold(id string, on bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.held[id] = on
}

func (m *model) cancel(it Item, silent bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, r := range it.Envelope.Recipients {
		if f := m.fate[r.Address.String()]; f != nil && silent {
			f.cancelled = true
		}
	}
	m.held[it.ID] = false
}

// send writes to up to four recipients in two domains; op 3 sends from <>.
func (m *model) send(h *house, n int, op byte, arg int) string {
	from := "alice@sender.test"
	if op == 3 {
		from = ""
	}
	rnd := rand.New(rand.NewPCG(uint64(arg), uint64(n)))
	var to []string
	for i := range 1 + arg%4 {
		script := ""
		for range rnd.IntN(5) {
			script += string("lllldn"[rnd.IntN(6)])
		}
		to = append(to, fmt.Sprintf("%s-%d.%d@d%d.test", script, n, i, i%2))
	}
	m.mu.Lock()
	for _, a := range to {
		m.fate[address(m.t, a).String()] = &fate{from: from}
	}
	m.mu.Unlock()
	return h.send(envelope(m.t, from, to...), sample)
}

func TestModel(t *testing.T) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 1))
			ops := make([]byte, 80)
			for i := range ops {
				ops[i] = byte(rnd.Uint32())
			}
			runModel(t, ops)
		})
	}
}

func FuzzModel(f *testing.F) {
	f.Add([]byte{0, 3, 4, 0, 5, 0, 4, 200, 9, 1})
	f.Add([]byte{1, 2, 6, 0, 4, 50, 7, 0, 8, 0, 5, 0})
	f.Add([]byte{3, 3, 3, 2, 9, 0, 0, 1, 9, 1, 5, 1, 4, 255})
	f.Fuzz(runModel)
}
