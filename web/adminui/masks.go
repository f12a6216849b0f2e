package adminui

import (
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// maskList is the page of the masked addresses of all accounts.
type maskList struct {
	find
	pager
	Total int
	Lines []admin.OwnedMask
}

func (m *room) masks(w http.ResponseWriter, r *http.Request) error {
	f := wanted(r)
	found, err := m.o.House.FindMasks(r.Context(), f)
	if err != nil {
		return err
	}
	d := maskList{
		find:  find{Path: "/admin/masks", Label: "Part of an address, a note or an account", Text: f.Text, Domain: f.Domain},
		pager: pagerOf(r, found.Page, found.Pages), Total: found.Total, Lines: found.All,
	}
	return m.show(w, r, page.View{Page: "masks", Title: "Masked addresses", Data: d})
}

// setMask switches one on or off.
func (m *room) setMask(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "who", "address", "state")
	if err != nil {
		return err
	}
	state := f.Value("state")
	if state != "on" && state != "off" {
		return page.ErrMissing
	}
	if _, err = m.o.House.SetMask(r.Context(), f.Value("who"), admin.MaskChange{Address: f.Value("address"), State: state}); err != nil {
		return err
	}
	page.Done(w, r, at("/admin/masks", "q", f.Value("address")), "mask-"+state)
	return nil
}

func (m *room) askRemoveMask(w http.ResponseWriter, r *http.Request) error {
	q := r.URL.Query()
	all, err := m.o.House.Masks(r.Context(), q.Get("who"))
	if err != nil {
		return err
	}
	for _, x := range all {
		if x.Address == q.Get("address") {
			return m.ask(w, r, "Remove "+x.Address, nil, ask{
				Text:   "Mail for it is refused for ever, and nobody can have this address again. To stop its mail for a while, switch it off instead.",
				Action: "/admin/mask/remove", Button: "Remove it for ever", Back: at("/admin/masks", "q", x.Address),
				Fields: []field{hidden("who", q.Get("who")), hidden("address", x.Address)},
			})
		}
	}
	return page.ErrMissing
}

func (m *room) removeMask(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "who", "address")
	if err == nil {
		_, err = m.o.House.SetMask(r.Context(), f.Value("who"), admin.MaskChange{Address: f.Value("address"), State: "remove"})
	}
	if err != nil {
		return err
	}
	page.Done(w, r, "/admin/masks", "mask-removed")
	return nil
}
