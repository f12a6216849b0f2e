package adminui_test

import (
	"context"
	"net/http"
	"net/url"
	"regexp"
	"testing"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/store"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/store/storetest"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/adminui"
	"github.com/posthouse-mail/posthouse/web/page"
	"github.com/posthouse-mail/posthouse/web/page/pagetest"
)

// house is the room with the operator alice@mail.test (1) signed in, and bob (2) who has an account.
type house struct {
	t         testing.TB
	directory *auth.Directory
	admin     *admin.House
	room      page.Room
	visit     page.Visit
	sessions  []adminui.Session // of everybody
	ended     []string          // sign-ins that were ended; "all" for all of an account
}

// newHouse makes it; change may set options of the verbs.
func newHouse(t *testing.T, change ...func(*admin.Options)) *house {
	h := &house{t: t}
	var waiting *queue.Queue
	s := storetest.Start(t, storetest.Options{Register: []func(*kv.DB, *store.Store){func(db *kv.DB, st *store.Store) {
		q, err := queue.New(db, st, queue.Options{Hostname: "mail.test"})
		if err != nil {
			t.Fatal(err)
		}
		waiting = q
	}}})
	h.directory = auth.New(s.DB, auth.Options{})
	authtest.Make(t, s, h.directory, authtest.Account{Name: "alice"}, authtest.Account{Name: "bob"})
	o := admin.Options{DB: s.DB, Directory: h.directory, Store: s.Store, Queue: waiting, Site: admin.Site{Hostname: "mail.test"}}
	for _, f := range change {
		f(&o)
	}
	h.admin = admin.New(o)
	h.room = adminui.New(adminui.Options{
		House: h.admin,
		Sessions: adminui.Sessions{
			List: func(context.Context, mail.AccountID) ([]adminui.Session, error) { return h.sessions, nil },
			End: func(_ context.Context, _ mail.AccountID, name string) error {
				h.ended = append(h.ended, name)
				return nil
			},
			EndOthers: func(context.Context, mail.AccountID, string) error {
				h.ended = append(h.ended, "all")
				return nil
			},
		},
	})
	h.visit = pagetest.SignIn(t, h.directory, "alice")
	h.visit.SignIn.Admin, h.visit.SignIn.Strong = true, true
	return h
}

// version is what a form of a page was made of.
func (h *house) version(path string) string {
	h.t.Helper()
	body, _ := h.want(path, nil, 200)
	m := regexp.MustCompile(`name="version" value="([0-9a-f]+)"`).FindStringSubmatch(body)
	if m == nil {
		h.t.Fatalf("%s has no form with a version:\n%s", path, body)
	}
	return m[1]
}

// goes sends a form and looks at where it leads.
func (h *house) goes(path string, form url.Values, to string) {
	h.t.Helper()
	_, header := h.want(path, form, 303)
	if got := header.Get("Location"); got != to {
		h.t.Errorf("%s leads to %q, want %q", path, got, to)
	}
}

// form is a form of pairs of names and values.
func form(pairs ...string) url.Values {
	v := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		v.Add(pairs[i], pairs[i+1])
	}
	return v
}

// want asks for a page, or sends a form to it, and looks at the answer.
func (h *house) want(path string, form url.Values, status int, says ...string) (body string, header http.Header) {
	h.t.Helper()
	return pagetest.Visitor{Room: h.room, Visit: h.visit}.Want(h.t, path, form, status, says...)
}

func TestHome(t *testing.T) {
	newHouse(t).want("/admin/", nil, 200, `href="/admin/" aria-current="page"`)
}

func TestMissingPage(t *testing.T) {
	newHouse(t).want("/admin/nothing", nil, 404, "There is no such page")
}
