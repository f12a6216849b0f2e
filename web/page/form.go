package page

import (
	"errors"
	"net/http"
	"strings"
	"unicode/utf8"
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
