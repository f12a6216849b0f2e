package adminui

import (
	"context"
	"crypto/rand"
	"net/http"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// accountList is the page of all accounts.
type accountList struct {
	find
	pager
	Total int
	Lines []accountLine
}

type accountLine struct {
	admin.Account
	Main string
	Page string
}

func (m *room) accounts(w http.ResponseWriter, r *http.Request) error {
	f := wanted(r)
	found, err := m.o.House.FindAccounts(r.Context(), f)
	if err != nil {
		return err
	}
	d := accountList{
		find: find{Path: "/admin/accounts", Label: "Part of a name or an address", Text: f.Text, Domain: f.Domain, Choices: []choice{
			{"", "All", f.Only == ""}, {"operators", "Operators", f.Only == "operators"}, {"closed", "Closed", f.Only == "closed"}, {"silent", "Kept from sending", f.Only == "silent"},
		}},
		pager: pagerOf(r, found.Page, found.Pages), Total: found.Total,
	}
	for _, a := range found.All {
		d.Lines = append(d.Lines, accountLine{a, a.Addresses[0], accountPath("", a)})
	}
	return m.show(w, r, page.View{Page: "accounts", Title: "Accounts", Data: d})
}

// accountPath is the address of a page of one account.
func accountPath(below string, a admin.Account) string {
	return at("/admin/account"+below, "who", a.Addresses[0])
}

func newAccountFields(f *page.Form) []field {
	return of(f,
		field{Name: "address", Label: "Address", Hint: "In one of the domains of this house.", Need: true},
		field{Name: "name", Label: "Name", Hint: "Of the person, as others see it."},
		field{Kind: "password", Name: "password", Label: "Password", Hint: "Empty: one is made, and shown once."},
		field{Name: "bytes", Label: "Space", Hint: "Such as 2 GiB, or none for no limit. Empty: as every new account has it."},
	)
}

func (m *room) newAccountPage(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	return m.show(w, r, page.View{Page: "simple", Title: "Add an account", Status: statusOf(f), Form: f, Data: simple{Action: "/admin/accounts/add", Button: "Add the account", Back: "/admin/accounts", Fields: newAccountFields(f)}})
}

func (m *room) newAccount(w http.ResponseWriter, r *http.Request) error {
	return m.newAccountPage(w, r, page.Filled(nil))
}

func (m *room) addAccount(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "address", "name", "password", "bytes")
	if err != nil {
		return err
	}
	in := admin.NewAccount{Addresses: []string{f.Value("address")}, Name: f.Value("name"), Password: f.Secret("password")}
	switch v := f.Value("bytes"); v {
	case "":
	case "none":
		in.Quota = &admin.Amount{}
	default:
		q := amountOf(f)
		in.Quota = &q
	}
	made := in.Password == ""
	if made {
		in.Password = newPassword()
	} else if len([]rune(in.Password)) < shortest {
		f.Reject("password", tooShort)
	}
	var a admin.Account
	if f.Ok() {
		a, err = m.o.House.AddAccount(r.Context(), in)
		if err = refused(f, "address", err); err != nil {
			return err
		}
	}
	switch {
	case !f.Ok():
		return m.newAccountPage(w, r, f)
	case made:
		return m.showSecret(w, r, "The account is there", secret{a.Addresses[0], in.Password, accountPath("", a)})
	}
	page.Done(w, r, accountPath("", a), "account-added")
	return nil
}

// The fewest characters of a password that is chosen here (NIST SP 800-63B asks for 8 at least), and what is said of fewer.
const (
	shortest = 10
	tooShort = "At least 10 characters; a few words in a row are easy to keep in mind."
)

// newPassword is one that nobody has chosen: 100 bits.
func newPassword() string {
	text := strings.ToLower(rand.Text())
	var parts []string
	for i := 0; i < 20; i += 5 {
		parts = append(parts, text[i:i+5])
	}
	return strings.Join(parts, "-")
}

// secret is a password that is shown this once.
type secret struct{ Who, Password, Back string }

func (m *room) showSecret(w http.ResponseWriter, r *http.Request, title string, s secret) error {
	return m.show(w, r, page.View{Page: "secret", Title: title, Data: s})
}

// accountPage is one account: who it is, its addresses, its space.
type accountPage struct {
	admin.Account
	Main    string
	Own     bool // the visitor's
	Percent int  // of the space; 0 without a limit
	Version []field
	Others  []string // addresses beside the main one

	Person, Doors, Add, Space []field
}

// own tells whether an account is the visitor's, who must not lock himself out.
func own(r *http.Request, a admin.Account) bool {
	return uint32(page.VisitOf(r.Context()).SignIn.Identity.Account) == a.ID
}

func (m *room) account(w http.ResponseWriter, r *http.Request) error {
	return m.showAccount(w, r, r.URL.Query().Get("who"), nil)
}

// doorWords are the services with their names for people.
func doorWords() [][2]string {
	return [][2]string{{"imap", "Read with IMAP"}, {"pop3", "Fetch with POP3"}, {"submission", "Send"}, {"web", "Sign in here"}}
}

// storedAccount is an account as the forms of its pages show it.
func storedAccount(a admin.Account) map[string]string {
	v := map[string]string{"name": a.Name, "login": a.Login, "bytes": sizeText(a.Quota.Bytes), "messages": countText(a.Quota.Messages), "forward": strings.Join(a.Forward, "\n")}
	box := func(name string, on bool) {
		if on {
			v[name] = "1"
		}
	}
	for _, d := range doorWords() {
		box("door_"+d[0], slices.Contains(a.Doors, d[0]))
	}
	box("closed", a.Disabled)
	box("operator", a.Operator)
	box("web_only", a.WebOnly)
	box("keep", a.Keep || len(a.Forward) == 0)
	return v
}

// filled is the form of a page: what is stored, below what was typed into a form that was refused.
func filled(f *page.Form, stored map[string]string) *page.Form {
	if f == nil {
		return page.Filled(stored)
	}
	return f.Under(stored)
}

func (m *room) showAccount(w http.ResponseWriter, r *http.Request, who string, f *page.Form) error {
	a, err := m.o.House.Account(r.Context(), who)
	if err != nil {
		return err
	}
	f = filled(f, storedAccount(a))
	p := accountPage{
		Account: a, Main: a.Addresses[0], Own: own(r, a), Others: a.Addresses[1:], Version: about(a),
		Person: of(f,
			field{Name: "name", Label: "Name", Hint: "Of the person, as others see it."},
			field{Name: "login", Label: "User name for programs", Hint: "Empty: the addresses are the user names."},
		),
		Add:   of(f, field{Name: "address", Label: "One more address", Hint: "In one of the domains of this house.", Need: true}),
		Space: of(f, bytesField(), messagesField()),
	}
	for _, d := range doorWords() {
		p.Doors = append(p.Doors, field{Kind: "box", Name: "door_" + d[0], Label: d[1]})
	}
	p.Doors = of(f, append(p.Doors,
		field{Kind: "box", Name: "web_only", Label: "Programs need app passwords", Hint: "Its own password opens these pages only."},
		field{Kind: "box", Name: "operator", Label: "Runs the house", Hint: "Comes into these pages, with a second factor."},
		field{Kind: "box", Name: "closed", Label: "Closed", Hint: "No door opens; mail for it is still taken."},
	)...)
	if a.Quota.Bytes > 0 {
		p.Percent = int(min(100, a.Usage.Bytes*100/a.Quota.Bytes))
	}
	return m.show(w, r, page.View{Page: "account", Title: titleOf(a), Status: statusOf(f), Form: f, Data: p})
}

func titleOf(a admin.Account) string {
	if a.Name != "" {
		return a.Name
	}
	return a.Addresses[0]
}

// about is the hidden fields of every form about an account.
func about(a admin.Account) []field {
	return []field{hidden("who", a.Addresses[0]), hidden("version", a.Version)}
}

// changeAccount makes a change, and leads back to the page of the account, or shows it with the form that was refused. The page may
// be another one than the first (below).
func (m *room) changeAccount(w http.ResponseWriter, r *http.Request, f *page.Form, c admin.Change, say [2]string) error {
	field, word := say[0], say[1]
	who := f.Value("who")
	if f.Ok() {
		c.If = f.Value("version")
		a, err := m.o.House.SetAccount(r.Context(), who, c)
		if err = refused(f, field, err); err != nil {
			return err
		}
		if f.Ok() {
			page.Done(w, r, accountPath("", a), word)
			return nil
		}
	}
	return m.showAccount(w, r, who, f)
}

// setPerson changes names, doors and marks.
func (m *room) setPerson(w http.ResponseWriter, r *http.Request) error {
	names := []string{"who", "version", "name", "login", "closed", "operator", "web_only"}
	for _, d := range doorWords() {
		names = append(names, "door_"+d[0])
	}
	f, err := page.Read(w, r, names...)
	if err != nil {
		return err
	}
	a, err := m.o.House.Account(r.Context(), f.Value("who"))
	if err != nil {
		return err
	}
	name, login, closed, operator, webOnly := f.Value("name"), f.Value("login"), f.Is("closed"), f.Is("operator"), f.Is("web_only")
	c := admin.Change{Name: &name, Login: &login, Disabled: &closed, Operator: &operator, WebOnly: &webOnly, Doors: []string{"none"}}
	for _, d := range doorWords() {
		if f.Is("door_" + d[0]) {
			c.Doors = append(c.Doors, d[0])
		}
	}
	if own(r, a) {
		switch {
		case closed:
			f.Reject("closed", "This is your own account: you would lock yourself out.")
		case !operator:
			f.Reject("operator", "This is your own account: let another operator do it.")
		case !f.Is("door_web"):
			f.Reject("door_web", "This is your own account: you would lock yourself out.")
		}
	}
	field := "login"
	if len(name) > 200 {
		field = "name"
	}
	return m.changeAccount(w, r, f, c, [2]string{field, "account-saved"})
}

// setAddresses adds an address, takes one away, or makes one the main one.
func (m *room) setAddresses(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "who", "version", "address", "action")
	if err != nil {
		return err
	}
	var c admin.Change
	switch f.Value("action") {
	case "add":
		c.Add = []string{f.Value("address")}
	case "remove":
		c.Remove = []string{f.Value("address")}
	case "main":
		c.Main = f.Value("address")
	default:
		return page.ErrMissing
	}
	field := "address"
	if f.Value("action") != "add" {
		field = ""
	}
	return m.changeAccount(w, r, f, c, [2]string{field, "account-addresses"})
}

// setSpace changes the quota.
func (m *room) setSpace(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "who", "version", "bytes", "messages")
	if err != nil {
		return err
	}
	q := amountOf(f)
	return m.changeAccount(w, r, f, admin.Change{Bytes: &q.Bytes, Messages: &q.Messages}, [2]string{"bytes", "account-space"})
}

func (m *room) askRemoveAccount(w http.ResponseWriter, r *http.Request) error {
	return m.showRemoveAccount(w, r, r.URL.Query().Get("who"), nil)
}

func (m *room) showRemoveAccount(w http.ResponseWriter, r *http.Request, who string, f *page.Form) error {
	a, err := m.o.House.Account(r.Context(), who)
	if err != nil {
		return err
	}
	items, err := m.goesWith(r.Context(), a)
	if err != nil {
		return err
	}
	fields := append(of(f, field{Name: "typed", Label: "To be sure, type its main address", Hint: a.Addresses[0], Need: true}), about(a)...)
	return m.ask(w, r, "Remove "+titleOf(a), f, ask{
		Text:  "The account is removed with all that is in it. This cannot be undone; mail comes back only out of a backup. To keep the mail, close the account instead.",
		Items: items, Action: "/admin/account/remove", Button: "Remove the account and its mail", Back: accountPath("", a), Fields: fields,
	})
}

// goesWith is what is removed with an account.
func (m *room) goesWith(ctx context.Context, a admin.Account) ([]string, error) {
	items := []string{page.Count(int(a.Usage.Messages), "message", "messages") + ", " + page.Size(int64(a.Usage.Bytes))}
	items = append(items, "addresses: "+strings.Join(a.Addresses, ", "))
	masks, err := m.o.House.Masks(ctx, a.Addresses[0])
	if len(masks) > 0 {
		items = append(items, page.Count(len(masks), "masked address", "masked addresses"))
	}
	return items, err
}

func (m *room) removeAccount(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "who", "version", "typed")
	if err != nil {
		return err
	}
	a, err := m.o.House.Account(r.Context(), f.Value("who"))
	if err != nil {
		return err
	}
	switch {
	case own(r, a):
		f.Reject("typed", "This is your own account: let another operator remove it.")
	case !strings.EqualFold(f.Value("typed"), a.Addresses[0]):
		f.Reject("typed", "This is not its main address.")
	}
	if f.Ok() {
		if err = refused(f, "typed", m.o.House.RemoveAccount(seen(r, f), a.Addresses[0])); err != nil {
			return err
		}
	}
	if !f.Ok() {
		return m.showRemoveAccount(w, r, a.Addresses[0], f)
	}
	page.Done(w, r, "/admin/accounts", "account-removed")
	return nil
}
