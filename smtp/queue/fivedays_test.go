package queue

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// world is the other side of five simulated days: three hosts and the mailbox of the sender.
type world struct {
	t     *testing.T
	start time.Time
	mu    sync.Mutex
	lines []string
	tries map[string]time.Time // first attempt by recipient, over the taking host
}

func (w *world) note(format string, args ...any) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add(format, args...)
}

// add is note for those who hold mu: the lines of a report stay together.
func (w *world) add(format string, args ...any) {
	d := time.Since(w.start)
	w.lines = append(w.lines, fmt.Sprintf("%dd %02d:%02d:%02d  ", int(d.Hours())/24, int(d.Hours())%24, int(d.Minutes())%60, int(d.Seconds())%60)+fmt.Sprintf(format, args...))
}

func (w *world) Route(_ context.Context, s Stream) (Route, error) {
	host := map[mail.Domain]string{"dead.test": "mx.dead.test", "lost.test": "mx.dead.test", "slow.test": "mx.slow.test", "good.test": "mx.good.test",
		"alpha.test": "mailboxes"}[s.To]
	if host == "" {
		return Route{}, Result{Verdict: Never, Code: 556, Status: "5.1.10", Text: "the domain takes no mail (null MX)"}
	}
	return Route{Host: host}, nil
}

func (w *world) Deliver(_ context.Context, r Route, a Attempt) Outcome {
	n := len(a.Envelope.Recipients)
	to := a.Envelope.Recipients[0].Address.String()
	switch r.Host {
	case "mx.dead.test":
		w.note("try    %-14s %s, attempt %d", r.Host, to, a.Attempts+1)
		<-time.After(30 * time.Second)
		return Fail(n, Result{Verdict: Later, Status: "4.4.1", Text: "no answer from mx.dead.test [192.0.2.9]:25 within 30s", Host: HostDown})
	case "mx.slow.test":
		w.note("try    %-14s %s, attempt %d", r.Host, to, a.Attempts+1)
		<-time.After(time.Second)
		if time.Since(w.start) < 6*time.Hour {
			return Fail(n, Result{Verdict: Later, Code: 421, Status: "4.7.0", Text: "4.7.0 too much mail, come back later", Remote: r.Host, Host: HostSlow})
		}
		return Fail(n, Result{Verdict: Done, Code: 250, Status: "2.0.0", Text: "2.0.0 taken", Remote: r.Host})
	case "mx.good.test":
		w.mu.Lock()
		w.tries[to] = time.Now()
		w.mu.Unlock()
		<-time.After(time.Second)
		handoff := Passed
		if strings.HasPrefix(to, "relayed") {
			handoff = Relayed
		}
		return Fail(n, Result{Verdict: Done, Code: 250, Status: "2.0.0", Text: "2.0.0 taken", Remote: r.Host, Handoff: handoff})
	}
	b, err := io.ReadAll(a.Content)
	if err != nil {
		w.t.Error(err)
	}
	p := parseReport(w.t, b)
	w.mu.Lock()
	defer w.mu.Unlock()
	w.add("report for %s: %s", to, p.header.Get("Subject"))
	for _, part := range strings.SplitAfter(p.bodies[1], "\r\n\r\n") {
		for line := range strings.SplitSeq(part, "\r\n") {
			for _, field := range []string{"Original-", "Final-R", "Action", "Status", "Will-"} {
				if strings.HasPrefix(line, field) {
					w.add("       | %s", line)
				}
			}
		}
	}
	w.add("       | %s, %d lines", p.kinds[2], strings.Count(p.bodies[2], "\r\n"))
	if !a.Envelope.From.IsNull() || a.Envelope.Recipients[0].Notify != mail.NotifyNever {
		w.t.Errorf("a report travels with the envelope %+v", a.Envelope)
	}
	return Fail(n, Result{Verdict: Done, Status: "2.1.5", Handoff: Delivered})
}

func TestFiveDays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := &world{t: t, start: time.Now(), tries: map[string]time.Time{}}
		log := slog.New(recorder{func(r slog.Record, attrs map[string]slog.Value) {
			switch to := attrs["to"].String(); r.Message {
			case logx.QueueDone, logx.QueueLater, logx.QueueNever:
				if strings.HasSuffix(to, "@good.test") || strings.HasSuffix(to, "@alpha.test") {
					return
				}
				w.note("%-17s %s: %s", r.Message, to, attrs["status"])
			case logx.QueueReport:
			default:
				t.Errorf("%s %v", r.Message, attrs)
			}
		}})
		h := newHouse(t, Options{Hostname: "mail.alpha.test", Workers: 8, PerHost: 4, Logger: log})
		h.run(w)
		content := "From: alice@alpha.test\r\nMessage-ID: <m@alpha.test>\r\nSubject: five days\r\n\r\nline\r\n"
		// Messages a minute apart, so that no two entries ever meet in the same millisecond by chance of the machine.
		send := func(e mail.Envelope) {
			h.send(e, content)
			<-time.After(time.Minute)
		}
		full := envelope(t, "alice@alpha.test", "full@dead.test FAILURE,DELAY")
		full.EnvelopeID, full.Return = "E1", mail.ReturnFull
		full.Recipients[0].OriginalType, full.Recipients[0].Original = "RFC822", "old@elsewhere.test"
		send(full)
		headers := envelope(t, "alice@alpha.test", "nodelay@dead.test FAILURE", "never@dead.test NEVER", "plain@dead.test", "delayonly@dead.test DELAY")
		headers.Return = mail.ReturnHeaders
		send(headers)
		send(envelope(t, "", "nobody@dead.test"))
		send(envelope(t, "alice@alpha.test", "null@nullmx.test", "other@lost.test NEVER"))
		for i := range 3 {
			send(envelope(t, "alice@alpha.test", fmt.Sprintf("slow%d@slow.test", i)))
		}
		// The taking host gets mail all the time, and a heap of mail for the dead host stands beside it.
		sent := map[string]time.Time{}
		for i := range 5*24*2 + 4 {
			to := fmt.Sprintf("m%d@good.test", i)
			switch i {
			case 3:
				to = "relayed@good.test SUCCESS"
			case 4:
				to = "passed@good.test SUCCESS"
			case 10:
				for j := range 20 {
					h.send(envelope(t, "", fmt.Sprintf("heap%d@dead.test", j)), content)
				}
			}
			sent[strings.Fields(to)[0]] = time.Now()
			h.send(envelope(t, "alice@alpha.test", to), content)
			<-time.After(30 * time.Minute)
		}
		for to, at := range sent {
			tried, ok := w.tries[to]
			if wait := tried.Sub(at); !ok || wait > 100*time.Millisecond {
				t.Errorf("%s waited %v for the host that takes mail", to, wait)
			}
		}
		for _, it := range h.list() {
			if !strings.HasPrefix(it.Envelope.Recipients[0].Address.Local, "heap") {
				t.Errorf("left in the queue: %+v", it)
			}
		}
		h.close()
		var out bytes.Buffer
		for _, l := range stable(w.lines) {
			fmt.Fprintln(&out, l)
		}
		golden(t, "fivedays.txt", out.Bytes())
	})
}

// stable leaves the heap out and orders lines of the same second that come from items side by side.
func stable(lines []string) []string {
	var out []string
	for _, l := range lines {
		if !strings.Contains(l, "heap") {
			out = append(out, l)
		}
	}
	at := func(s string) string { return s[:12] }
	for i := 0; i < len(out); {
		j := i
		for j < len(out) && at(out[j]) == at(out[i]) {
			j++
		}
		blocks := group(out[i:j])
		slices.SortStableFunc(blocks, slices.Compare[[]string])
		out = append(append(out[:i:i], flatten(blocks)...), out[j:]...)
		i = j
	}
	return out
}

// group keeps the lines of a report together.
func group(lines []string) (blocks [][]string) {
	for _, l := range lines {
		if strings.Contains(l, "  |") || strings.Contains(l, "       | ") {
			blocks[len(blocks)-1] = append(blocks[len(blocks)-1], l)
			continue
		}
		blocks = append(blocks, []string{l})
	}
	return blocks
}

func flatten(blocks [][]string) (lines []string) {
	for _, b := range blocks {
		lines = append(lines, b...)
	}
	return lines
}
