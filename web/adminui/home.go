package adminui

import (
	"net/http"

	"github.com/posthouse-mail/posthouse/web/page"
)

func (m *room) home(w http.ResponseWriter, r *http.Request) error {
	return m.show(w, r, page.View{Page: "home", Title: "The house"})
}
