package adminui

import (
	"errors"
	"net/http"
	"strings"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// settingsPage is settings with their documentation: those of one table, those that a text is found in, or those that are not as they
// come.
type settingsPage struct {
	File, Wrong string
	Text, Table string
	Links       []tableLink
	Tables      []admin.SettingsTable
	Waiting     int // of the file that do not hold yet
}

type tableLink struct {
	Name, About, Path string
	Own               int // settings that are not as they come
}

// ownValue tells whether a setting is not as it comes.
func ownValue(s admin.Setting) bool { return s.Value != s.Default || s.File != "" }

func (m *room) settings(w http.ResponseWriter, r *http.Request) error {
	all, err := m.o.House.Settings(r.Context())
	if err != nil {
		return err
	}
	q := r.URL.Query()
	d := settingsPage{File: all.File, Wrong: all.Wrong, Text: short(q.Get("q")), Table: short(q.Get("table"))}
	text := strings.ToLower(d.Text)
	for _, t := range all.Tables {
		link := tableLink{Name: t.Name, About: t.About, Path: at("/admin/settings", "table", t.Name)}
		var kept []admin.Setting
		for _, s := range t.Settings {
			if ownValue(s) {
				link.Own++
			}
			if s.File != "" {
				d.Waiting++
			}
			switch {
			case text != "" && strings.Contains(strings.ToLower(s.Key+" "+s.What+" "+s.Why), text), text == "" && d.Table == t.Name, text == "" && d.Table == "" && ownValue(s):
				kept = append(kept, s)
			}
		}
		d.Links = append(d.Links, link)
		if len(kept) > 0 {
			d.Tables = append(d.Tables, admin.SettingsTable{Name: t.Name, About: t.About, Settings: kept})
		}
	}
	if d.Table != "" && len(d.Tables) == 0 {
		return page.ErrMissing
	}
	return m.show(w, r, page.View{Page: "settings", Title: "Settings", Data: d})
}

// settingsFile is the text of the file, to be changed.
type settingsFile struct {
	admin.SettingsFile
	Typed   string
	Form    *page.Form
	Checked bool // nothing is wrong with what was typed
	Rows    int
}

func (m *room) settingsFile(w http.ResponseWriter, r *http.Request) error {
	return m.showSettingsFile(w, r, nil, false)
}

func (m *room) showSettingsFile(w http.ResponseWriter, r *http.Request, f *page.Form, checked bool) error {
	is, err := m.o.House.SettingsFile(r.Context())
	if err != nil {
		return err
	}
	d := settingsFile{SettingsFile: is, Typed: is.Text, Form: f, Checked: checked}
	if f != nil {
		d.Typed = f.Secret("text")
		if f.Fault("") != page.ErrConflict.Text {
			d.Version = f.Value("version") // still the one that was seen
		}
	}
	d.Rows = max(20, min(60, strings.Count(d.Typed, "\n")+3))
	return m.show(w, r, page.View{Page: "settings-file", Title: "The settings file", Status: statusOf(f), Form: f, Data: d})
}

func (m *room) setSettingsFile(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "text", "version", "action")
	if err != nil {
		return err
	}
	in := admin.SettingsText{Text: strings.ReplaceAll(f.Secret("text"), "\r\n", "\n"), If: f.Value("version")}
	if f.Value("action") == "check" {
		if err := settingsRefused(f, m.o.House.CheckSettings(r.Context(), in)); err != nil {
			return err
		}
		return m.showSettingsFile(w, r, f, f.Ok())
	}
	_, err = m.o.House.SetSettingsFile(r.Context(), in)
	if err := settingsRefused(f, err); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showSettingsFile(w, r, f, false)
	}
	page.Done(w, r, "/admin/settings", "settings-saved")
	return nil
}

// settingsRefused is refused without touching the words: they point at a line and a column of the text.
func settingsRefused(f *page.Form, err error) error {
	var verb *admin.Error
	if errors.As(err, &verb) && verb.Class == admin.Invalid {
		f.Reject("text", verb.Message)
		return nil
	}
	return refused(f, "text", err)
}

func (m *room) restoreSettings(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "version")
	if err != nil {
		return err
	}
	if _, err := m.o.House.RestoreSettingsFile(r.Context(), admin.SettingsText{If: f.Value("version")}); err != nil {
		if errors.Is(err, admin.ErrChanged) {
			return page.ErrConflict
		}
		return err
	}
	page.Done(w, r, "/admin/settings", "settings-restored")
	return nil
}

// reloaded is what a reload came to.
type reloaded struct{ admin.Reloaded }

func (m *room) reload(w http.ResponseWriter, r *http.Request) error {
	out, err := m.o.House.Reload(r.Context())
	if err != nil {
		return err
	}
	return m.show(w, r, page.View{Page: "reloaded", Title: "The settings were read again", Data: reloaded{out}})
}

// suppressionPage is whom nobody here can write to.
type suppressionPage struct {
	Text  string
	All   []admin.Suppression
	Next  string
	First string
	Form  *page.Form
}

func (m *room) suppression(w http.ResponseWriter, r *http.Request) error {
	return m.showSuppression(w, r, nil)
}

func (m *room) showSuppression(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	text, after := short(r.URL.Query().Get("q")), short(r.URL.Query().Get("after"))
	found, err := m.o.House.FindSuppressions(r.Context(), admin.SuppressionFilter{Text: text, After: after, Size: perPage})
	if err != nil {
		return err
	}
	d := suppressionPage{Text: text, All: found.All, Form: f}
	d.First, d.Next = around(r, "after", after, found.Next)
	return m.show(w, r, page.View{Page: "suppression", Title: "Addresses that are not written to", Status: statusOf(f), Form: f, Data: d})
}

func (m *room) addSuppression(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "address", "note")
	if err != nil {
		return err
	}
	_, err = m.o.House.AddSuppression(r.Context(), admin.Suppress{Address: f.Value("address"), Note: f.Value("note")})
	if err := refused(f, "address", err); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showSuppression(w, r, f)
	}
	page.Done(w, r, "/admin/suppression", "suppression-added")
	return nil
}

func (m *room) removeSuppression(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "address")
	if err != nil {
		return err
	}
	if err := m.o.House.RemoveSuppression(r.Context(), f.Value("address")); err != nil {
		return err
	}
	page.Done(w, r, "/admin/suppression", "suppression-removed")
	return nil
}
