// Package api is the operator's verbs over HTTP: JSON on a unix socket in the
// data folder, which only the owner of the folder and root may open. The
// command line speaks it to a running house.
//
// Server is the house's side, Listen makes the socket, Client is the caller's
// side with the verbs of admin.House. Errors are problem documents (RFC 9457) with admin's class.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// SocketName is the socket's name in the data folder.
const SocketName = "posthouse.sock"

// maxRequest bounds the JSON of one request.
const maxRequest = 1 << 20

// Message is a message handed in by a program of this machine.
type Message struct {
	From       string   // the envelope's; empty: <>
	Recipients []string // none: those of To, Cc and Bcc
	FromHeader bool     // take the recipients of the header too (sendmail -t)
	Name       string   // full name of the sender for a missing From (-F)
	User       string   // who called, for the log
}

// Options of a Server. A nil function: that verb is refused.
type Options struct {
	Logger *slog.Logger
	House  *admin.House
	Status func(ctx context.Context) (admin.Status, error)
	Reload func(ctx context.Context) (admin.Reloaded, error)

	Restart func(ctx context.Context) (admin.Restarting, error)

	Submit func(ctx context.Context, m Message, body io.Reader) (receipt string, err error)
	Vitals func(ctx context.Context) (admin.Vitals, error)
	Letter func(ctx context.Context, send bool) (admin.Letter, error)
}

// Server answers the verbs.
type Server struct {
	o         Options
	mux       *http.ServeMux
	everybody bool // callers may be anybody: who they say they are is not believed
}

// New returns a Server; it is an http.Handler.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, mux: http.NewServeMux()}
	s.directory()
	s.appPasswords()
	s.queue()
	s.trace()
	s.dkim()
	s.records()
	s.checkup()
	s.house()
	s.deleted()
	s.backups()
	s.moving()
	s.pulls()
	s.sending()
	s.reports()
	s.lists()
	s.spam()
	s.log()
	return s
}

// NewMailbox returns a Server that takes messages and nothing else, for a socket that every user of the machine may open.
// Who submits is what the system says of the connection (ConnContext), whatever the request claims.
func NewMailbox(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	s := &Server{o: o, mux: http.NewServeMux(), everybody: true}
	s.mux.HandleFunc("POST /v1/messages", s.submit)
	return s
}

// directory is domains, accounts and aliases.
func (s *Server) directory() {
	h := s.o.House
	list(s, "GET /v1/domains", h.Domains)
	take(s, "PUT /v1/domains", h.AddDomain)
	name(s, "DELETE /v1/domains/{name}", nothing(h.RemoveDomain))
	list(s, "GET /v1/accounts", h.Accounts)
	take(s, "POST /v1/accounts", h.AddAccount)
	name(s, "GET /v1/accounts/{name}", h.Account)
	both(s, "PATCH /v1/accounts/{name}", h.SetAccount)
	both(s, "PUT /v1/accounts/{name}/password", func(ctx context.Context, user string, p password) (struct{}, error) {
		if p.Hash != "" {
			return struct{}{}, h.SetPasswordHash(ctx, user, p.Hash)
		}
		return struct{}{}, h.SetPassword(ctx, user, p.Password)
	})
	name(s, "DELETE /v1/accounts/{name}", nothing(h.RemoveAccount))
	list(s, "GET /v1/aliases", h.Aliases)
	take(s, "PUT /v1/aliases", h.AddAlias)
	name(s, "DELETE /v1/aliases/{name}", nothing(h.RemoveAlias))
}

// queue is the mail that waits.
func (s *Server) queue() {
	h := s.o.House
	list(s, "GET /v1/queue", h.Queue)
	name(s, "GET /v1/queue/{name}", h.QueueEntry)
	both(s, "POST /v1/queue/{name}", func(ctx context.Context, action string, ids []string) (int, error) {
		return h.QueueAction(ctx, action, ids)
	})
}

// house is the process itself.
func (s *Server) house() {
	list(s, "GET /v1/status", offered(s.o.Status))
	list(s, "GET /v1/vitals", offered(s.o.Vitals))
	list(s, "POST /v1/reload", offered(s.o.Reload))
	list(s, "POST /v1/restart", offered(s.o.Restart))
	take(s, "POST /v1/check", s.o.House.CheckStore)
	s.mux.HandleFunc("POST /v1/messages", s.submit)
}

type password struct {
	Password string `json:"password,omitempty"`
	Hash     string `json:"hash,omitempty"`
}

// offered refuses a verb that this house does not have.
func offered[Out any](fn func(context.Context) (Out, error)) func(context.Context) (Out, error) {
	if fn != nil {
		return fn
	}
	return func(context.Context) (out Out, err error) {
		return out, &admin.Error{Class: admin.Unavailable, Message: "not offered here"}
	}
}

// nothing gives a verb without an answer an empty one.
func nothing(fn func(context.Context, string) error) func(context.Context, string) (struct{}, error) {
	return func(ctx context.Context, name string) (struct{}, error) { return struct{}{}, fn(ctx, name) }
}

// list routes a verb without arguments, name one with a word of the path, take one with a body, both one with both.
func list[Out any](s *Server, pattern string, fn func(context.Context) (Out, error)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		out, err := fn(r.Context())
		s.answer(w, r, out, err)
	})
}

func name[Out any](s *Server, pattern string, fn func(context.Context, string) (Out, error)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		out, err := fn(r.Context(), r.PathValue("name"))
		s.answer(w, r, out, err)
	})
}

func take[In, Out any](s *Server, pattern string, fn func(context.Context, In) (Out, error)) {
	both(s, pattern, func(ctx context.Context, _ string, in In) (Out, error) { return fn(ctx, in) })
}

func both[In, Out any](s *Server, pattern string, fn func(context.Context, string, In) (Out, error)) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		var in In
		d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxRequest))
		d.DisallowUnknownFields()
		if err := d.Decode(&in); err != nil {
			s.answer(w, r, nil, &admin.Error{Class: admin.Invalid, Message: "the request is no JSON that we know: " + err.Error()})
			return
		}
		out, err := fn(r.Context(), r.PathValue("name"), in)
		s.answer(w, r, out, err)
	})
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// problem is an RFC 9457 document.
type problem struct {
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Detail string      `json:"detail"`
	Class  admin.Class `json:"class"`
}

// answer writes the result, or the error with its class; it is the one place that turns classes into status codes.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, out any, err error) {
	if err == nil {
		w.Header().Set("Content-Type", "application/json")
		if err := json.NewEncoder(w).Encode(out); err != nil {
			s.o.Logger.DebugContext(r.Context(), logx.AdminError, "path", r.URL.Path, "error", err)
		}
		return
	}
	p := problem{Class: admin.Internal, Detail: err.Error()}
	var known *admin.Error
	if errors.As(err, &known) {
		p.Class = known.Class
	}
	p.Status = statusOf(p.Class)
	p.Title = http.StatusText(p.Status)
	s.o.Logger.WarnContext(r.Context(), logx.AdminError, "method", r.Method, "path", r.URL.Path, "class", string(p.Class), "error", err)
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(p.Status)
	if err := json.NewEncoder(w).Encode(p); err != nil {
		s.o.Logger.DebugContext(r.Context(), logx.AdminError, "path", r.URL.Path, "error", err)
	}
}

func statusOf(c admin.Class) int {
	switch c {
	case admin.Invalid:
		return http.StatusBadRequest
	case admin.Missing:
		return http.StatusNotFound
	case admin.Conflict:
		return http.StatusConflict
	case admin.Unavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusInternalServerError
}

// receipt is the answer to a message.
type receipt struct {
	Receipt string `json:"receipt"`
}

// submit takes a message: the envelope in the query, the message as the body.
func (s *Server) submit(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	m := Message{
		From: q.Get("from"), Recipients: q["to"], FromHeader: q.Get("header") == "1", Name: q.Get("name"), User: q.Get("user"),
	}
	if s.everybody {
		m.User = unknownUser
		if user, ok := r.Context().Value(peerKey{}).(string); ok {
			m.User = user
		}
	}
	if s.o.Submit == nil {
		s.answer(w, r, nil, &admin.Error{Class: admin.Unavailable, Message: "this house takes no messages here"})
		return
	}
	text, err := s.o.Submit(r.Context(), m, r.Body)
	if err != nil {
		s.answer(w, r, nil, err)
		return
	}
	s.answer(w, r, receipt{Receipt: text}, nil)
}

// String shows a message's envelope for logs.
func (m Message) String() string {
	return fmt.Sprintf("<%s> to %d recipients", m.From, len(m.Recipients))
}
