package page

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// Problem is an error in the words of a visitor: what is wrong and what to do about it.
type Problem struct {
	Status int
	Title  string
	Text   string
}

func (p *Problem) Error() string { return p.Title + ": " + p.Text }

// The problems that more than one room has.
var (
	ErrMissing  = &Problem{http.StatusNotFound, "There is no such page", "It may have been moved or removed. The navigation above leads to what is there."}
	ErrTooLarge = &Problem{http.StatusRequestEntityTooLarge, "That is too much at once", "The form is larger than this page can take. Send less."}
	ErrConflict = &Problem{http.StatusConflict, "Somebody else was faster", "What you were changing was changed meanwhile, in another window or by another person. Nothing of yours was saved: look at it as it is now, and change it again."}
	ErrBusy     = &Problem{http.StatusServiceUnavailable, "Please try again in a moment", "The server has much to do right now. Nothing was changed."}
)

// Handler is a page that may fail.
type Handler func(w http.ResponseWriter, r *http.Request) error

// Handle serves h. An error becomes a page in words: this is the one place where errors are translated for the web.
func (t *Templates) Handle(log *slog.Logger, h Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			t.Fail(log, w, r, err)
		}
	})
}

// Fail answers with a page about err. What only the operator should know goes to the log.
func (t *Templates) Fail(log *slog.Logger, w http.ResponseWriter, r *http.Request, err error) {
	p := problemOf(err)
	if p == nil {
		if errors.Is(err, context.Canceled) && r.Context().Err() != nil {
			return // the visitor has gone
		}
		log.ErrorContext(r.Context(), logx.WebPageFailed, "path", r.URL.Path, "method", r.Method, "error", err)
		p = &Problem{http.StatusInternalServerError, "This did not work", "It is not your fault, and the operator finds the reason in the log. Look whether what you wanted is done before you do it once more."}
	}
	if p.Status == http.StatusServiceUnavailable || p.Status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "5")
	}
	t.Render(log, w, r, View{Status: p.Status, Page: "problem", Title: p.Title, Data: p})
}

// problemOf is err in words; nil: it is ours alone.
func problemOf(err error) *Problem {
	var p *Problem
	var tooLarge *http.MaxBytesError
	var verb *admin.Error
	switch {
	case errors.As(err, &p):
		return p
	case errors.As(err, &tooLarge):
		return ErrTooLarge
	case errors.Is(err, admin.ErrChanged):
		return ErrConflict
	case errors.As(err, &verb):
		return ofVerb(verb)
	case errors.Is(err, auth.ErrNoAccount), errors.Is(err, auth.ErrNoAddress), errors.Is(err, auth.ErrNoDomain):
		return ErrMissing
	case errors.Is(err, context.DeadlineExceeded):
		return ErrBusy
	}
	return nil
}

// ofVerb is what a verb of the house says, with the status that its class has.
func ofVerb(e *admin.Error) *Problem {
	switch e.Class {
	case admin.Missing:
		return &Problem{http.StatusNotFound, "There is no such thing", e.Message}
	case admin.Conflict:
		return &Problem{http.StatusConflict, "This cannot be done now", e.Message}
	case admin.Invalid:
		return &Problem{http.StatusUnprocessableEntity, "This cannot be taken", e.Message}
	case admin.Unavailable:
		return &Problem{http.StatusServiceUnavailable, ErrBusy.Title, e.Message}
	}
	return nil // the reason is for the log
}
