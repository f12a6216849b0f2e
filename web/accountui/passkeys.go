package accountui

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/passkey"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// passkeyRoutes is the pages about passkeys, and the questions that their script asks.
func (m *room) passkeyRoutes() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/passkeys":                   m.passkeys,
		"POST /account/passkeys":                  m.addPasskey,
		"POST /account/passkeys/ask":              m.askPasskey,
		"GET /account/passkeys/remove":            m.askRemovePasskey,
		"POST /account/passkeys/remove":           m.removePasskey,
		"POST /account/second-factor/passkey":     m.requirePasskey,
		"POST /account/second-factor/passkey/ask": m.askRequired,
	}
}

// passkeyPage is an account's passkeys.
type passkeyPage struct {
	All    []admin.Passkey
	Most   int
	Here   bool // the browser is where they can be made
	Factor admin.SecondFactor
}

func (m *room) passkeys(w http.ResponseWriter, r *http.Request) error {
	return m.showPasskeys(w, r, nil)
}

func (m *room) showPasskeys(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	user := who(r).Identity.Main.String()
	all, err := m.o.House.Passkeys(r.Context(), user)
	if err != nil {
		return err
	}
	second, err := m.o.House.SecondFactor(r.Context(), user)
	if err != nil {
		return err
	}
	slices.Reverse(all)
	v := page.View{Page: "passkeys", Title: "Passkeys", Form: f, Data: passkeyPage{all, auth.MaxPasskeys, page.VisitOf(r.Context()).At.Host != "", second}}
	if f != nil && !f.Ok() {
		v.Status = http.StatusUnprocessableEntity
	}
	return m.show(w, r, v)
}

// bound is what the questions to a visitor are bound to.
func bound(r *http.Request) string { return "session " + who(r).Session }

// askPasskey is the question that makes a passkey, for who knows the password.
func (m *room) askPasskey(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name", "password")
	if err != nil {
		return err
	}
	switch n := len(f.Value("name")); {
	case n == 0:
		f.Reject("name", "Say which device it is on, so that you find it again.")
	case n > 100:
		f.Reject("name", "This is too long for a name.")
	}
	if err := m.again(r, f); err != nil {
		return err
	}
	if !f.Ok() {
		page.Question(w, nil, f.Fault("name")+f.Fault("password"))
		return nil
	}
	question, err := m.o.Directory.AskNewPasskey(r.Context(), who(r).Identity.Account, page.VisitOf(r.Context()).At, bound(r))
	return ask(w, question, err)
}

// ask answers with a question, or with why there is none.
func ask(w http.ResponseWriter, question []byte, err error) error {
	words := ""
	switch {
	case errors.Is(err, passkey.ErrNowhere):
		words = "Passkeys cannot be made or used at this address. Use the name of this server, with https."
	case errors.Is(err, passkey.ErrUnknown):
		words = "None of your passkeys works at this address: make one here first."
	case errors.Is(err, auth.ErrInvalid):
		words = "There are as many passkeys as an account may have. Remove those that you do not need."
	case err != nil:
		return err
	}
	page.Question(w, question, words)
	return nil
}

// addPasskey keeps what the device has made.
func (m *room) addPasskey(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "name", "credential")
	if err != nil {
		return err
	}
	_, err = m.o.House.AddPasskey(r.Context(), who(r).Identity.Main.String(), admin.NewPasskey{
		Name: f.Value("name"), At: page.VisitOf(r.Context()).At, Bound: bound(r), Answer: f.Value("credential"),
	})
	if ok, err := faulty(f, err); !ok || err != nil {
		if err != nil {
			return err
		}
		return m.showPasskeys(w, r, f)
	}
	page.Done(w, r, "/account/passkeys", "passkey-added")
	return nil
}

// faulty puts what a verb says of an answer into the form.
func faulty(f *page.Form, err error) (ok bool, _ error) {
	var e *admin.Error
	if errors.As(err, &e) && (e.Class == admin.Invalid || e.Class == admin.Conflict) {
		f.Reject("passkey", e.Message)
		return false, nil
	}
	return err == nil, err
}

// removing is the page that asks before a passkey goes.
type removing struct {
	admin.Passkey
	Mine     bool // this sign-in was made with it
	Last     bool // of all
	Factor   bool // it is the second factor, and there will be none
	Operator bool // who needs one
}

func (m *room) askRemovePasskey(w http.ResponseWriter, r *http.Request) error {
	n, err := strconv.ParseUint(r.URL.Query().Get("number"), 10, 32)
	if err != nil {
		return page.ErrMissing
	}
	data, err := m.removing(r, uint32(n))
	if err != nil {
		return err
	}
	return m.showRemoving(w, r, nil, data)
}

// removing is what is to be known before a passkey goes.
func (m *room) removing(r *http.Request, number uint32) (removing, error) {
	in := who(r)
	user := in.Identity.Main.String()
	all, err := m.o.House.Passkeys(r.Context(), user)
	if err != nil {
		return removing{}, err
	}
	second, err := m.o.House.SecondFactor(r.Context(), user)
	if err != nil {
		return removing{}, err
	}
	i := slices.IndexFunc(all, func(k admin.Passkey) bool { return k.Number == number })
	if i < 0 {
		return removing{}, page.ErrMissing
	}
	last := len(all) == 1
	return removing{
		Passkey: all[i], Mine: number == in.Passkey, Last: last, Factor: last && second.On && !second.Authenticator, Operator: last && in.Admin && !second.Authenticator,
	}, nil
}

func (m *room) showRemoving(w http.ResponseWriter, r *http.Request, f *page.Form, data removing) error {
	v := page.View{Page: "passkey-remove", Title: "Remove a passkey", Form: f, Data: data}
	if f != nil && !f.Ok() {
		v.Status = http.StatusUnprocessableEntity
	}
	return m.show(w, r, v)
}

// removePasskey takes one away. Where it is the second factor, that needs the password, as on the page of the second factor: who finds a
// session open must not end up with a password that is enough.
func (m *room) removePasskey(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "number", "password")
	if err != nil {
		return err
	}
	n, err := strconv.ParseUint(f.Value("number"), 10, 32)
	if err != nil {
		return page.ErrMissing
	}
	data, err := m.removing(r, uint32(n))
	if err == nil && data.Factor {
		err = m.again(r, f)
	}
	if err != nil {
		return err
	}
	if !f.Ok() {
		return m.showRemoving(w, r, f, data)
	}
	if _, err := m.o.House.RemovePasskey(r.Context(), who(r).Identity.Main.String(), uint32(n)); err != nil {
		return err
	}
	page.Done(w, r, "/account/passkeys", "passkey-removed")
	return nil
}

// askRequired is the question for a passkey that is to be asked for after the password from now on: it must work here.
func (m *room) askRequired(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "password")
	if err == nil {
		err = m.again(r, f)
	}
	if err != nil {
		return err
	}
	if !f.Ok() {
		page.Question(w, nil, f.Fault("password"))
		return nil
	}
	question, err := m.o.Directory.AskSecondPasskey(r.Context(), who(r).Identity.Account, page.VisitOf(r.Context()).At, bound(r))
	return ask(w, question, err)
}

// requirePasskey begins to ask for a passkey after the password. All sign-ins that were made without one end.
func (m *room) requirePasskey(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "credential")
	if err != nil {
		return err
	}
	in := who(r)
	err = m.o.Directory.ProvePasskey(r.Context(), in.Identity.Account, page.VisitOf(r.Context()).At, bound(r), f.Value("credential"))
	if errors.Is(err, passkey.ErrLate) || errors.Is(err, passkey.ErrRefused) || errors.Is(err, passkey.ErrUnknown) || errors.Is(err, passkey.ErrCopied) || errors.Is(err, passkey.ErrNowhere) {
		f.Reject("passkey", "What your device answered cannot be taken, or it took too long. Please try again.")
		return m.showFactor(w, r, f)
	}
	if err != nil {
		return err
	}
	codes, err := m.o.House.RequirePasskey(r.Context(), in.Identity.Main.String())
	if err != nil {
		return err
	}
	if err := m.o.Sessions.EndOthers(r.Context(), in.Identity.Account, ""); err != nil {
		return err
	}
	in.Strong = true
	if err := m.o.Sessions.Renew(w, r, in.Identity); err != nil {
		return err
	}
	if codes == nil {
		page.Done(w, r, "/account/second-factor", "factor-on")
		return nil
	}
	return m.showCodes(w, r, codes)
}
