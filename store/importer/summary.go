package importer

import (
	"errors"
	"slices"
	"time"
)

// ErrOverQuota: the account has no room for the rest; Summary says how much is missing.
var ErrOverQuota = errors.New("the account's quota is full")

// Summary is what a run did, and what it passed over and why.
type Summary struct {
	Folders    int           `json:"folders"`
	Taken      Taken         `json:"taken"`
	Already    int64         `json:"already"`              // were there from a run before
	Unnumbered int64         `json:"unnumbered,omitempty"` // had no uid at their source, in a folder with uids
	LineEnds   int64         `json:"line_ends,omitempty"`  // their lines were made to end in CRLF
	Skipped    []Skipped     `json:"skipped,omitempty"`
	Notes      []string      `json:"notes,omitempty"`
	OverQuota  *Needs        `json:"over_quota,omitempty"` // by that much the quota is too small for all
	Elapsed    time.Duration `json:"elapsed_ns"`
}

// Skipped is what was passed over for one reason.
type Skipped struct {
	Reason string   `json:"reason"`
	Count  int64    `json:"count"`
	Where  []string `json:"where"` // the first of them
}

// maxExamples is how many are named.
const maxExamples = 5

// maxNotes bounds what is odd about a source in words.
const maxNotes = 200

func newSummary() *Summary { return &Summary{} }

func (s *Summary) skip(reason, where string) {
	i := slices.IndexFunc(s.Skipped, func(k Skipped) bool { return k.Reason == reason })
	if i < 0 {
		i = len(s.Skipped)
		s.Skipped = append(s.Skipped, Skipped{Reason: reason})
	}
	k := &s.Skipped[i]
	if k.Count++; len(k.Where) < maxExamples {
		k.Where = append(k.Where, where)
	}
}

func (s *Summary) note(text string) {
	if len(s.Notes) < maxNotes {
		s.Notes = append(s.Notes, text)
	}
}

// without is how much more than the room n is.
func (n *Needs) without(waiting Needs) *Needs {
	over := func(have, room uint64) uint64 { return max(have, room) - room }
	return &Needs{Bytes: over(waiting.Bytes, n.Bytes), Messages: over(waiting.Messages, n.Messages)}
}

// Lost is how many messages were passed over that should not have been.
func (s *Summary) Lost() int64 {
	n := s.Taken.TooBig
	for _, k := range s.Skipped {
		if k.Reason != badDeleted && k.Reason != badEmpty {
			n += k.Count
		}
	}
	return n
}
