package accountui

import (
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// overview is the first page: addresses, how full the mailbox is, what programs are told.
type overview struct {
	Account admin.Account
	Percent int // of the octets; 0 without a limit
	page.Programs
}

func (m *room) overview(w http.ResponseWriter, r *http.Request) error {
	a, err := m.o.House.Account(r.Context(), who(r).Identity.Main.String())
	if err != nil {
		return err
	}
	o := overview{Account: a, Programs: m.o.Programs}
	if a.Quota.Bytes > 0 {
		o.Percent = int(min(100, a.Usage.Bytes*100/a.Quota.Bytes))
	}
	return m.show(w, r, page.View{Page: "overview", Title: "My account", Data: o})
}
