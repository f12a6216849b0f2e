package adminui

import (
	"net/http"
	"strconv"
	"time"

	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// storiesPage is messages that came or went.
type storiesPage struct {
	find
	Messages    []story.Message
	First, Next string
}

func (m *room) stories(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := admin.StoryFilter{Text: short(q.Get("q")), Limit: perPage}
	before := short(q.Get("before"))
	if ns, err := strconv.ParseInt(before, 10, 64); err == nil && ns > 0 {
		f.Before = time.Unix(0, ns)
	}
	found, err := m.o.House.FindStories(r.Context(), f)
	if err != nil {
		return err
	}
	d := storiesPage{find: find{Path: "/admin/stories", Label: "Address, Message-ID or id", Text: f.Text}, Messages: found}
	next := ""
	if len(found) == perPage {
		next = strconv.FormatInt(found[len(found)-1].At.UnixNano(), 10)
	}
	d.First, d.Next = around(r, "before", before, next)
	return m.show(w, r, page.View{Page: "stories", Title: "What happened to messages", Data: d})
}

// storyPage is one message's story.
type storyPage struct {
	admin.Traced
	Lines  []storyLine
	Waits  bool // perhaps
	States map[story.Step]string
}

func (m *room) story(w http.ResponseWriter, r *http.Request) error {
	id := short(r.URL.Query().Get("id"))
	if id == "" {
		return page.ErrMissing
	}
	all, err := m.o.House.Trace(r.Context(), id, 1)
	if err != nil {
		return err
	}
	d := storyPage{Traced: all[0], Lines: storyLines(all[0].Events), States: map[story.Step]string{
		"": "nothing is known yet", story.Refused: "refused", story.Delivered: "in a mailbox here", story.Queued: "waits", story.Attempted: "tried, and waits",
		story.Relayed: "taken by another server", story.Expanded: "went to the members", story.Failed: "given up",
	}}
	for _, o := range d.Outcome {
		d.Waits = d.Waits || o.State == story.Queued || o.State == story.Attempted
	}
	return m.show(w, r, page.View{Page: "story", Title: "One message", Data: d})
}
