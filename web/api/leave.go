package api

import (
	"context"
	"errors"
	"html"
	"io"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// LeavePath is where Leave is mounted; lists.url is the public address of it.
const LeavePath = "/lists/leave/"

// Leave answers the links by which members leave lists, for anybody who has one (RFC 8058). A program's POST with
// List-Unsubscribe=One-Click is enough; a person's GET changes nothing, since programs follow links to look at them, and
// shows a button. unsubscribe is admin.House.Unsubscribe.
func Leave(unsubscribe func(ctx context.Context, link string) (admin.Left, error)) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+LeavePath+"{link}", func(w http.ResponseWriter, _ *http.Request) {
		leavePage(w, http.StatusOK, `<form method="post"><input type="hidden" name="List-Unsubscribe" value="One-Click"><button>Leave this list</button></form>`)
	})
	mux.HandleFunc("POST "+LeavePath+"{link}", func(w http.ResponseWriter, r *http.Request) {
		r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
		if r.PostFormValue("List-Unsubscribe") != "One-Click" { // section 3.2, as a form of either kind
			leavePage(w, http.StatusBadRequest, "<p>This is no request to leave a list.</p>")
			return
		}
		left, err := unsubscribe(r.Context(), r.PathValue("link"))
		problem := &admin.Error{}
		switch {
		case err == nil:
			leavePage(w, http.StatusOK, "<p>"+html.EscapeString(left.Member)+" has left the list "+html.EscapeString(left.List)+".</p>")
		case errors.As(err, &problem) && problem.Class == admin.Missing:
			leavePage(w, http.StatusNotFound, "<p>"+html.EscapeString(problem.Message)+"</p>")
		default:
			leavePage(w, http.StatusServiceUnavailable, "<p>That did not work now. Try again later.</p>")
		}
	})
	return mux
}

func leavePage(w http.ResponseWriter, status int, body string) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; form-action 'self'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer") // the link is the proof
	h.Set("Cache-Control", "no-store")
	h.Set("X-Robots-Tag", "noindex")
	w.WriteHeader(status)
	_, _ = io.WriteString(w, "<!DOCTYPE html>\n<html lang=\"en\"><head><meta name=\"viewport\" content=\"width=device-width, initial-scale=1\"><title>Leave a list</title></head><body>\n<h1>Leave a list</h1>\n"+body+"\n</body></html>\n") // who has gone does not read
}
