package admin

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store/story"
)

// Traced is what happened to one message.
type Traced struct {
	story.Story
	Outcome []TracedRecipient `json:"outcome"`
}

// TracedRecipient is what became of the message for one of those it was for.
type TracedRecipient struct {
	Address string     `json:"address"`
	State   story.Step `json:"state,omitempty"` // of the last event that concerns it; empty: nothing is known
	At      time.Time  `json:"at,omitzero"`
}

// maxTraced is how many messages one answer tells of.
const maxTraced = 100

// Trace tells of the messages that a transaction id, a Message-ID or an address names, newest first.
func (h *House) Trace(ctx context.Context, what string, limit int) ([]Traced, error) {
	what = strings.TrimSpace(what)
	if what == "" || limit < 1 {
		return nil, invalid("name a message by its id, its Message-ID or an address, and ask for at least one")
	}
	if h.o.Story == nil {
		return nil, &Error{Class: Unavailable, Message: "nothing is written down: the setting story.keep is 0s"}
	}
	found, err := h.o.Story.Find(ctx, what, min(limit, maxTraced))
	if errors.Is(err, story.ErrUnknown) {
		return nil, &Error{Missing, "nothing is known of " + what + ": it was not offered to this house, or so long ago that it is forgotten (settings story.keep, story.size)", err}
	}
	if err != nil {
		return nil, translate(what, err)
	}
	out := make([]Traced, 0, len(found))
	for _, s := range found {
		s.Places, s.Owners = nil, nil // numbers of ours
		out = append(out, Traced{Story: s, Outcome: outcome(s)})
	}
	return out, nil
}

// outcome is the last that is told of each recipient, in the order in which they came.
func outcome(s story.Story) []TracedRecipient {
	all := make([]TracedRecipient, 0, len(s.To))
	place := make(map[string]int, len(s.To))
	add := func(address string) int {
		key := strings.ToLower(address)
		i, ok := place[key]
		if !ok {
			i = len(all)
			place[key] = i
			all = append(all, TracedRecipient{Address: address})
		}
		return i
	}
	for _, to := range s.To {
		add(to)
	}
	for _, e := range s.Events {
		switch {
		case !decides(e.Step):
		case e.Who != "":
			i := add(e.Who)
			all[i].State, all[i].At = e.Step, e.At
		case e.Step == story.Refused:
			for i := range all {
				if all[i].State == "" {
					all[i].State, all[i].At = e.Step, e.At
				}
			}
		}
	}
	return all
}

// decides reports a step that says where a recipient's copy is.
func decides(s story.Step) bool {
	return slices.Contains([]story.Step{story.Refused, story.Delivered, story.Queued, story.Attempted, story.Relayed, story.Expanded, story.Failed}, s)
}
