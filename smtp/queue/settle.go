package queue

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/story"
)

// attempt is one try at an entry and what came of it.
type attempt struct {
	number  uint64
	before  *entry
	results []Result              // one for each waiting recipient
	apply   func(tx *kv.Tx) error // the carrier's share of the transaction
	after   *entry                // with the recipients that are owed a report still in it
	due     int64                 // of after
	delayed []int                 // recipients of after whose sender is told of the delay now
	lines   []func(*slog.Logger)  // said once it is settled
	events  []story.Event         // told once it is settled
	failed  []recipient           // refused by another host for good, told once it is settled
	verdict map[Verdict]int

	unreported bool // the sender is not proven, and the postmaster has heard enough
}

// settle makes the outcome durable. Nothing is lost or doubled by a crash at any point:
//
//   - Without a report, one Update changes the row (and places the message, for local mail).
//   - With a report, one log record carries the report's text, its entry, and the old entry's new form, so that
//     all of it happens or nothing. When the carrier has a share of its own in the transaction, that Update comes first
//     and leaves the recipients in the row as owed; the record follows, now or after a restart.
func (q *Queue) settle(ctx context.Context, a *attempt) {
	q.judge(a)
	durable := context.WithoutCancel(ctx)
	reports := len(a.delayed) > 0 || a.after.waits() < len(a.after.recipients)
	if a.apply != nil || !reports {
		if !q.insist(ctx, a, func() error {
			return q.db.Update(durable, func(tx *kv.Tx) error { return q.settleRow(tx, a) })
		}) {
			return
		}
		if a.verdict == nil { // cancelled in the last moment
			return
		}
		a.say(q)
	}
	if !reports {
		a.say(q)
		return
	}
	err := q.settleReport(durable, a)
	if err == nil {
		// The lease ends with this call: the entry's new form must be in the tables by then. The record stands in the log
		// already; a second one would be a second report.
		q.insist(ctx, a, func() error { return q.db.SettleAll(durable) })
		a.say(q)
		return
	}
	q.log.ErrorContext(ctx, logx.QueueUnsettled, "id", a.before.id, "number", a.number, "error", err)
	if errors.Is(err, kv.ErrClosed) {
		q.end(err)
		return
	}
	if len(a.results) == 0 { // it was owed before: nothing new is to be kept
		return
	}
	// No report can be written now. What came of the attempt is kept at least, with the recipients as owed.
	a.due, a.apply = max(a.due, q.now()+retryBroken.Milliseconds()), nil
	if q.insist(ctx, a, func() error {
		return q.db.Update(durable, func(tx *kv.Tx) error { return q.settleRow(tx, a) })
	}) {
		a.say(q)
	}
}

// insist tries until it is stored: the attempt has happened, and forgetting it would send the message twice. It
// gives up when the database has ended, or when the entry cannot be settled that way at all.
func (q *Queue) insist(ctx context.Context, a *attempt, store func() error) bool {
	for wait := time.Second; ; wait = min(2*wait, time.Minute) {
		err := store()
		if err == nil || errors.Is(err, errGone) {
			return true
		}
		q.log.ErrorContext(ctx, logx.QueueUnsettled, "id", a.before.id, "number", a.number, "error", err)
		if errors.Is(err, kv.ErrClosed) {
			q.end(err)
			return false
		}
		if !errors.Is(err, kv.ErrFull) || !pause(ctx, wait) {
			return false
		}
	}
}

// pause waits unless the queue is being stopped.
func pause(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

func (q *Queue) settleRow(tx *kv.Tx, a *attempt) error {
	if a.apply != nil {
		if err := a.apply(tx); err != nil {
			if errors.Is(err, ErrNoItem) {
				return a.void()
			}
			return err
		}
	}
	after := a.after
	if len(after.recipients) == 0 {
		after = nil
	}
	err := q.replace(tx, a.number, a.due, after)
	if errors.Is(err, errGone) && a.apply != nil {
		return a.void()
	}
	return err
}

// void is for an entry that the operator cancelled while a carrier had it that delivers in the same transaction: nothing is
// delivered, and nothing said.
func (a *attempt) void() error {
	a.lines, a.events, a.failed, a.verdict = nil, nil, nil, nil
	return errGone
}

// judge works out the entry's new form.
func (q *Queue) judge(a *attempt) {
	now := q.now()
	e := a.before.clone()
	a.after, a.due, a.verdict = e, now, map[Verdict]int{}
	if len(a.results) == 0 { // it waited for its report only
		return
	}
	e.attempts++
	e.last = now
	expired := now >= e.since()+q.o.life(e).Milliseconds() && e.attempts >= q.o.fewest(e)
	due := q.o.after(a.number, e, now)
	kept := e.recipients[:0]
	next := 0
	for _, r := range e.recipients {
		if r.state == waiting {
			r.result = a.results[next].bounded()
			next++
			if expired && r.result.Verdict == Later {
				r.result = tooOld(r.result)
			}
			a.note(r, due)
			a.tell(q, r, due)
			if r.result.Verdict == Never && r.result.Remote != "" && q.o.Failed != nil {
				a.failed = append(a.failed, r)
			}
		}
		if r.state = stateAfter(e, r); r.state != gone {
			kept = append(kept, r)
		}
	}
	clear(e.recipients[len(kept):])
	e.recipients = kept
	if e.waits() > 0 {
		a.due = due
		q.delay(a, now)
	}
}

// gone is the state of a recipient of whom nobody needs to hear; it is never stored.
const gone uint8 = 255

// stateAfter tells what is still to do for a recipient (RFC 3461 sections 5.2.2 to 5.2.6). Mail from <> is never reported on
// (RFC 5321 section 4.5.5).
func stateAfter(e *entry, r recipient) uint8 {
	switch {
	case r.state != waiting:
		return r.state
	case r.result.Verdict == Later:
		return waiting
	case e.from.IsNull():
		return gone
	case e.unproven && r.result.Verdict == Never:
		return owedFailure // to the postmaster (unproven.go)
	case e.unproven:
		return gone
	case r.result.Verdict == Done && r.Notify&mail.NotifySuccess != 0 && r.result.Handoff != Passed:
		return owedSuccess
	case r.result.Verdict == Never && (r.Notify == 0 || r.Notify&mail.NotifyFailure != 0):
		return owedFailure
	}
	return gone
}

// tooOld turns the last temporary failure into the final one (RFC 3463 section 3.5: X.4.7, delivery time expired). The
// class stays 4: nothing is known to be wrong with the address. A mailbox that was full to the end is told as such.
func tooOld(r Result) Result {
	r.Verdict = Never
	if strings.HasSuffix(r.Status, ".2.2") {
		r.Status = "5.2.2"
	} else {
		r.Status = "4.4.7"
	}
	return r
}

// delay marks the waiting recipients whose sender is to be told that the message is late.
func (q *Queue) delay(a *attempt, now int64) {
	e := a.after
	if q.o.DelayAfter == 0 || e.told || now < e.since()+q.o.DelayAfter.Milliseconds() {
		return
	}
	e.told = true
	if e.from.IsNull() || e.unproven {
		return
	}
	for i, r := range e.recipients {
		if r.state == waiting && (r.Notify == 0 || r.Notify&mail.NotifyDelay != 0) {
			a.delayed = append(a.delayed, i)
		}
	}
}

// note gathers what the log says about one recipient.
func (a *attempt) note(r recipient, due int64) {
	a.verdict[r.result.Verdict]++
	e, number, at := a.before, a.number, a.after.attempts
	a.lines = append(a.lines, func(log *slog.Logger) {
		attrs := []any{"id", e.id, "number", number, "from", e.from.String(), "to", r.Address.String(), "status", r.result.Status,
			"text", r.result.Text, "remote", r.result.Remote, "detail", r.result.Detail, "attempt", at}
		switch r.result.Verdict {
		case Done:
			log.Info(logx.QueueDone, attrs...)
		case Later:
			log.Info(logx.QueueLater, append(attrs, "due", time.UnixMilli(due))...)
		case Never:
			log.Warn(logx.QueueNever, append(attrs, "reported", stateAfter(e, r) == owedFailure && !e.unproven)...)
		}
	})
}

// say logs and counts the results, once.
func (a *attempt) say(q *Queue) {
	for _, line := range a.lines {
		line(q.log)
	}
	q.count.add(a.verdict)
	q.o.Story.Tell(a.before.id, a.events...)
	for i := range a.failed {
		q.o.Failed(a.failed[i].Address, a.before.from, a.failed[i].result)
	}
	a.lines, a.events, a.failed, a.verdict = nil, nil, nil, nil
}

// deferTickets settles items with a result that another item met: their host is known not to answer.
func (q *Queue) deferTickets(ctx context.Context, j job) {
	var plain []*attempt
	for _, t := range j.tickets {
		e := q.read(ctx, t)
		if e == nil {
			continue
		}
		a := &attempt{number: t.number, before: e, results: Fail(e.waits(), j.result).Results}
		q.judge(a)
		if len(a.delayed) > 0 || a.after.waits() < len(a.after.recipients) {
			q.settle(ctx, &attempt{number: t.number, before: e, results: a.results})
			continue
		}
		plain = append(plain, a)
	}
	if len(plain) == 0 {
		return
	}
	ctx = context.WithoutCancel(ctx)
	err := q.db.Update(ctx, func(tx *kv.Tx) error {
		for _, a := range plain {
			if err := q.settleRow(tx, a); err != nil && !errors.Is(err, errGone) {
				return err
			}
		}
		return nil
	})
	if err != nil { // nothing was sent: they simply come back
		q.log.ErrorContext(ctx, logx.QueueUnsettled, "entries", len(plain), "error", err)
		return
	}
	for _, a := range plain {
		a.say(q)
	}
}

// settleReport logs the record that carries the report and the entry's new form.
func (q *Queue) settleReport(ctx context.Context, a *attempt) error {
	after := a.after.clone()
	after.recipients = slices.DeleteFunc(after.recipients, func(r recipient) bool { return r.state != waiting })
	if len(after.recipients) == 0 {
		after = nil
	}
	settled := settlePart(a.number, a.due, after)
	rep, err := q.compose(ctx, a)
	if err != nil {
		return fmt.Errorf("compose the report on %s: %w", a.before.id, err)
	}
	if rep == nil { // nobody to send it to after all
		if a.unreported {
			q.tellUnreported(ctx, a)
		}
		return q.db.Update(ctx, func(tx *kv.Tx) error { return q.replace(tx, a.number, a.due, after) })
	}
	defer rep.arrival.Discard()
	if _, err := q.store.Deliver(ctx, rep.arrival, nil, settled, q.Part(rep.id, rep.envelope)); err != nil {
		if rep.unproven {
			q.unproven.forget(rep.about)
		}
		return err
	}
	q.log.InfoContext(ctx, logx.QueueReport, "id", a.before.id, "number", a.number, "report", rep.id, "to", rep.envelope.Recipients[0].Address.String(),
		"kind", rep.kind)
	q.count.reports.WithLabelValues(rep.kind).Inc()
	a.say(q)
	q.told(a, rep)
	return nil
}
