package adminui

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// field is one field of a form, for the part "field".
type field struct {
	Kind  string // empty: a line of text; hidden, box, select, area, password
	Name  string
	Label string
	Hint  string
	Need  bool
	Value string
	Fault string

	Choices []choice
}

// choice is one of a select.
type choice struct {
	Value, Label string
	On           bool
}

// of fills fields with what a form has.
func of(f *page.Form, all ...field) []field {
	for i := range all {
		x := &all[i]
		x.Fault = f.Fault(x.Name)
		if x.Kind != "hidden" {
			x.Value = f.Value(x.Name)
		}
		for j := range x.Choices {
			x.Choices[j].On = x.Choices[j].Value == x.Value
		}
	}
	return all
}

// hidden is a field that says what a form is about.
func hidden(name, value string) field { return field{Kind: "hidden", Name: name, Value: value} }

// ask is the page that asks before something that cannot be taken back.
type ask struct {
	Text   string
	Items  []string // what goes with it
	Action string
	Button string
	Back   string
	Fields []field
}

func (m *room) ask(w http.ResponseWriter, r *http.Request, title string, f *page.Form, a ask) error {
	return m.show(w, r, page.View{Page: "ask", Title: title, Status: statusOf(f), Form: f, Data: a})
}

// simple is a page with one form.
type simple struct {
	Text   string
	Action string
	Button string
	Back   string
	Fields []field
}

// seen is the context of a verb that shall change only what the form was made of.
func seen(r *http.Request, f *page.Form) context.Context {
	return admin.IfVersion(r.Context(), f.Value("version"))
}

// isMissing tells that a verb did not find what it was about.
func isMissing(err error) bool {
	var verb *admin.Error
	return errors.As(err, &verb) && verb.Class == admin.Missing
}

// statusOf is what a page with a form answers.
func statusOf(f *page.Form) int { return f.Status() }

// refused puts what a verb says against a change into its form.
func refused(f *page.Form, field string, err error) error { return f.Refused(field, err) }

// sentence is a verb's message for somebody who reads a page.
func sentence(text string) string { return page.Sentence(text) }

// lines are the words of a text area: one address a line, or several with commas.
func lines(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == '\n' || r == '\r' || r == ',' || r == ';' })
}

// find is the part "find" above a list.
type find struct {
	Path, Label, Text, Domain string

	Choices []choice
}

// wanted reads what a list is narrowed to.
func wanted(r *http.Request) admin.Find {
	q := r.URL.Query()
	text := q.Get("q")
	if len(text) > 200 || !utf8.ValidString(text) {
		text = strings.ToValidUTF8(text[:min(len(text), 200)], "")
	}
	return admin.Find{Text: text, Domain: q.Get("domain"), Only: q.Get("only"), Page: pageOf(r), Size: perPage}
}

// readable tells whether a line is an address, and if not, what is wrong with it.
func readable(line string) (fault string, ok bool) {
	if _, err := mail.ParseAddress(strings.TrimSpace(line)); err != nil {
		return sentence(err.Error()), false
	}
	return "", true
}
