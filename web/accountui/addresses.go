package accountui

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// addresses is the pages about under which names mail arrives, and where it goes on to.
func (m *room) addresses() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/addresses":     m.names,
		"GET /account/masks":         m.masks,
		"POST /account/masks":        m.addMask,
		"GET /account/masks/one":     m.mask,
		"POST /account/masks/one":    m.setMask,
		"GET /account/masks/remove":  m.askMask,
		"POST /account/masks/remove": m.removeMask,
		"GET /account/forwarding":    m.forwarding,
		"POST /account/forwarding":   m.setForwarding,
	}
}

// names is every name of the account.
type names struct {
	admin.MailNames
	Example string // an address with something behind it
}

func (m *room) names(w http.ResponseWriter, r *http.Request) error {
	n, err := m.o.House.MailNames(r.Context(), user(r))
	if err != nil {
		return err
	}
	main := who(r).Identity.Main
	example := mail.Address{Local: main.Local + n.Separator + "shop", Domain: main.Domain}
	return m.show(w, r, page.View{Page: "addresses", Title: "My addresses", Data: names{n, example.String()}})
}

// masksShown is how many stand on a page.
const masksShown = 50

// masks is a page of masked addresses.
type masks struct {
	All     []admin.Mask
	Find    string
	Total   int
	Pager   pager
	Domains []choice
	Made    string // the one that was made just now
}

func (m *room) masks(w http.ResponseWriter, r *http.Request) error { return m.showMasks(w, r, nil) }

func (m *room) showMasks(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	all, err := m.o.House.Masks(r.Context(), user(r))
	if err != nil {
		return err
	}
	n, err := m.o.House.MailNames(r.Context(), user(r))
	if err != nil {
		return err
	}
	p := masks{Total: len(all), Find: strings.TrimSpace(r.URL.Query().Get("find"))}
	if made := r.URL.Query().Get("made"); made != "" && slices.ContainsFunc(all, func(x admin.Mask) bool { return x.Address == made }) {
		p.Made = made
	}
	if p.Find != "" {
		all = slices.DeleteFunc(all, func(x admin.Mask) bool {
			return !strings.Contains(strings.ToLower(x.Address+" "+x.Note), strings.ToLower(p.Find))
		})
	}
	p.Pager = pagesOf(r, "/account/masks", url.Values{"find": {p.Find}}, len(all), masksShown)
	p.All = all[p.Pager.from:p.Pager.to]
	for _, x := range n.Addresses {
		_, domain, _ := cutLast(x, "@")
		if !slices.ContainsFunc(p.Domains, func(c choice) bool { return c.Value == domain }) {
			p.Domains = append(p.Domains, choice{Value: domain, Label: domain, On: f.Value("domain") == domain})
		}
	}
	return m.answer(w, r, page.View{Page: "masks", Title: "Masked addresses", Form: f, Data: p})
}

// cutLast is strings.Cut at the last separator.
func cutLast(s, sep string) (before, after string, found bool) {
	if i := strings.LastIndex(s, sep); i >= 0 {
		return s[:i], s[i+len(sep):], true
	}
	return s, "", false
}

// maxNote bounds what a mask is for.
const maxNote = 200

func (m *room) addMask(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "domain", "note")
	if err != nil {
		return err
	}
	if len(f.Value("note")) > maxNote {
		f.Reject("note", "This is too long.")
	}
	var made admin.Mask
	if f.Ok() {
		made, err = m.o.House.AddMask(r.Context(), user(r), admin.NewMask{Domain: f.Value("domain"), Note: f.Value("note")})
		if err := f.Refused("note", err); err != nil {
			return err
		}
	}
	if !f.Ok() {
		return m.showMasks(w, r, f)
	}
	// A page that is loaded again makes no second one.
	http.Redirect(w, r, "/account/masks?"+url.Values{"made": {made.Address}}.Encode(), http.StatusSeeOther)
	return nil
}

// ownMask is the mask of the account that a request names.
func (m *room) ownMask(r *http.Request, address string) (admin.Mask, error) {
	all, err := m.o.House.Masks(r.Context(), user(r))
	if err != nil {
		return admin.Mask{}, err
	}
	for _, x := range all {
		if strings.EqualFold(x.Address, address) {
			return x, nil
		}
	}
	return admin.Mask{}, errNoMask
}

var errNoMask = &page.Problem{Status: http.StatusNotFound, Title: "There is no such masked address", Text: "You have none of this name, or it was removed. The list of them shows what there is."}

func (m *room) mask(w http.ResponseWriter, r *http.Request) error {
	x, err := m.ownMask(r, r.URL.Query().Get("address"))
	if err != nil {
		return err
	}
	return m.show(w, r, page.View{Page: "mask", Title: "A masked address", Form: page.Filled(map[string]string{"note": x.Note}), Data: x})
}

// setMask switches one on or off, or says anew what it is for.
func (m *room) setMask(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "address", "state", "note", "change")
	if err != nil {
		return err
	}
	x, err := m.ownMask(r, f.Value("address"))
	if err != nil {
		return err
	}
	c := admin.MaskChange{Address: x.Address}
	word := "mask-note"
	switch f.Value("state") {
	case "on", "off":
		c.State = f.Value("state")
		word = "mask-" + c.State
	default:
		note := f.Value("note")
		if c.Note = &note; len(note) > maxNote {
			f.Reject("note", "This is too long.")
		}
	}
	if f.Ok() {
		_, err := m.o.House.SetMask(r.Context(), user(r), c)
		if err := f.Refused("note", err); err != nil {
			return err
		}
	}
	if !f.Ok() {
		return m.answer(w, r, page.View{Page: "mask", Title: "A masked address", Form: f, Data: x})
	}
	page.Done(w, r, "/account/masks", word)
	return nil
}

func (m *room) askMask(w http.ResponseWriter, r *http.Request) error {
	x, err := m.ownMask(r, r.URL.Query().Get("address"))
	if err != nil {
		return err
	}
	return m.show(w, r, page.View{Page: "mask-remove", Title: "Remove this masked address?", Data: x})
}

func (m *room) removeMask(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "address")
	if err != nil {
		return err
	}
	x, err := m.ownMask(r, f.Value("address"))
	if err != nil {
		return err
	}
	if _, err := m.o.House.SetMask(r.Context(), user(r), admin.MaskChange{Address: x.Address, State: "remove"}); err != nil {
		return err
	}
	page.Done(w, r, "/account/masks", "mask-removed")
	return nil
}

func (m *room) forwarding(w http.ResponseWriter, r *http.Request) error {
	a, err := m.o.House.Account(r.Context(), user(r))
	if err != nil {
		return err
	}
	values := map[string]string{"to": strings.Join(a.Forward, "\n"), "version": a.Version}
	if a.Keep || len(a.Forward) == 0 {
		values["keep"] = "1"
	}
	return m.show(w, r, page.View{Page: "forwarding", Title: "Forwarding", Form: page.Filled(values), Data: a})
}

// setForwarding asks for the password: who finds an open browser must not have all mail sent to himself.
func (m *room) setForwarding(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "to", "keep", "version", "password")
	if err != nil {
		return err
	}
	to := strings.FieldsFunc(f.Value("to"), func(c rune) bool { return c == '\n' || c == '\r' || c == ',' || c == ';' || c == ' ' })
	for _, x := range to {
		if _, err := mail.ParseAddress(x); err != nil {
			f.Reject("to", "“"+x+"” is no mail address.")
		}
	}
	if len(to) > 20 {
		f.Reject("to", "These are too many: up to 20 can be taken.")
	}
	if err := m.again(r, f); err != nil {
		return err
	}
	if f.Ok() {
		_, err := m.o.House.SetForwarding(r.Context(), user(r), admin.Forwarding{To: to, Keep: f.Is("keep"), If: f.Value("version")})
		if err := f.Refused("to", err); err != nil {
			return err
		}
	}
	if !f.Ok() {
		a, err := m.o.House.Account(r.Context(), user(r))
		if err != nil {
			return err
		}
		f.Set("version", a.Version) // who pushes once more has seen how it is now
		return m.answer(w, r, page.View{Page: "forwarding", Title: "Forwarding", Form: f, Data: a})
	}
	page.Done(w, r, "/account/forwarding", "forwarding")
	return nil
}
