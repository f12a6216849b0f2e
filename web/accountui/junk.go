package accountui

import (
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// junkPages is the pages about mail that nobody wants.
func (m *room) junkPages() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/junk":          m.junk,
		"POST /account/junk":         m.setJunk,
		"GET /account/junk/senders":  m.senders,
		"POST /account/junk/senders": m.setSender,
		"POST /account/junk/forget":  m.forgetSender,
		"GET /account/junk/train":    m.training,
		"POST /account/junk/train":   m.train,
	}
}

// junk is what was refused, and how strictly.
type junk struct {
	Settings admin.SpamSettings
	Levels   []choice
	Refused  []admin.Refusal
	Pager    pager
	Lesson   admin.Lesson
}

const refusedShown = 25

func (m *room) junk(w http.ResponseWriter, r *http.Request) error {
	set, err := m.o.House.SpamSettings(r.Context(), user(r))
	if err != nil {
		return err
	}
	all, err := m.o.House.SpamRefused(r.Context(), user(r))
	if err != nil {
		return err
	}
	lesson, err := m.o.House.Training(r.Context(), user(r))
	if err != nil {
		return err
	}
	p := junk{Settings: set, Lesson: lesson, Levels: levels(set), Pager: pagesOf(r, "/account/junk", nil, len(all), refusedShown)}
	p.Refused = all[p.Pager.from:p.Pager.to]
	return m.show(w, r, page.View{Page: "junk", Title: "Junk", Data: p})
}

// The lines that may be chosen: the score from which mail is junk.
const (
	lineStrict  = 3.5
	lineLenient = 8
)

// levels are the ways to judge.
func levels(s admin.SpamSettings) []choice {
	all := []choice{
		{"house", "As everybody here", !s.Off && !s.Own}, {"strict", "Strictly: more goes into Junk", !s.Off && s.Own && s.Line == lineStrict},
		{"lenient", "Gently: less goes into Junk", !s.Off && s.Own && s.Line == lineLenient}, {"off", "Not at all", s.Off},
	}
	if !slices.ContainsFunc(all, func(c choice) bool { return c.On }) {
		all = append(all, choice{"keep", "As it was set for you (from " + strconv.FormatFloat(s.Line, 'f', 1, 64) + " points on)", true})
	}
	return all
}

func (m *room) setJunk(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "level")
	if err != nil {
		return err
	}
	off, line := false, 0.0
	switch f.Value("level") {
	case "house":
	case "strict":
		line = lineStrict
	case "lenient":
		line = lineLenient
	case "off":
		off = true
	default: // as it was
		page.Done(w, r, "/account/junk", "junk")
		return nil
	}
	c := admin.SpamChange{Off: &off, Line: &line}
	if off {
		c.Line = nil
	}
	if _, err := m.o.House.SetSpam(r.Context(), user(r), c); err != nil {
		return err
	}
	page.Done(w, r, "/account/junk", "junk")
	return nil
}

// senders is whom the user lets in and shuts out.
type senders struct {
	All   []admin.SpamSender
	Total int
	Find  string
	Pager pager
	Ways  []choice
}

const sendersShown = 50

func (m *room) senders(w http.ResponseWriter, r *http.Request) error { return m.showSenders(w, r, nil) }

func (m *room) showSenders(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	all, err := m.o.House.SpamSenders(r.Context(), user(r))
	if err != nil {
		return err
	}
	p := senders{Total: len(all), Find: strings.TrimSpace(r.URL.Query().Get("find"))}
	if p.Find != "" {
		all = slices.DeleteFunc(all, func(s admin.SpamSender) bool { return !strings.Contains(s.Sender, strings.ToLower(p.Find)) })
	}
	p.Pager = pagesOf(r, "/account/junk/senders", url.Values{"find": {p.Find}}, len(all), sendersShown)
	p.All = all[p.Pager.from:p.Pager.to]
	blocked := f.Value("way") == "block"
	p.Ways = []choice{{"allow", "Let in", !blocked}, {"block", "Shut out", blocked}}
	return m.answer(w, r, page.View{Page: "senders", Title: "Senders", Form: f, Data: p})
}

func (m *room) setSender(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "sender", "way", "back")
	if err != nil {
		return err
	}
	_, err = m.o.House.SetSpamSender(r.Context(), user(r), admin.SpamSender{Sender: f.Value("sender"), Blocked: f.Value("way") == "block"})
	if e, ok := errors.AsType[*admin.Error](err); ok && e.Class == admin.Invalid {
		f.Reject("sender", "This is neither a mail address nor a domain such as example.org.")
		err = nil
	}
	if err := f.Refused("sender", err); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showSenders(w, r, f)
	}
	to := "/account/junk/senders"
	if f.Is("back") {
		to = "/account/junk"
	}
	word := "sender-in"
	if f.Value("way") == "block" {
		word = "sender-out"
	}
	page.Done(w, r, to, word)
	return nil
}

func (m *room) forgetSender(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "sender")
	if err != nil {
		return err
	}
	if err := m.o.House.RemoveSpamSender(r.Context(), user(r), f.Value("sender")); err != nil {
		return err
	}
	page.Done(w, r, "/account/junk/senders", "sender-gone")
	return nil
}

// train has the judge learn from what stands in the user's mailboxes. Who asks twice is led to what runs.
func (m *room) train(w http.ResponseWriter, r *http.Request) error {
	_, err := m.o.House.StartTraining(r.Context(), user(r))
	if e, ok := errors.AsType[*admin.Error](err); ok && e.Class == admin.Conflict {
		err = nil
	}
	if err != nil {
		return err
	}
	http.Redirect(w, r, "/account/junk/train", http.StatusSeeOther)
	return nil
}

// training shows how far it is; the browser asks again while it goes on, without a script.
func (m *room) training(w http.ResponseWriter, r *http.Request) error {
	t, err := m.o.House.Training(r.Context(), user(r))
	if err != nil {
		return err
	}
	if t.State == admin.PullRunning {
		w.Header().Set("Refresh", "3")
	}
	return m.show(w, r, page.View{Page: "training", Title: "Learning from your mail", Data: t})
}
