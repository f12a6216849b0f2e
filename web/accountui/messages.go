package accountui

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// stories is the pages about what became of messages.
func (m *room) stories() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/messages":     m.messages,
		"GET /account/messages/{n}": m.message,
	}
}

// messages is a page of the user's own messages.
type messages struct {
	All                []admin.OwnMessage
	With, Subject, Day string
	Wrong              string // with what was asked for
	Next               string
	First              bool // nothing was asked for and nothing left out
}

const messagesShown = 40

func (m *room) messages(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	p := messages{With: strings.TrimSpace(q.Get("with")), Subject: strings.TrimSpace(q.Get("subject")), Day: strings.TrimSpace(q.Get("day"))}
	ask := admin.OwnQuery{With: p.With, Subject: p.Subject, From: q.Get("from"), Limit: messagesShown}
	status := http.StatusOK
	if p.Day != "" {
		day, err := time.Parse("2006-01-02", p.Day)
		if err != nil {
			p.Wrong, status = "A day is written like 2026-11-22.", http.StatusUnprocessableEntity
		} else {
			ask.Since, ask.Before = day, day.AddDate(0, 0, 1)
		}
	}
	if p.Wrong == "" {
		found, err := m.o.House.OwnStories(r.Context(), user(r), ask)
		if err != nil {
			return err
		}
		p.All = found.Messages
		if found.Next != "" {
			p.Next = "/account/messages?" + url.Values{"with": {p.With}, "subject": {p.Subject}, "day": {p.Day}, "from": {found.Next}}.Encode()
		}
	}
	p.First = p.With+p.Subject+p.Day+q.Get("from") == ""
	return m.show(w, r, page.View{Page: "messages", Title: "What happened to my mail", Status: status, Data: p})
}

// told is a message with what happened, in words.
type told struct {
	admin.OwnTraced
	Lines []line
	Ends  []line // for each recipient
}

// line is one thing that happened.
type line struct {
	At     time.Time
	Text   string
	Advice string
	Next   *time.Time
	Bad    bool
}

func (m *room) message(w http.ResponseWriter, r *http.Request) error {
	t, err := m.o.House.OwnStory(r.Context(), user(r), r.PathValue("n"))
	if err != nil {
		return err
	}
	p := told{OwnTraced: t}
	for i := range t.Events {
		e := &t.Events[i]
		if text := happened(e, t.Sent); text != "" {
			p.Lines = append(p.Lines, line{At: e.At, Text: text, Advice: e.Advice, Next: e.Next, Bad: e.Step == story.Refused || e.Step == story.Failed || e.Step == story.Attempted})
		}
	}
	for _, x := range t.Outcome {
		p.Ends = append(p.Ends, line{At: x.At, Text: x.Address + ": " + ended(x.State), Bad: x.State == story.Refused || x.State == story.Failed})
	}
	return m.show(w, r, page.View{Page: "message", Title: "What happened to this message", Data: p})
}

// ended says where a recipient's copy is.
func ended(s story.Step) string {
	words := map[story.Step]string{
		story.Queued: "on its way", story.Attempted: "not taken yet, it is tried again", story.Relayed: "handed over to the recipient's server", story.Failed: "given up",
		story.Expanded: "passed on to the members", story.Delivered: "arrived", story.Refused: "refused",
	}[s]
	if words == "" {
		return "nothing is known yet"
	}
	return words
}

// happened is one event in a user's words; empty: nothing that he would miss.
func happened(e *story.Event, sent bool) string {
	answer := strings.Join(strings.Fields(e.Text), " ")
	if e.Code != 0 {
		answer = strconv.Itoa(e.Code) + " " + answer
	}
	host := e.Host
	if host == "" {
		host = "this server"
	}
	switch e.Step {
	case story.Checked:
		return "Who sent it was checked: " + answer
	case story.Scored:
		return "Looked at for junk: " + answer
	case story.Signed:
		return "Signed, so that others can see that it is from here"
	case story.Refused:
		return "Refused: " + answer
	case story.Delivered:
		if sent {
			return "Arrived in the mailbox of " + e.Who
		}
		if e.Mailbox == "" {
			return "Put into your mailbox"
		}
		return "Put into your mailbox " + e.Mailbox
	case story.Queued:
		return "On its way to " + e.Who
	case story.Attempted:
		return host + " did not take it for " + e.Who + ": " + answer
	case story.Relayed:
		return host + " has taken it for " + e.Who + ": " + answer
	case story.Expanded:
		return e.Who + ": passed on to the members"
	case story.Failed:
		return "Given up for " + e.Who + ": " + answer
	case story.Delayed:
		return "You were told that it is late"
	case story.Bounced:
		return "You were told that it was given up"
	case story.Reported:
		return "You were told that it arrived"
	case story.Unreported:
		return "The sender was not told: nothing proves that it was he"
	case story.Scheduled:
		return "Waits in your Outbox"
	case story.LetGo:
		return "Left your Outbox"
	case story.TakenBack:
		return "You took it back"
	case story.Held:
		return "Held by the postmaster"
	case story.Released:
		return "Let go by the postmaster"
	case story.Cancelled:
		return "Taken out of the queue by the postmaster"
	case story.Opened:
		return "You have read it with " + e.Client
	}
	return ""
}
