package adminui

import (
	"cmp"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// auditPage is what was changed, the newest first.
type auditPage struct {
	Who, Object string
	Lines       []auditLine
	Next        string
	First       string // the page of the newest; empty: this is it
}

type auditLine struct {
	admin.AuditEntry
	What    string
	How     string
	Changes []admin.AuditField
	Reason  string // why it cannot be taken back; empty: it can
}

func auditLines(entries []admin.AuditEntry) (all []auditLine) {
	words := verbWords()
	for _, e := range entries {
		line := auditLine{AuditEntry: e, What: cmp.Or(words[e.Verb], e.Verb), How: doorWord(e.Actor.Door), Changes: e.Changes()}
		for i := range line.Changes {
			x := &line.Changes[i]
			x.Name, x.Was, x.Is = fieldWords(x.Name), clipped(x.Was), clipped(x.Is)
		}
		if e.Stays != "" {
			line.Reason = sentence(e.Stays)
		}
		all = append(all, line)
	}
	return all
}

// clipped bounds what a line shows of a value: a list may have thousands of members.
func clipped(text string) string {
	const most = 300
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most], "") + " …"
}

func (m *room) audit(w http.ResponseWriter, r *http.Request) error {
	return m.showAudit(w, r, r.URL.Query(), nil)
}

func (m *room) showAudit(w http.ResponseWriter, r *http.Request, q url.Values, f *page.Form) error {
	before, err := strconv.ParseUint(q.Get("before"), 10, 64)
	if err != nil {
		before = 0
	}
	filter := admin.AuditFilter{Who: short(q.Get("who")), Object: short(q.Get("object")), Before: before, Limit: perPage}
	found, err := m.o.House.Audit(r.Context(), filter)
	if err != nil {
		return err
	}
	d := auditPage{Who: filter.Who, Object: filter.Object, Lines: auditLines(found.Entries)}
	keep := url.Values{}
	if filter.Who != "" {
		keep.Set("who", filter.Who)
	}
	if filter.Object != "" {
		keep.Set("object", filter.Object)
	}
	if before > 0 {
		d.First = "/admin/audit?" + keep.Encode()
	}
	if found.Next > 0 {
		keep.Set("before", strconv.FormatUint(found.Next, 10))
		d.Next = "/admin/audit?" + keep.Encode()
	}
	return m.show(w, r, page.View{Page: "audit", Title: "Changes", Status: statusOf(f), Form: f, Data: d})
}

// short bounds what is searched for.
func short(text string) string {
	text = strings.TrimSpace(text)
	return strings.ToValidUTF8(text[:min(len(text), 300)], "")
}

// undo takes a change back.
func (m *room) undo(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "number")
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(f.Value("number"), 10, 64)
	if err != nil {
		return page.ErrMissing
	}
	_, err = m.o.House.Undo(r.Context(), admin.Undo{Number: n})
	if err = refused(f, "", err); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showAudit(w, r, url.Values{}, f)
	}
	page.Done(w, r, "/admin/audit", "undone")
	return nil
}
