package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
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
}

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
			} else {
				l.foreign = append(l.foreign, "queue "+r.Address)
			}
		}
	}
	return nil
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
	wrong := map[string][]string{"lost": nil, "twice": nil, "refused and there": nil, "removed and there": nil, "half of a transaction": nil}
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
	case e.answer == taken && !gone && e.found == 0, e.answer == taken && e.queued && e.waiting == 0:
		p = append(p, "lost")
	case e.answer == refused && e.found+e.waiting > 0:
		p = append(p, "refused and there")
	case e.removal == removed && e.found > 0:
		p = append(p, "removed and there")
	}
	if e.queued && e.found != e.waiting {
		p = append(p, "half of a transaction")
	}
	return p
}
