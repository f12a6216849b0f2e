package accountui

import (
	"net/http"
	"slices"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// tokens is what programs show instead of a password.
type tokens struct {
	All    []admin.Token
	House  []admin.Token // of the house, for operators
	Admin  bool
	Weak   bool // an operator who has not entered a code
	Most   int
	Scopes []service
	Ends   []choice
	Base   string
}

// tokenRoutes is the pages about tokens.
func (m *room) tokenRoutes() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/tokens":         m.tokens,
		"POST /account/tokens":        m.addToken,
		"POST /account/tokens/remove": m.removeToken,
	}
}

// tokenScopes are the scopes that a visitor may give, in his words. Those of operators need a second factor, as their pages do.
func tokenScopes(s *page.SignIn, on func(name string) bool) []service {
	words := []service{
		{Name: "mail", Label: "Read my mail, by IMAP and POP3"}, {Name: "send", Label: "Send mail as me"}, {Name: "masks", Label: "Make and switch masked addresses"},
		{Name: "account", Label: "Change where my mail goes on to, and what is junk"},
	}
	if s.Admin && s.Strong {
		words = append(words, service{Name: "read", Label: "The house: see what operators see, without mail"}, service{Name: "directory", Label: "The house: domains, accounts, aliases, lists"},
			service{Name: "queue", Label: "The house: mail that waits"}, service{Name: "everything", Label: "The house: everything"})
	}
	for i := range words {
		words[i].On = on(words[i].Name)
	}
	return words
}

// scopeLabels puts what tokens may into a user's words.
func scopeLabels(all []admin.Token) []admin.Token {
	labels := map[string]string{}
	for _, s := range tokenScopes(&page.SignIn{Admin: true, Strong: true}, func(string) bool { return false }) {
		labels[s.Name] = s.Label
	}
	for i := range all {
		for j, name := range all[i].Scopes {
			all[i].Scopes[j] = labels[name]
		}
		if l := all[i].Last; l != nil {
			if l.Door = serviceLabel(l.Door); l.Door == "web" {
				l.Door = "HTTP API"
			}
		}
	}
	return all
}

func (m *room) tokens(w http.ResponseWriter, r *http.Request) error { return m.showTokens(w, r, nil) }

func (m *room) showTokens(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	s := who(r)
	all, err := m.o.House.Tokens(r.Context(), s.Identity.Main.String())
	if err != nil {
		return err
	}
	p := tokens{All: scopeLabels(all), Admin: s.Admin, Weak: s.Admin && !s.Strong, Most: auth.MaxTokens, Ends: ends(f.Value("ends")), Base: page.VisitOf(r.Context()).Site}
	if s.Admin && s.Strong {
		house, err := m.o.House.Tokens(r.Context(), "")
		if err != nil {
			return err
		}
		p.House = scopeLabels(slices.DeleteFunc(house, func(t admin.Token) bool { return t.Account != "" }))
	}
	p.Scopes = tokenScopes(s, f.Is)
	v := page.View{Page: "tokens", Title: "Tokens", Form: f, Data: p}
	if f != nil && !f.Ok() {
		v.Status = http.StatusUnprocessableEntity
	}
	return m.show(w, r, v)
}

// madeToken is shown once.
type madeToken struct {
	admin.MadeToken
	User  string
	Base  string
	Mail  bool // for mail programs
	Masks bool
	page.Programs
}

func (m *room) addToken(w http.ResponseWriter, r *http.Request) error {
	s := who(r)
	fields := []string{"name", "ends", "password"}
	for _, x := range tokenScopes(s, func(string) bool { return false }) {
		fields = append(fields, x.Name)
	}
	f, err := page.Read(w, r, fields...)
	if err != nil {
		return err
	}
	in := admin.NewToken{Account: s.Identity.Main.String()}
	in.Name, in.Expires = ofProgram(f)
	for _, x := range tokenScopes(s, f.Is) {
		if x.On {
			in.Scopes = append(in.Scopes, x.Name)
		}
	}
	if len(in.Scopes) == 0 {
		f.Reject("scopes", "Choose what the program may do.")
	}
	if err := m.again(r, f); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showTokens(w, r, f)
	}
	made, err := m.o.House.AddToken(r.Context(), in)
	if err != nil {
		return err
	}
	return m.show(w, r, page.View{Page: "token", Title: "A new token", Data: madeToken{
		MadeToken: made, User: in.Account, Base: page.VisitOf(r.Context()).Site, Programs: m.o.Programs,
		Mail: slices.Contains(in.Scopes, "mail") || slices.Contains(in.Scopes, "send"), Masks: slices.Contains(in.Scopes, "masks"),
	}})
}

// removeToken takes a token back: one's own, or one of the house by an operator.
func (m *room) removeToken(w http.ResponseWriter, r *http.Request) error {
	n, err := number(w, r)
	if err != nil {
		return err
	}
	s := who(r)
	owner := s.Identity.Main.String()
	if s.Admin && s.Strong {
		house, err := m.o.House.Tokens(r.Context(), "")
		if err != nil {
			return err
		}
		if slices.ContainsFunc(house, func(t admin.Token) bool { return t.Number == n && t.Account == "" }) {
			owner = ""
		}
	}
	if _, err := m.o.House.RemoveToken(r.Context(), owner, n); err != nil {
		return err
	}
	page.Done(w, r, "/account/tokens", "token-removed")
	return nil
}
