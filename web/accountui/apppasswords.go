package accountui

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// appPasswords is what programs have for passwords.
type appPasswords struct {
	All      []admin.AppPassword
	Shown    []admin.ClientCertificate // what programs show instead
	WebOnly  bool
	Most     int
	Services []service
	Ends     []choice
}

// service is a door in words.
type service struct {
	Name, Label string
	On          bool
}

// choice is a line of a select.
type choice struct {
	Value, Label string
	On           bool
}

func services(on func(name string) bool) []service {
	return []service{
		{"imap", "Read mail (IMAP)", on("imap")}, {"pop3", "Fetch mail (POP3)", on("pop3")}, {"submission", "Send mail", on("submission")},
	}
}

// serviceLabel is what a user calls a door.
func serviceLabel(door string) string {
	for _, s := range services(func(string) bool { return false }) {
		if s.Name == door {
			return s.Label
		}
	}
	return door
}

// ends are the lives that may be chosen, in days; 0: no end.
func ends(chosen string) []choice {
	return []choice{{"0", "never", chosen == "0" || chosen == ""}, {"7", "after a week", chosen == "7"}, {"90", "after 90 days", chosen == "90"}, {"365", "after a year", chosen == "365"}}
}

func (m *room) appPasswords(w http.ResponseWriter, r *http.Request) error {
	return m.showAppPasswords(w, r, nil)
}

func (m *room) showAppPasswords(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	user := who(r).Identity.Main.String()
	all, err := m.o.House.AppPasswords(r.Context(), user)
	if err != nil {
		return err
	}
	a, err := m.o.House.Account(r.Context(), user)
	if err != nil {
		return err
	}
	for i := range all {
		for j, d := range all[i].Doors {
			all[i].Doors[j] = serviceLabel(d)
		}
		if l := all[i].Last; l != nil {
			l.Door = serviceLabel(l.Door)
		}
	}
	slices.Reverse(all)
	p := appPasswords{All: all, WebOnly: a.WebOnly, Most: auth.MaxAppPasswords, Ends: ends(f.Value("ends"))}
	p.Services = services(func(name string) bool { return f == nil && slices.Contains(a.Doors, name) || f.Value(name) != "" })
	if p.Shown, err = m.o.House.ClientCertificates(r.Context(), user); err != nil {
		return err
	}
	v := page.View{Page: "app-passwords", Title: "App passwords", Form: f, Data: p}
	if f != nil && !f.Ok() {
		v.Status = http.StatusUnprocessableEntity
	}
	return m.show(w, r, v)
}

// madeAppPassword is shown once.
type madeAppPassword struct {
	admin.MadeAppPassword
	User string
	page.Programs
}

func (m *room) addAppPassword(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name", "imap", "pop3", "submission", "ends", "password")
	if err != nil {
		return err
	}
	in := admin.NewAppPassword{}
	in.Name, in.Expires = ofProgram(f)
	for _, s := range services(f.Is) {
		if s.On {
			in.Doors = append(in.Doors, s.Name)
		}
	}
	if len(in.Doors) == 0 {
		f.Reject("doors", "Choose what the program may do.")
	}
	if err := m.again(r, f); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showAppPasswords(w, r, f)
	}
	user := who(r).Identity.Main.String()
	made, err := m.o.House.AddAppPassword(r.Context(), user, in)
	if err != nil {
		return err
	}
	return m.show(w, r, page.View{Page: "app-password", Title: "A new app password", Data: madeAppPassword{made, user, m.o.Programs}})
}

// ofProgram reads what a secret of a program is called, and when it ends. What is wrong goes into the form.
func ofProgram(f *page.Form) (name string, expires *time.Time) {
	days, err := strconv.Atoi(f.Value("ends"))
	if err != nil || days < 0 || days > 3650 {
		f.Reject("ends", "Choose one of these.")
	}
	if days > 0 {
		end := time.Now().AddDate(0, 0, days)
		expires = &end
	}
	switch name = f.Value("name"); {
	case name == "":
		f.Reject("name", "Say which program it is for, so that you find it again.")
	case len(name) > 100:
		f.Reject("name", "This is too long for a name.")
	}
	return name, expires
}

// number reads which one of a list a form is about.
func number(w http.ResponseWriter, r *http.Request) (uint32, error) {
	f, err := page.Read(w, r, "number")
	if err != nil {
		return 0, err
	}
	n, err := strconv.ParseUint(f.Value("number"), 10, 32)
	if err != nil {
		return 0, page.ErrMissing
	}
	return uint32(n), nil
}

// again asks for the password once more, before something that whoever finds an open browser must not do. What is wrong with it goes
// into the form.
func (m *room) again(r *http.Request, f *page.Form) error {
	if !f.Ok() {
		return nil
	}
	v := page.VisitOf(r.Context())
	_, err := m.o.Directory.Confirm(r.Context(), v.SignIn.Identity, v.Remote, f.Secret("password"))
	switch {
	case errors.Is(err, auth.ErrCredentials):
		f.Reject("password", "This is not your password.")
	case errors.Is(err, auth.ErrLater):
		f.Reject("password", "Whether this is your password cannot be known now: try again in a minute.")
	case errors.Is(err, auth.ErrSlowDown):
		f.Reject("password", "Too many wrong passwords: wait a minute, then try again.")
	default:
		return err
	}
	return nil
}

func (m *room) removeAppPassword(w http.ResponseWriter, r *http.Request) error {
	n, err := number(w, r)
	if err != nil {
		return err
	}
	if _, err := m.o.House.RemoveAppPassword(r.Context(), who(r).Identity.Main.String(), n); err != nil {
		return err
	}
	page.Done(w, r, "/account/app-passwords", "app-removed")
	return nil
}

// setWebOnly says whether programs may use the password itself.
func (m *room) setWebOnly(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "only", "password")
	if err != nil {
		return err
	}
	only := f.Is("only")
	if !only { // to open more than before needs the password, to open less does not
		if err := m.again(r, f); err != nil {
			return err
		}
		if !f.Ok() {
			f.Reject("open", f.Fault("password"))
			delete(f.Wrong, "password")
			return m.showAppPasswords(w, r, f)
		}
	}
	if _, err := m.o.House.SetAccount(r.Context(), who(r).Identity.Main.String(), admin.Change{WebOnly: &only}); err != nil {
		return err
	}
	word := "web-open"
	if only {
		word = "web-only"
	}
	page.Done(w, r, "/account/app-passwords", word)
	return nil
}
