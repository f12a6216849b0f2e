package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// answer is what the sender of one message heard.
type answer int

const (
	silence answer = iota // the connection ended first
	taken                 // 250
	refused               // 4xx or 5xx
)

// removal says how far a POP3 client came with removing a message.
type removal int

const (
	kept    removal = iota
	perhaps         // QUIT was sent, the answer did not come
	removed         // QUIT was answered
)

// entry is one message that was tried.
type entry struct {
	account string
	queued  bool // for a host that is down too
	answer  answer
	removal removal
	found   int // in the mailboxes
	waiting int // in the queue

	cancel  removal // of its queue entry
	hold    hold
	bounced int // reports to the sender
}

// hold says whether a queue entry must be held.
type hold int

const (
	free hold = iota
	unsure
	held
)

// ledger keeps every message that was tried, by the left side of its Message-ID.
type ledger struct {
	mu      sync.Mutex
	entries map[string]*entry
	foreign []string
}

func newLedger() *ledger { return &ledger{entries: map[string]*entry{}} }

// try notes a message before its last octet is sent.
func (l *ledger) try(id, account string, queued bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[id] = &entry{account: account, queued: queued}
}

func (l *ledger) answered(id string, a answer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.entries[id].answer = a
}

// removing notes how far the removal of the messages came.
func (l *ledger) removing(ids []string, to removal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if e := l.entries[id]; e != nil {
			e.removal = to
		}
	}
}

// settle decides what became of removals without an answer, from the messages that are there now, and returns those
// that must not be there.
func (l *ledger) settle(account string, there map[string]bool) (back []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for id, e := range l.entries {
		if e.account != account {
			continue
		}
		switch {
		case e.removal == perhaps && there[id]:
			e.removal = kept
		case e.removal == perhaps:
			e.removal = removed
		case e.removal == removed && there[id]:
			back = append(back, id)
		}
	}
	return back
}

// read counts the messages of one account that came from elsewhere.
func (l *ledger) read(addr, user string) error {
	boxes, err := observe(addr, user)
	if err != nil {
		return err
	}
	for _, name := range []string{inbox, kind} {
		if boxes[name] == nil {
			continue
		}
		for _, m := range boxes[name].messages {
			if e := l.entries[m.id]; e != nil && e.account == user {
				e.found++
			} else {
				l.foreign = append(l.foreign, user+" "+m.id)
			}
		}
	}
	return nil
}

// mayTend names the message of a queue entry that the operator may do something to.
func (l *ledger) mayTend(q admin.QueueEntry, action string) (id string, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(q.Recipients) != 1 {
		return "", false
	}
	id, ok = strings.CutSuffix(q.Recipients[0].Address, "@"+down)
	e := l.entries[id]
	if !ok || e == nil || e.cancel != kept {
		return "", false
	}
	return id, action != admin.Release || e.hold == held
}

// tending notes how far an action of the operator came.
func (l *ledger) tending(ids []string, action string, to removal) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		e := l.entries[id]
		switch {
		case action == admin.Cancel:
			e.cancel = to
		case to == perhaps:
			e.hold = unsure
		case action == admin.Hold:
			e.hold = held
		default:
			e.hold = free
		}
	}
}

// settleQueue compares the queue with what it must be, and learns what became of actions without an answer.
func (l *ledger) settleQueue(list []admin.QueueEntry) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	seen := map[string]bool{}
	for _, q := range list {
		for _, r := range q.Recipients {
			id, ours := strings.CutSuffix(r.Address, "@"+down)
			e := l.entries[id]
			switch {
			case !ours:
				continue // a report on its way to the sender
			case e == nil || !e.queued:
				return fmt.Errorf("queue: %s was never sent", r.Address)
			case seen[id]:
				return fmt.Errorf("queue: %s is there twice", id)
			case e.cancel == removed:
				return fmt.Errorf("queue: %s was cancelled and is there", id)
			case e.hold != unsure && (e.hold == held) != q.Held:
				return fmt.Errorf("queue: %s is held: %v", id, q.Held)
			}
			seen[id] = true
			if e.cancel, e.hold = kept, free; q.Held {
				e.hold = held
			}
		}
	}
	for id, e := range l.entries {
		switch {
		case !e.queued || seen[id]:
		case e.cancel == perhaps:
			e.cancel = removed
		case e.cancel == kept && e.answer == taken:
			return fmt.Errorf("queue: %s was taken and is gone", id)
		}
	}
	return nil
}

// readReports counts what the sender was told of messages that the operator cancelled.
func (l *ledger) readReports(addr, user string) error {
	c, err := dialIMAP(addr, user)
	if err != nil {
		return err
	}
	defer c.c.Close()
	if _, err := c.ok("EXAMINE INBOX"); err != nil {
		return err
	}
	lines, err := c.ok("UID FETCH 1:* (UID BODY.PEEK[2])")
	if err != nil {
		return err
	}
	for _, line := range lines {
		m := reported.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		if e := l.entries[m[1]]; e != nil {
			e.bounced++
		} else {
			l.foreign = append(l.foreign, "report on "+m[1])
		}
	}
	return nil
}

var reported = regexp.MustCompile(`Final-Recipient: rfc822; ?([^@\s]+)@` + regexp.QuoteMeta(down))

// readQueue counts the entries of the queue: each message that waits has a recipient of its own.
func (l *ledger) readQueue(list []byte) error {
	var queue []struct {
		Recipients []struct {
			Address string `json:"address"`
		} `json:"recipients"`
	}
	if err := json.Unmarshal(list, &queue); err != nil {
		return fmt.Errorf("queue list: %w", err)
	}
	for _, q := range queue {
		for _, r := range q.Recipients {
			id, ok := strings.CutSuffix(r.Address, "@"+down)
			if e := l.entries[id]; ok && e != nil && e.queued {
				e.waiting++
			} else if r.Address != account(12) { // a report that is on its way

				l.foreign = append(l.foreign, "queue "+r.Address)
			}
		}
	}
	return nil
}

// taken counts the messages that were answered 250.
func (l *ledger) taken() (n int) {
	for _, e := range l.entries {
		if e.answer == taken {
			n++
		}
	}
	return n
}

func (l *ledger) report() {
	var answers [3]int
	waiting := 0
	for _, e := range l.entries {
		answers[e.answer]++
		waiting += e.waiting
	}
	fmt.Printf("messages answered 250: %d, refused: %d, cut off: %d; in the queue: %d\n", answers[taken], answers[refused], answers[silence], waiting)
}

// check says what does not match.
func (l *ledger) check() error {
	wrong := map[string][]string{"lost": nil, "twice": nil, "refused and there": nil, "removed and there": nil, "half of a transaction": nil,
		"report too many": nil, "report lost": nil}
	some := false
	for id, e := range l.entries {
		some = some || e.answer == taken
		for _, problem := range e.problems() {
			wrong[problem] = append(wrong[problem], id)
		}
	}
	wrong["never sent"] = l.foreign
	var err error
	for _, problem := range slices.Sorted(maps.Keys(wrong)) {
		ids := wrong[problem]
		slices.Sort(ids)
		fmt.Printf("%s: %d\n", problem, len(ids))
		if len(ids) > 0 {
			err = errors.Join(err, fmt.Errorf("%s: %s", problem, strings.Join(ids[:min(len(ids), 5)], ", ")))
		}
	}
	if !some {
		return errors.New("no message was taken at all: nothing was shown")
	}
	return err
}

func (e *entry) problems() (p []string) {
	gone := e.removal != kept
	switch {
	case e.found > 1 || e.waiting > 1:
		p = append(p, "twice")
	case e.answer == taken && !gone && e.found == 0, e.answer == taken && e.queued && e.cancel == kept && e.waiting == 0:
		p = append(p, "lost")
	case e.answer == refused && e.found+e.waiting > 0:
		p = append(p, "refused and there")
	case e.removal == removed && e.found > 0, e.cancel == removed && e.waiting > 0:
		p = append(p, "removed and there")
	case e.bounced > 1 || e.bounced > 0 && e.cancel != removed:
		p = append(p, "report too many")
	case e.cancel == removed && e.bounced == 0:
		p = append(p, "report lost")
	}
	if e.queued && e.cancel == kept && e.found != e.waiting {
		p = append(p, "half of a transaction")
	}
	return p
}
