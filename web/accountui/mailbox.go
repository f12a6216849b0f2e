package accountui

import (
	"fmt"
	"html/template"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// mailbox is the pages about what is there, and what was.
func (m *room) mailbox() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/space":          m.space,
		"GET /account/deleted":        m.deleted,
		"GET /account/deleted/group":  m.deletedGroup,
		"POST /account/deleted/group": m.bringBack,
	}
}

// space is what takes how much.
type space struct {
	admin.Space
	Percent int // of the limit
	Picture template.HTML
	All     []spaceBox
	Pager   pager
}

// spaceBox is a mailbox with its part of the whole.
type spaceBox struct {
	admin.SpaceMailbox
	Bar template.HTML
}

const boxesShown = 50

func (m *room) space(w http.ResponseWriter, r *http.Request) error {
	s, err := m.o.House.Space(r.Context(), user(r))
	if err != nil {
		return err
	}
	p := space{Space: s, Pager: pagesOf(r, "/account/space", nil, len(s.Mailboxes), boxesShown)}
	if s.Quota.Bytes > 0 {
		p.Percent = int(min(100, s.Usage.Bytes*100/s.Quota.Bytes))
	}
	p.Picture = stacked(s)
	var most uint64 = 1
	if len(s.Mailboxes) > 0 {
		most = max(1, s.Mailboxes[0].Bytes)
	}
	for _, b := range s.Mailboxes[p.Pager.from:p.Pager.to] {
		p.All = append(p.All, spaceBox{b, bar(b.Bytes, most)})
	}
	return m.show(w, r, page.View{Page: "space", Title: "Space", Data: p})
}

// tones are what parts of a picture are coloured with, in turn.
func tones() []string {
	return []string{page.ToneOne, page.ToneTwo, page.ToneGood, page.ToneDoubt, page.ToneBad, page.ToneThree}
}

// stacked is one bar of all mailboxes, beside what is free where there is a limit. The table below says the same.
func stacked(s admin.Space) template.HTML {
	whole := max(s.Quota.Bytes, s.Usage.Bytes, 1)
	var b strings.Builder
	var legend strings.Builder
	words := fmt.Sprintf("%s used", page.Size(int64(s.Usage.Bytes)))
	if s.Quota.Bytes > 0 {
		words += " of " + page.Size(int64(s.Quota.Bytes))
	}
	at, rest := 0.0, uint64(0)
	part := func(name string, bytes uint64, tone string) {
		wide := float64(bytes) / float64(whole) * 360
		fmt.Fprintf(&b, `<rect class="tone-%s" x="%.2f" y="0" width="%.2f" height="24"/>`, tone, at, wide)
		fmt.Fprintf(&legend, `<li><svg viewBox="0 0 10 10" aria-hidden="true"><rect class="tone-%s" width="10" height="10"/></svg>%s, %s</li>`, tone, template.HTMLEscapeString(name), page.Size(int64(bytes)))
		at += wide
	}
	all := tones()
	for i, box := range s.Mailboxes {
		if i < len(all)-1 && box.Bytes > 0 {
			part(box.Name, box.Bytes, all[i])
			continue
		}
		rest += box.Bytes
	}
	if rest > 0 {
		part("All others", rest, all[len(all)-1])
	}
	return template.HTML(`<figure class="chart"><figcaption>` + template.HTMLEscapeString(words) + `</figcaption><svg viewBox="0 0 360 24" role="img" aria-label="` +
		template.HTMLEscapeString(words) + `"><rect class="empty" width="360" height="24"/>` + b.String() + `</svg><ul class="legend">` + legend.String() + `</ul></figure>`)
}

// bar is a part of the most in a line of a table.
func bar(n, most uint64) template.HTML {
	return template.HTML(`<svg class="bar" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="tone-one" width="` +
		strconv.FormatFloat(float64(n)*100/float64(most), 'f', 2, 64) + `" height="8"/></svg>`)
}

// deletedDays is a page of what can come back.
type deletedDays struct {
	Groups   []admin.DeletedGroup
	Messages int
	Pager    pager
}

const groupsShown = 60

func (m *room) deleted(w http.ResponseWriter, r *http.Request) error {
	all, err := m.o.House.DeletedGroups(r.Context(), user(r))
	if err != nil {
		return err
	}
	p := deletedDays{Pager: pagesOf(r, "/account/deleted", nil, len(all), groupsShown)}
	for _, g := range all {
		p.Messages += g.Messages
	}
	p.Groups = all[p.Pager.from:p.Pager.to]
	return m.show(w, r, page.View{Page: "deleted", Title: "Deleted mail", Data: p})
}

// deletedGroup is one day of one mailbox.
type deletedGroup struct {
	admin.Deleted
	Query admin.DeletedQuery
	Next  string
}

const deletedShown = 50

// bringMost is how many messages a form can name; more come back as a group.
const bringMost = 200

func (m *room) deletedGroup(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	ask := admin.DeletedQuery{Day: q.Get("day"), Mailbox: q.Get("mailbox"), Limit: deletedShown}
	ask.Below, _ = strconv.ParseUint(q.Get("below"), 10, 64)
	return m.showGroup(w, r, nil, ask)
}

func (m *room) showGroup(w http.ResponseWriter, r *http.Request, f *page.Form, ask admin.DeletedQuery) error {
	d, err := m.o.House.DeletedOf(r.Context(), user(r), ask)
	if err != nil {
		return err
	}
	if d.Total == 0 {
		return &page.Problem{Status: http.StatusNotFound, Title: "Nothing of this is left", Text: "It was brought back already, or it is too old to be kept. The page about deleted mail shows what is there."}
	}
	p := deletedGroup{Deleted: d, Query: ask}
	if n := len(d.Messages); n == ask.Limit {
		p.Next = "/account/deleted/group?" + url.Values{"day": {ask.Day}, "mailbox": {ask.Mailbox}, "below": {strconv.FormatUint(d.Messages[n-1].ID, 10)}}.Encode()
	}
	return m.answer(w, r, page.View{Page: "deleted-group", Title: "Deleted from " + ask.Mailbox + " on " + ask.Day, Form: f, Data: p})
}

// bringBack puts messages back where they were: those that are ticked, or all of the group.
func (m *room) bringBack(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "day", "mailbox", "all")
	if err != nil {
		return err
	}
	ask := admin.DeletedQuery{Day: f.Value("day"), Mailbox: r.PostForm.Get("mailbox"), Limit: deletedShown}
	var back admin.Undeleted
	if f.Is("all") {
		back, err = m.o.House.UndeleteGroup(r.Context(), user(r), ask)
	} else {
		in := admin.Undelete{}
		for _, text := range r.PostForm["id"][:min(len(r.PostForm["id"]), bringMost)] {
			if id, err := strconv.ParseUint(text, 10, 64); err == nil {
				in.IDs = append(in.IDs, id)
			}
		}
		if len(in.IDs) == 0 {
			f.Reject("", "Nothing was changed: tick what is to come back.")
			return m.showGroup(w, r, f, ask)
		}
		back, err = m.o.House.Undelete(r.Context(), user(r), in)
	}
	if err != nil {
		return quotaWords(err)
	}
	return m.show(w, r, page.View{Page: "brought-back", Title: "Brought back", Data: back})
}

// quotaWords says to a user what a verb has said to an operator.
func quotaWords(err error) error {
	if strings.Contains(err.Error(), "quota") {
		return &page.Problem{Status: http.StatusConflict, Title: "There is no room for it", Text: "Your mailbox is too full. Bring back fewer messages, delete what you do not need, or ask the postmaster for more space."}
	}
	return err
}
