package accountui

import (
	"net/http"

	"github.com/posthouse-mail/posthouse/web/page"
)

// devices is where the account is signed in.
type devices struct {
	All  []Session
	This string
}

func (m *room) devices(w http.ResponseWriter, r *http.Request) error {
	all, err := m.o.Sessions.List(r.Context(), who(r).Identity.Account)
	if err != nil {
		return err
	}
	for i := range all {
		if name := page.Browser(all[i].Agent); name != "" {
			all[i].Agent = name
		}
	}
	return m.show(w, r, page.View{Page: "devices", Title: "Where you are signed in", Data: devices{all, who(r).Session}})
}

func (m *room) endSession(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name")
	if err != nil {
		return err
	}
	if err := m.o.Sessions.End(r.Context(), who(r).Identity.Account, f.Value("name")); err != nil {
		return err
	}
	page.Done(w, r, "/account/sign-ins", "ended")
	return nil
}

func (m *room) endOthers(w http.ResponseWriter, r *http.Request) error {
	if err := m.o.Sessions.EndOthers(r.Context(), who(r).Identity.Account, who(r).Session); err != nil {
		return err
	}
	page.Done(w, r, "/account/sign-ins", "others")
	return nil
}
