package adminui

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// queuePage is a part of what waits.
type queuePage struct {
	Domain, Address string
	States          []choice
	Filtered        bool
	Entries         []admin.QueueEntry
	Next, First     string
}

func (m *room) queue(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	f := admin.QueueFilter{Domain: short(q.Get("domain")), Address: short(q.Get("address")), State: short(q.Get("state")), After: short(q.Get("after")), Limit: perPage}
	found, err := m.o.House.FindQueue(r.Context(), f)
	if err != nil {
		return err
	}
	d := queuePage{Domain: f.Domain, Address: f.Address, Entries: found.Entries, Filtered: f.Domain+f.Address+f.State != "", States: []choice{
		{"", "everything", f.State == ""}, {admin.QueueTried, "tried, and to be tried again", f.State == admin.QueueTried},
		{admin.QueueHeld, "held by us", f.State == admin.QueueHeld}, {admin.QueueScheduled, "to be sent later, as its sender wants", f.State == admin.QueueScheduled},
	}}
	d.First, d.Next = around(r, "after", f.After, found.Next)
	return m.show(w, r, page.View{Page: "queue", Title: "Mail that waits", Data: d})
}

// around are the addresses of the first and the next part of a list that goes on behind a place.
func around(r *http.Request, key, at, next string) (first, more string) {
	q := r.URL.Query()
	q.Del("done")
	q.Del(key)
	if at != "" {
		first = r.URL.Path + "?" + q.Encode()
	}
	if next != "" {
		q.Set(key, next)
		more = r.URL.Path + "?" + q.Encode()
	}
	return first, more
}

// queueEntry is one message that waits, for each domain that it is for, with all that happened to it.
type queueEntry struct {
	ID      string
	Entries []admin.QueueEntry
	Lines   []storyLine
	Held    bool
	Waits   bool
}

func (m *room) queueEntry(w http.ResponseWriter, r *http.Request) error {
	id := short(r.URL.Query().Get("id"))
	if id == "" {
		return page.ErrMissing
	}
	all, err := m.o.House.QueueEntry(r.Context(), id)
	if isMissing(err) {
		if told, err := m.o.House.Trace(r.Context(), id, 1); err == nil && len(told) > 0 && told[0].ID == id {
			http.Redirect(w, r, storyPath(id), http.StatusSeeOther) // it tells what became of it
			return nil
		}
		return &page.Problem{Status: http.StatusNotFound, Title: "It does not wait any more", Text: "The message was delivered, given back or cancelled. Look for " + id + " under “What happened”."}
	}
	if err != nil {
		return err
	}
	d := queueEntry{ID: id, Entries: all}
	for _, e := range all {
		d.Held, d.Waits = d.Held || e.Held, d.Waits || e.Waits
	}
	if told, err := m.o.House.Trace(r.Context(), id, 1); err == nil && len(told) > 0 {
		d.Lines = storyLines(told[0].Events)
	}
	return m.show(w, r, page.View{Page: "queue-entry", Title: "A message that waits", Data: d})
}

// queueWords are what is said after an action.
func queueWords() map[string]string {
	return map[string]string{admin.Retry: "queue-retried", admin.Hold: "queue-held", admin.Release: "queue-released", admin.SendNow: "queue-sent", admin.Cancel: "queue-cancelled", admin.Drop: "queue-dropped"}
}

func (m *room) queueAction(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "action", "sure")
	if err != nil {
		return err
	}
	action := f.Value("action")
	var ids []string
	for _, id := range r.PostForm["id"] {
		if id = strings.TrimSpace(id); id != "" && !slices.Contains(ids, id) {
			ids = append(ids, short(id))
		}
	}
	word := queueWords()[action]
	switch {
	case word == "":
		return page.ErrMissing
	case len(ids) == 0:
		return &page.Problem{Status: http.StatusUnprocessableEntity, Title: "Nothing was chosen", Text: "Go back and tick the messages that you mean."}
	case (action == admin.Cancel || action == admin.Drop) && !f.Is("sure"):
		return m.askCancel(w, r, ids)
	}
	if _, err := m.o.House.QueueAction(r.Context(), action, ids); err != nil {
		return err
	}
	page.Done(w, r, "/admin/queue", word)
	return nil
}

// askCancel asks before messages are given up.
func (m *room) askCancel(w http.ResponseWriter, r *http.Request, ids []string) error {
	a := ask{Action: "/admin/queue", Back: "/admin/queue", Button: "Give up",
		Text:   "What is given up does not come back. Its senders get it back with a note, when you leave it at that.",
		Fields: []field{hidden("sure", "1"), {Kind: "select", Name: "action", Label: "Who is told?", Choices: []choice{{admin.Cancel, "the senders", true}, {admin.Drop, "nobody", false}}}},
	}
	all, err := m.o.House.QueueEntries(r.Context(), ids)
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return &page.Problem{Status: http.StatusNotFound, Title: "They do not wait any more", Text: "What you chose was delivered, given back or given up meanwhile."}
	}
	for _, e := range all {
		a.Items = append(a.Items, e.ID+": from "+sender(e.From)+" to "+page.Count(len(e.Recipients), "address", "addresses")+" at "+e.Domain)
	}
	for _, id := range ids {
		a.Fields = append(a.Fields, hidden("id", id))
	}
	return m.ask(w, r, "Give these messages up?", nil, a)
}

// sender is an envelope sender for people.
func sender(from string) string {
	if from == "" || from == "<>" {
		return "the mail system (<>)"
	}
	return from
}

// storyPath leads to a message's story.
func storyPath(id string) string { return "/admin/stories/one?" + url.Values{"id": {id}}.Encode() }

// storyLine is an event in words.
type storyLine struct {
	story.Event
	Words string
	Bad   bool
}

func storyLines(events []story.Event) (all []storyLine) {
	words := map[story.Step]string{
		story.Received: "was handed over", story.Checked: "was checked", story.Scored: "was judged", story.Signed: "was signed", story.Refused: "was refused",
		story.Delivered: "was put into a mailbox here", story.Queued: "waits to be sent on", story.Attempted: "another server was tried", story.Relayed: "another server took it",
		story.Expanded: "went to the members of an alias or a list", story.Failed: "was given up", story.Delayed: "its sender was told that it is late",
		story.Bounced: "its sender was told that it could not be delivered", story.Reported: "its sender was told that it was delivered",
		story.Unreported: "its sender was not told: nothing proves who that is", story.Held: "was held back by an operator", story.Released: "was let go by an operator",
		story.Cancelled: "was cancelled by an operator", story.Scheduled: "waits for the time that its sender chose", story.LetGo: "its time had come", story.TakenBack: "was taken back by its sender", story.Opened: "was read",
	}
	for _, e := range events {
		l := storyLine{Event: e, Words: words[e.Step], Bad: e.Step == story.Refused || e.Step == story.Failed || e.Step == story.Bounced}
		if l.Words == "" {
			l.Words = string(e.Step)
		}
		all = append(all, l)
	}
	return all
}
