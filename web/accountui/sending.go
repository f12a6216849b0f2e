package accountui

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// sendingPages is the pages about what goes out.
func (m *room) sendingPages() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/outbox":       m.outbox,
		"POST /account/outbox/back": m.takeBack,
		"POST /account/outbox/now":  m.sendNow,
		"GET /account/sending":      m.sending,
		"POST /account/sending":     m.setSendingWishes,
	}
}

// outbox is what waits.
type outbox struct {
	All   []admin.OutboxMessage
	Pager pager
}

const waitingShown = 50

func (m *room) outbox(w http.ResponseWriter, r *http.Request) error {
	number, _ := strconv.Atoi(r.URL.Query().Get("page"))
	some, err := m.o.House.OutboxPage(r.Context(), user(r), (max(number, 1)-1)*waitingShown, waitingShown)
	if err != nil {
		return err
	}
	p := outbox{All: some.Messages, Pager: pagesOf(r, "/account/outbox", nil, some.Total, waitingShown)}
	return m.show(w, r, page.View{Page: "outbox", Title: "Outbox", Data: p})
}

func (m *room) takeBack(w http.ResponseWriter, r *http.Request) error {
	return m.ofOutbox(w, r, "taken-back", func(uid uint32) error { return m.o.House.TakeBack(r.Context(), user(r), uid) })
}

func (m *room) sendNow(w http.ResponseWriter, r *http.Request) error {
	return m.ofOutbox(w, r, "sent-now", func(uid uint32) error { return m.o.House.SendWaiting(r.Context(), user(r), uid) })
}

func (m *room) ofOutbox(w http.ResponseWriter, r *http.Request, word string, do func(uid uint32) error) error {
	f, err := page.Read(w, r, "uid")
	if err != nil {
		return err
	}
	uid, err := strconv.ParseUint(f.Value("uid"), 10, 32)
	if err != nil {
		return page.ErrMissing
	}
	if err := do(uint32(uid)); err != nil {
		return quotaWords(err)
	}
	page.Done(w, r, "/account/outbox", word)
	return nil
}

// sending is what was sent and may be sent, and what becomes of what is sent.
type sending struct {
	admin.Sending
	Lines  []limitLine
	Holds  []choice
	Copies []choice
}

// limitLine is a limit in words.
type limitLine struct {
	admin.SendLimit
	Label   string
	Percent int
}

// limitLabel is what a user calls a limit.
func limitLabel(name string) string {
	return map[string]string{
		"messages_per_hour": "Messages within an hour", "messages_per_day": "Messages within a day", "recipients_per_hour": "Recipients within an hour",
		"recipients_per_day": "Recipients within a day", "new_recipients_per_day": "Recipients within a day to whom you have never written",
	}[name]
}

func (m *room) sending(w http.ResponseWriter, r *http.Request) error { return m.showSending(w, r, nil) }

func (m *room) showSending(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	s, err := m.o.House.AccountLimits(r.Context(), user(r))
	if err != nil {
		return err
	}
	a, err := m.o.House.Account(r.Context(), user(r))
	if err != nil {
		return err
	}
	hold, sent := a.Hold, a.SentCopy
	if f == nil {
		f = page.Filled(map[string]string{})
	} else {
		hold, sent = strings.TrimPrefix(f.Value("hold"), admin.AsHouse), strings.TrimPrefix(f.Value("copy"), admin.AsHouse)
	}
	f.Set("version", a.Version)
	p := sending{Sending: s, Holds: holds(hold), Copies: []choice{
		{admin.AsHouse, "As everybody here", sent == ""}, {admin.On, "Yes", sent == admin.On}, {admin.Off, "No: my programs do it", sent == admin.Off},
	}}
	for _, l := range s.Limits {
		x := limitLine{SendLimit: l, Label: limitLabel(l.Name)}
		if l.Most > 0 {
			x.Percent = int(min(100, l.Used*100/l.Most))
		}
		if x.Label != "" {
			p.Lines = append(p.Lines, x)
		}
	}
	return m.answer(w, r, page.View{Page: "sending", Title: "Sending", Form: f, Data: p})
}

// holds are the times for which messages may wait.
func holds(now string) []choice {
	all := []choice{
		{admin.AsHouse, "As everybody here", now == ""}, {admin.Off, "Not at all", now == admin.Off},
		{"10s", "10 seconds", now == "10s"}, {"30s", "30 seconds", now == "30s"}, {"1m0s", "a minute", now == "1m0s"}, {"5m0s", "5 minutes", now == "5m0s"},
	}
	for _, c := range all {
		if c.On {
			return all
		}
	}
	return append(all, choice{now, now, true})
}

func (m *room) setSendingWishes(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "hold", "copy", "version")
	if err != nil {
		return err
	}
	hold, sent := f.Value("hold"), f.Value("copy")
	_, err = m.o.House.SetAccount(r.Context(), user(r), admin.Change{Hold: &hold, SentCopy: &sent, If: f.Value("version")})
	if e, ok := errors.AsType[*admin.Error](err); ok && e.Class == admin.Invalid {
		return page.ErrMissing // nothing that the page offers
	}
	if err := f.Refused("", err); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showSending(w, r, f)
	}
	page.Done(w, r, "/account/sending", "sending")
	return nil
}
