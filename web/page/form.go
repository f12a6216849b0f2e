package page

import (
	"errors"
	"net/http"
	"regexp"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// MaxForm bounds the octets of a form.
const MaxForm = 64 << 10

// Form is a form that was sent: its values, and what is wrong with them, by field. It goes back into the page as it came.
type Form struct {
	values map[string]string
	Wrong  map[string]string // field: what is wrong with it, in words
}

// Read takes the fields of a POST; others are passed over. A field that is no UTF-8 or has control characters is wrong.
func Read(w http.ResponseWriter, r *http.Request, fields ...string) (*Form, error) {
	r.Body = http.MaxBytesReader(w, r.Body, MaxForm)
	if err := r.ParseForm(); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, ErrTooLarge
		}
		return nil, &Problem{http.StatusBadRequest, "The form could not be read", "What arrived is not a form of this page. Go back, reload the page and try again."}
	}
	f := &Form{values: make(map[string]string), Wrong: make(map[string]string)}
	for _, name := range fields {
		v := r.PostForm.Get(name)
		if !utf8.ValidString(v) || strings.ContainsFunc(v, func(c rune) bool { return c < ' ' && c != '\n' && c != '\r' && c != '\t' }) {
			f.Wrong[name] = "This has characters that cannot be used here."
			v = strings.ToValidUTF8(v, "")
		}
		f.values[name] = v
	}
	return f, nil
}

// Filled is a form as a page shows it first, with what is there already.
func Filled(values map[string]string) *Form {
	return &Form{values: values, Wrong: make(map[string]string)}
}

// Under fills in what is there already for the fields that were not read: a page may have several forms, of which one was sent.
func (f *Form) Under(values map[string]string) *Form {
	for name, v := range values {
		if _, sent := f.values[name]; !sent {
			f.values[name] = v
		}
	}
	return f
}

// Value is a field as it was sent, without the spaces around it.
func (f *Form) Value(name string) string {
	if f == nil {
		return ""
	}
	return strings.TrimSpace(f.values[name])
}

// Secret is a field with its spaces: a password.
func (f *Form) Secret(name string) string {
	if f == nil {
		return ""
	}
	return f.values[name]
}

// Is tells whether a box is ticked.
func (f *Form) Is(name string) bool { return f.Value(name) != "" }

// Reject notes what is wrong with a field, with "" what is wrong with all of it; the first word stands.
func (f *Form) Reject(name, what string) {
	if f.Wrong[name] == "" {
		f.Wrong[name] = what
	}
}

// Ok tells whether nothing is wrong.
func (f *Form) Ok() bool { return len(f.Wrong) == 0 }

// Fault is what is wrong with a field, for templates; empty: nothing.
func (f *Form) Fault(name string) string {
	if f == nil {
		return ""
	}
	return f.Wrong[name]
}

// Set changes a field, for a page that shows the form once more.
func (f *Form) Set(name, value string) { f.values[name] = value }

// Status is what a page with the form answers: somebody was faster, it cannot be taken, or nothing is wrong. nil: there was none.
func (f *Form) Status() int {
	switch {
	case f == nil || f.Ok():
		return http.StatusOK
	case f.Fault("") == ErrConflict.Text:
		return http.StatusConflict
	}
	return http.StatusUnprocessableEntity
}

// Refused puts what a verb says against a change into the form, beside the field that it is about, so that what was typed stays there.
// What is no answer to the form comes back as the error that it is.
func (f *Form) Refused(field string, err error) error {
	var verb *admin.Error
	switch {
	case err == nil:
		return nil
	case errors.Is(err, admin.ErrChanged):
		f.Reject("", ErrConflict.Text)
	case errors.As(err, &verb) && (verb.Class == admin.Invalid || verb.Class == admin.Conflict || verb.Class == admin.Missing):
		f.Reject(field, Sentence(verb.Message))
	default:
		return err
	}
	return nil
}

// forCommands is what messages say to who types commands.
var forCommands = regexp.MustCompile(`\s*\(posthouse [^)]*\)|[;:,]( to make it one of ours:)? posthouse .*$`)

// Sentence is a verb's message for somebody who reads a page: without commands, with a capital and a full stop.
func Sentence(text string) string {
	text = strings.TrimSpace(forCommands.ReplaceAllString(text, ""))
	first, n := utf8.DecodeRuneInString(text)
	if n == 0 {
		return text
	}
	if word, _, _ := strings.Cut(text, " "); !strings.ContainsAny(word, "@.") { // not an address, nor a name of the DNS
		text = string(unicode.ToUpper(first)) + text[n:]
	}
	if !strings.HasSuffix(text, ".") && !strings.HasSuffix(text, "?") {
		text += "."
	}
	return text
}
