package accountui

import (
	"errors"
	"net/http"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// shortest is the fewest characters of a password that is chosen here (NIST SP 800-63B asks for 8 at least).
const shortest = 10

func (m *room) password(w http.ResponseWriter, r *http.Request) error {
	return m.showPassword(w, r, nil)
}

// passwordPage is what the form needs to say.
type passwordPage struct {
	Shortest int
	Apps     []admin.AppPassword // that go on to be good
}

func (m *room) showPassword(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	all, err := m.o.House.AppPasswords(r.Context(), user(r))
	if err != nil {
		return err
	}
	p := passwordPage{Shortest: shortest}
	for _, a := range all {
		if !a.Expired {
			p.Apps = append(p.Apps, a)
		}
	}
	return m.answer(w, r, page.View{Page: "password", Title: "Change the password", Form: f, Data: p})
}

func (m *room) setPassword(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "old", "new", "again", "apps")
	if err != nil {
		return err
	}
	if len([]rune(f.Secret("new"))) < shortest {
		f.Reject("new", "At least 10 characters; a few words in a row are easy to keep in mind.")
	}
	if f.Secret("new") != f.Secret("again") {
		f.Reject("again", "This is not the same as above.")
	}
	v := page.VisitOf(r.Context())
	if f.Ok() {
		_, err = m.o.Directory.Confirm(r.Context(), v.SignIn.Identity, v.Remote, f.Secret("old"))
		switch {
		case errors.Is(err, auth.ErrCredentials):
			f.Reject("old", "This is not your password.")
		case errors.Is(err, auth.ErrLater):
			f.Reject("old", "Whether this is your password cannot be known now: try again in a minute.")
		case errors.Is(err, auth.ErrSlowDown):
			f.Reject("old", "Too many wrong passwords: wait a minute, then try again.")
		case err != nil:
			return err
		}
	}
	if f.Ok() {
		elsewhere, err := m.o.Directory.PasswordElsewhere(r.Context(), v.SignIn.Identity.Account)
		if err != nil {
			return err
		}
		if elsewhere {
			f.Reject("new", "Your password is kept by another program of your organisation: change it there. App passwords are made here.")
		}
	}
	if f.Ok() {
		if _, err = m.o.House.ChangePassword(r.Context(), user(r), admin.NewPassword{Password: f.Secret("new"), EndApps: f.Is("apps")}); errors.Is(err, auth.ErrPassword) {
			f.Reject("new", "This cannot be a password: no line breaks, and at most 1,024 octets.")
		} else if err != nil {
			return err
		}
	}
	if !f.Ok() {
		return m.showPassword(w, r, f)
	}
	id, err := m.o.Directory.Confirm(r.Context(), v.SignIn.Identity, v.Remote, f.Secret("new"))
	if err == nil {
		err = m.o.Sessions.Renew(w, r, id)
	}
	if err != nil { // it is changed: at worst the next page asks for it
		m.log.WarnContext(r.Context(), logx.WebPageFailed, "path", r.URL.Path, "method", r.Method, "error", err)
	}
	word := "password"
	if f.Is("apps") {
		word = "password-alone"
	}
	page.Done(w, r, "/account/", word)
	return nil
}
