package accountui_test

import (
	"context"
	"net/http"
	"net/url"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/accountui"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
	"github.com/posthouse-mail/posthouse/web/page/pagetest"
)

// house is the room with alice (1) signed in.
type house struct {
	t         *testing.T
	directory *auth.Directory
	admin     *admin.House
	room      page.Room
	visit     page.Visit
	renewed   int
	proved    bool // the session that was renewed last knew the second factor
	ended     int
	broken    error // of a session that cannot be renewed
}

func newHouse(t *testing.T) *house { return newHouseWith(t, auth.Options{}) }

func newHouseWith(t *testing.T, o auth.Options) *house {
	h := &house{t: t}
	s := storetest.Start(t, storetest.Options{})
	h.directory = auth.New(s.DB, o)
	authtest.Make(t, s, h.directory, authtest.Account{Name: "alice"})
	h.admin = admin.New(admin.Options{DB: s.DB, Directory: h.directory, Store: s.Store})
	h.room = accountui.New(accountui.Options{
		House: h.admin, Directory: h.directory, Programs: page.Programs{Host: "mail.test", IMAPS: 993},
		Sessions: accountui.Sessions{
			EndOthers: func(context.Context, mail.AccountID, string) error { h.ended++; return nil },
			Renew: func(_ http.ResponseWriter, r *http.Request, _ auth.Identity) error {
				h.renewed, h.proved = h.renewed+1, page.VisitOf(r.Context()).SignIn.Strong
				return h.broken
			},
		},
	})
	h.visit = pagetest.SignIn(t, h.directory, "alice")
	return h
}

// want asks for a page, or sends a form to it, and looks at the answer.
func (h *house) want(path string, form url.Values, status int, says ...string) (body string, header http.Header) {
	h.t.Helper()
	return pagetest.Visitor{Room: h.room, Visit: h.visit}.Want(h.t, path, form, status, says...)
}
