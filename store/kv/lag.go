package kv

import (
	"time"

	"github.com/posthouse-mail/posthouse/store/blob"
)

// lag is what is durable in the log and not in the tables. The committer's mutex guards it.
type lag struct {
	entries []*logged // in log order; those that are being applied are not among them
	debts   map[uint32]debt
	backlog int64     // octets, those that are being applied included
	oldest  time.Time // when the oldest became durable, those that are being applied included
	last    blob.LSN  // the newest durable record
	applied blob.LSN  // everything before it is in the tables
	wanted  blob.LSN  // a reader or the logger waits for the records up to here
}

// debt is what an account's readers wait for.
type debt struct {
	records int
	last    blob.LSN
}

// add takes the next durable record.
func (l *lag) add(e *logged) {
	l.entries = append(l.entries, e)
	l.backlog += e.weight()
	l.last = e.LSN
	for _, a := range e.accounts {
		l.debts[a] = debt{l.debts[a].records + 1, e.LSN}
	}
	if l.oldest.IsZero() {
		l.oldest = e.at
	}
}

// take hands the records out to be applied.
func (l *lag) take() []*logged {
	entries := l.entries
	l.entries = nil
	return entries
}

// put takes back records that could not be applied.
func (l *lag) put(entries []*logged) { l.entries = append(entries, l.entries...) }

// settle forgets records that are in the tables now.
func (l *lag) settle(entries []*logged) {
	for _, e := range entries {
		l.backlog -= e.weight()
		for _, a := range e.accounts {
			if d := l.debts[a]; d.records > 1 {
				l.debts[a] = debt{d.records - 1, d.last}
			} else {
				delete(l.debts, a)
			}
		}
	}
	if n := len(entries); n > 0 {
		l.applied = entries[n-1].End
	}
	l.oldest = time.Time{}
	if len(l.entries) > 0 {
		l.oldest = l.entries[0].at
	}
}

// hurried: somebody waits for a record that is not being applied yet.
func (l *lag) hurried() bool { return len(l.entries) > 0 && l.entries[0].LSN <= l.wanted }

// patient: only bodies without parts wait, and the update that will refer to them is on its way.
func (l *lag) patient() bool {
	for _, e := range l.entries {
		if !e.kept {
			return false
		}
	}
	return len(l.entries) > 0
}
