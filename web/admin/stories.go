package admin

import (
	"context"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store/story"
)

// StoryFilter says which messages are wanted.
type StoryFilter struct {
	Text   string    `json:"text,omitempty"`  // a transaction id, a Message-ID or an address; empty: all
	Before time.Time `json:"before,omitzero"` // began before; zero: now
	Limit  int       `json:"limit,omitempty"` // 50; at most 100
}

// FindStories lists messages that came or went, the newest first, without what happened to them: Trace tells that.
func (h *House) FindStories(ctx context.Context, f StoryFilter) ([]story.Message, error) {
	if h.o.Story == nil {
		return nil, &Error{Class: Unavailable, Message: "nothing is written down: the setting story.keep is 0s"}
	}
	if f.Limit == 0 {
		f.Limit = 50
	}
	if f.Limit < 0 || f.Limit > maxTraced {
		return nil, invalid("ask for 1 to 100 messages")
	}
	var found []story.Message
	var err error
	if f.Text = strings.TrimSpace(f.Text); f.Text == "" {
		found, err = h.o.Story.List(ctx, f.Before, f.Limit)
	} else {
		found, err = h.o.Story.Search(ctx, f.Text, f.Before, f.Limit)
	}
	out := make([]story.Message, 0, len(found))
	for _, m := range found {
		m.Places = nil // numbers of ours
		out = append(out, m)
	}
	return out, translate("stories", err)
}
