package adminui

import (
	"net/http"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// listList is the page of all mailing lists.
type listList struct {
	find
	pager
	Total int
	Lines []listLine
}

type listLine struct {
	admin.List
	Page string
}

func (m *room) lists(w http.ResponseWriter, r *http.Request) error {
	f := wanted(r)
	found, err := m.o.House.FindLists(r.Context(), f)
	if err != nil {
		return err
	}
	d := listList{find: find{Path: "/admin/lists", Label: "Part of a name or an address", Text: f.Text, Domain: f.Domain}, pager: pagerOf(r, found.Page, found.Pages), Total: found.Total}
	for _, l := range found.All {
		d.Lines = append(d.Lines, listLine{l, listPath("", l.Address)})
	}
	return m.show(w, r, page.View{Page: "lists", Title: "Mailing lists", Data: d})
}

func listPath(below, address string) string { return at("/admin/list"+below, "address", address) }

// listFields are the settings of a list.
func listFields(f *page.Form, first ...field) []field {
	return of(f, append(first,
		field{Name: "name", Label: "Name", Hint: "As members see it."},
		field{Kind: "area", Name: "owners", Label: "Owners", Hint: "One address a line. They get what the list has to say to somebody.", Need: true},
		field{Kind: "select", Name: "post", Label: "Who may post", Choices: []choice{{Value: "members", Label: "Members"}, {Value: "named", Label: "Those who are named below"}, {Value: "anyone", Label: "Anyone"}}},
		field{Kind: "area", Name: "posters", Label: "Who may post besides", Hint: "One address a line."},
		field{Kind: "select", Name: "replies", Label: "Answers go to", Choices: []choice{{Value: "author", Label: "The author"}, {Value: "list", Label: "The list"}}},
		field{Name: "tag", Label: "In front of subjects", Hint: "Such as [garden]. Empty: subjects stay as they are, and so do signatures."},
		field{Name: "max_size", Label: "Largest message", Hint: "Such as 5 MiB. Empty: as the house takes them."},
	)...)
}

// listFieldNames are the names of those that change a list.
func listFieldNames() []string {
	return []string{"name", "owners", "post", "posters", "replies", "tag", "max_size"}
}

// largestOf reads the size of the largest message.
func largestOf(f *page.Form) int64 {
	v := f.Value("max_size")
	if v == "" {
		return 0
	}
	n, ok := sizeOf(v)
	if !ok {
		f.Reject("max_size", "This is no size: write a number and KiB or MiB.")
	}
	return int64(n)
}

// badAddress is the first of some fields with addresses in which one cannot be read, so that the fault stands where it was typed.
func badAddress(f *page.Form, names ...string) {
	for _, name := range names {
		for _, line := range lines(f.Value(name)) {
			if text, ok := readable(line); !ok {
				f.Reject(name, text)
			}
		}
	}
}

func (m *room) showNewList(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	return m.show(w, r, page.View{Page: "simple", Title: "Add a mailing list", Status: statusOf(f), Form: f, Data: simple{
		Text:   "Members write to one address, and all of them get it. They leave by a link in every message.",
		Action: "/admin/lists/add", Button: "Add the list", Back: "/admin/lists",
		Fields: listFields(f, field{Name: "address", Label: "Address", Hint: "In one of the domains of this house.", Need: true}),
	}})
}

func (m *room) newList(w http.ResponseWriter, r *http.Request) error {
	return m.showNewList(w, r, page.Filled(map[string]string{"owners": page.VisitOf(r.Context()).SignIn.Identity.Main.String()}))
}

func (m *room) addList(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, append(listFieldNames(), "address")...)
	if err != nil {
		return err
	}
	badAddress(f, "owners", "posters")
	in := admin.NewList{
		Address: f.Value("address"), Name: f.Value("name"), Owners: lines(f.Value("owners")), Post: f.Value("post"), Posters: lines(f.Value("posters")),
		Replies: f.Value("replies"), Tag: f.Value("tag"), MaxSize: largestOf(f),
	}
	var made admin.List
	if f.Ok() {
		made, err = m.o.House.AddList(r.Context(), in)
		if err = refused(f, "address", err); err != nil {
			return err
		}
	}
	if !f.Ok() {
		return m.showNewList(w, r, f)
	}
	page.Done(w, r, listPath("", made.Address), "list-added")
	return nil
}

// listPage is one list with a page of its members.
type listPage struct {
	admin.List
	find
	pager
	Found    int // members that were looked for
	Shown    []admin.ListMember
	Settings []field
	Add      []field
}

func (m *room) list(w http.ResponseWriter, r *http.Request) error {
	return m.showList(w, r, r.URL.Query().Get("address"), nil)
}

func (m *room) showList(w http.ResponseWriter, r *http.Request, address string, f *page.Form) error {
	l, err := m.o.House.List(r.Context(), address)
	if err != nil {
		return err
	}
	stored := map[string]string{
		"name": l.Name, "owners": strings.Join(l.Owners, "\n"), "post": l.Post, "posters": strings.Join(l.Posters, "\n"), "replies": l.Replies, "tag": l.Tag,
	}
	if l.MaxSize > 0 {
		stored["max_size"] = sizeText(uint64(l.MaxSize))
	}
	f = filled(f, stored)
	q := wanted(r)
	var fit []admin.ListMember
	for _, x := range l.All {
		if strings.Contains(strings.ToLower(x.Address), strings.ToLower(strings.TrimSpace(q.Text))) {
			fit = append(fit, x)
		}
	}
	pages := max(1, (len(fit)+perPage-1)/perPage)
	n := min(q.Page, pages)
	p := listPage{
		List: l.List, find: find{Path: "/admin/list", Label: "Part of a member's address", Text: q.Text}, pager: pagerOf(r, n, pages), Found: len(fit),
		Shown:    fit[(n-1)*perPage : min(n*perPage, len(fit))],
		Settings: append(listFields(f), hidden("address", l.Address), hidden("version", l.Version)),
		Add:      of(f, hidden("address", l.Address), field{Kind: "area", Name: "members", Label: "New members", Hint: "One address a line. Ask them first: they are members at once.", Need: true}),
	}
	return m.show(w, r, page.View{Page: "list", Title: l.Address, Status: statusOf(f), Form: f, Data: p})
}

func (m *room) setList(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, append(listFieldNames(), "address", "version")...)
	if err != nil {
		return err
	}
	badAddress(f, "owners", "posters")
	name, tag, post, answers := f.Value("name"), f.Value("tag"), f.Value("post"), f.Value("replies")
	owners, posters, largest := lines(f.Value("owners")), lines(f.Value("posters")), largestOf(f)
	c := admin.ListChange{Name: &name, Owners: &owners, Post: &post, Posters: &posters, Replies: &answers, Tag: &tag, MaxSize: &largest, If: f.Value("version")}
	if f.Ok() {
		_, err = m.o.House.SetList(r.Context(), f.Value("address"), c)
		if err = refused(f, "owners", err); err != nil {
			return err
		}
	}
	return m.listDone(w, r, f, "list-saved")
}

// listDone leads back to a list, or shows its page with the form that was refused.
func (m *room) listDone(w http.ResponseWriter, r *http.Request, f *page.Form, word string) error {
	if !f.Ok() {
		return m.showList(w, r, f.Value("address"), f)
	}
	page.Done(w, r, listPath("", f.Value("address")), word)
	return nil
}

// setMembers adds, removes, pauses or resumes members.
func (m *room) setMembers(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "address", "action", "members")
	if err != nil {
		return err
	}
	badAddress(f, "members")
	if f.Ok() {
		_, err = m.o.House.ChangeMembers(r.Context(), f.Value("address"), admin.MemberChange{Action: f.Value("action"), Members: lines(f.Value("members"))})
		if err = refused(f, "members", err); err != nil {
			return err
		}
	}
	return m.listDone(w, r, f, "list-members")
}

func (m *room) askRemoveList(w http.ResponseWriter, r *http.Request) error {
	l, err := m.o.House.List(r.Context(), r.URL.Query().Get("address"))
	if err != nil {
		return err
	}
	return m.ask(w, r, "Remove "+l.Address, nil, ask{
		Text:   "Mail to the list is refused from then on, and its members are forgotten: " + page.Count(l.Members, "member", "members") + ".",
		Action: "/admin/list/remove", Button: "Remove the list", Back: listPath("", l.Address), Fields: []field{hidden("address", l.Address), hidden("version", l.Version)},
	})
}

func (m *room) removeList(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "address", "version")
	if err == nil {
		err = m.o.House.RemoveList(seen(r, f), f.Value("address"))
	}
	if err != nil {
		return err
	}
	page.Done(w, r, "/admin/lists", "list-removed")
	return nil
}
