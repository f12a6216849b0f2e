package queue

import (
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store/story"
)

// tell notes for the message's story what came of an attempt for one recipient.
func (a *attempt) tell(q *Queue, r recipient, due int64) {
	if q.o.Story == nil {
		return
	}
	x := &r.result
	e := story.Event{At: q.o.Now(), Who: r.Address.String(), Code: x.Code, Status: x.Status, Text: x.Text, Host: x.Remote}
	e.Address, e.TLS = detail(x.Detail)
	switch {
	case x.Verdict == Later:
		next := time.UnixMilli(due)
		e.Step, e.Next, e.Advice = story.Attempted, &next, x.Advice()
	case x.Verdict == Never:
		e.Step, e.Advice = story.Failed, x.Advice()
	case x.Remote == "" && (x.Handoff == Expanded || x.Handoff == Posted):
		e.Step = story.Expanded
	case x.Remote == "":
		e.Step, e.Mailbox, e.Text = story.Delivered, "INBOX", ""
	default:
		e.Step = story.Relayed
	}
	a.events = append(a.events, e)
}

// detail takes a carrier's "[address] TLS" apart.
func detail(s string) (address, tls string) {
	rest, ok := strings.CutPrefix(s, "[")
	if !ok {
		return "", s
	}
	address, tls, _ = strings.Cut(rest, "]")
	return address, strings.TrimSpace(tls)
}

// told tells that the sender has been written to, and begins the story of that report.
func (q *Queue) told(a *attempt, rep *written) {
	if rep.unproven {
		q.count.silent.Inc()
	}
	if q.o.Story == nil {
		return
	}
	now, to := q.o.Now(), rep.envelope.Recipients[0].Address.String()
	step, text := story.Reported, "report "+rep.id
	switch rep.kind {
	case actionFailed:
		step = story.Bounced
		if rep.unproven {
			step, text = story.Unreported, "nothing proves that the mail came from its sender; the postmaster was told: report "+rep.id
		}
	case actionDelayed:
		step = story.Delayed
	}
	q.o.Story.Tell(a.before.id, story.Event{At: now, Step: step, Who: to, Text: text})
	q.o.Story.Begin(story.Message{
		ID: rep.id, At: now, Direction: story.Out, To: []string{to}, Author: "MAILER-DAEMON@" + q.o.Hostname, Size: rep.size,
		MessageID: "<" + rep.id + "@" + q.o.Hostname + ">", Subject: (&report{kind: rep.kind}).subject(), Client: "this house, about " + a.before.id,
	}, story.Event{At: now, Step: story.Queued, Who: to})
}

// byOperator is which message an entry is of that a verb changes, and for whom.
type byOperator map[uint64]struct{ id, domain string }

func (b byOperator) note(number uint64, e *entry) {
	b[number] = struct{ id, domain string }{e.id, string(e.domain)}
}

// tellVerb tells what the operator did.
func (q *Queue) tellVerb(by byOperator, numbers []uint64, step story.Step, how string) {
	for _, n := range numbers {
		if x, ok := by[n]; ok {
			text := "mail for " + x.domain
			if how != "" {
				text += "; " + how
			}
			q.o.Story.Tell(x.id, story.Event{Step: step, Text: text})
		}
	}
}
