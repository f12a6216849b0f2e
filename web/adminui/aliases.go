package adminui

import (
	"net/http"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// aliasList is the page of all aliases.
type aliasList struct {
	find
	pager
	Total int
	Lines []aliasLine
}

type aliasLine struct {
	admin.Alias
	Page string
	More int // members that are not shown
}

// membersShown bounds what a line of a list shows of an alias.
const membersShown = 5

func (m *room) aliases(w http.ResponseWriter, r *http.Request) error {
	f := wanted(r)
	found, err := m.o.House.FindAliases(r.Context(), f)
	if err != nil {
		return err
	}
	d := aliasList{find: find{Path: "/admin/aliases", Label: "Part of an address", Text: f.Text, Domain: f.Domain}, pager: pagerOf(r, found.Page, found.Pages), Total: found.Total}
	for _, a := range found.All {
		line := aliasLine{a, aliasPath("", a.Address), max(0, len(a.Members)-membersShown)}
		line.Members = a.Members[:len(a.Members)-line.More]
		d.Lines = append(d.Lines, line)
	}
	return m.show(w, r, page.View{Page: "aliases", Title: "Aliases", Data: d})
}

func aliasPath(below, address string) string { return at("/admin/alias"+below, "address", address) }

func aliasFields(f *page.Form, first field) []field {
	return of(f, first,
		field{Kind: "area", Name: "members", Label: "Its mail goes to", Hint: "One address a line, here or elsewhere.", Need: true},
		field{Kind: "box", Name: "send_as", Label: "They may send with this address", Hint: "Only who has an account here can."},
	)
}

func (m *room) showNewAlias(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	return m.show(w, r, page.View{Page: "simple", Title: "Add an alias", Status: statusOf(f), Form: f, Data: simple{
		Text:   "An alias is an address without a mailbox: mail for it goes on to one or more others.",
		Action: "/admin/aliases/add", Button: "Add the alias", Back: "/admin/aliases",
		Fields: aliasFields(f, field{Name: "address", Label: "Address", Hint: "In one of the domains of this house.", Need: true}),
	}})
}

func (m *room) newAlias(w http.ResponseWriter, r *http.Request) error {
	return m.showNewAlias(w, r, page.Filled(nil))
}

func (m *room) addAlias(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "address", "members", "send_as")
	if err != nil {
		return err
	}
	if f.Ok() {
		switch _, err := m.o.House.FindAlias(r.Context(), f.Value("address")); { // says it in fewer words than AddAlias does
		case err == nil:
			f.Reject("address", "This alias is there already: change it on its own page.")
		case !isMissing(err):
			if err = refused(f, "address", err); err != nil {
				return err
			}
		}
	}
	var made admin.Alias
	if f.Ok() {
		made, err = m.o.House.AddAlias(r.Context(), admin.Alias{Address: f.Value("address"), Members: lines(f.Value("members")), SendAs: f.Is("send_as"), If: admin.NotThere})
		if err = refused(f, fieldAbout(err, f.Value("address"), "address", "members"), err); err != nil {
			return err
		}
	}
	if !f.Ok() {
		return m.showNewAlias(w, r, f)
	}
	page.Done(w, r, aliasPath("", made.Address), "alias-added")
	return nil
}

// fieldAbout is the field that a refusal is about: the one whose value its message begins with, else the other.
func fieldAbout(err error, value, field, other string) string {
	if err != nil && strings.HasPrefix(err.Error(), value+":") && !strings.Contains(err.Error(), "member") {
		return field
	}
	return other
}

// aliasPage is one alias.
type aliasPage struct {
	admin.Alias
	Fields []field
}

func (m *room) alias(w http.ResponseWriter, r *http.Request) error {
	return m.showAlias(w, r, r.URL.Query().Get("address"), nil)
}

func (m *room) showAlias(w http.ResponseWriter, r *http.Request, address string, f *page.Form) error {
	a, err := m.o.House.FindAlias(r.Context(), address)
	if err != nil {
		return err
	}
	stored := map[string]string{"members": strings.Join(a.Members, "\n")}
	if a.SendAs {
		stored["send_as"] = "1"
	}
	f = filled(f, stored)
	p := aliasPage{Alias: a, Fields: append(aliasFields(f, hidden("address", a.Address)), hidden("version", a.Version))}
	return m.show(w, r, page.View{Page: "alias", Title: a.Address, Status: statusOf(f), Form: f, Data: p})
}

func (m *room) setAlias(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "address", "version", "members", "send_as")
	if err != nil {
		return err
	}
	a, err := m.o.House.FindAlias(r.Context(), f.Value("address"))
	if err != nil {
		return err
	}
	if f.Ok() {
		_, err = m.o.House.AddAlias(r.Context(), admin.Alias{Address: a.Address, Members: lines(f.Value("members")), SendAs: f.Is("send_as"), If: f.Value("version")})
		if err = refused(f, "members", err); err != nil {
			return err
		}
	}
	if !f.Ok() {
		return m.showAlias(w, r, a.Address, f)
	}
	page.Done(w, r, aliasPath("", a.Address), "alias-saved")
	return nil
}

func (m *room) askRemoveAlias(w http.ResponseWriter, r *http.Request) error {
	a, err := m.o.House.FindAlias(r.Context(), r.URL.Query().Get("address"))
	if err != nil {
		return err
	}
	return m.ask(w, r, "Remove "+a.Address, nil, ask{
		Text:   "Mail for this address is refused from then on. It went to:",
		Items:  a.Members,
		Action: "/admin/alias/remove", Button: "Remove the alias", Back: aliasPath("", a.Address), Fields: []field{hidden("address", a.Address), hidden("version", a.Version)},
	})
}

func (m *room) removeAlias(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "address", "version")
	if err == nil {
		err = m.o.House.RemoveAlias(seen(r, f), f.Value("address"))
	}
	if err != nil {
		return err
	}
	page.Done(w, r, "/admin/aliases", "alias-removed")
	return nil
}
