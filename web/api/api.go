// Package api is the operator's verbs over HTTP, as JSON: on a unix socket in
// the data folder, which only the owner of the folder and root may open and
// the command line speaks to a running house, and by token on the web house.
//
// Server is the house's side: a table of routes (route.go) whose lines stand
// in a file for each family of verbs. Listen makes the socket, Room the door
// for tokens (door.go), OpenAPI the description (openapi.go). Client is the
// caller's side with the verbs of admin.House. Errors are problem documents (RFC 9457) with admin's class.
package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
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
	// Send takes a message of an account, whose token was shown.
	Send       func(ctx context.Context, m Outgoing, text io.Reader) (Sent, error)
	MaxMessage int64    // octets of one; 50 MB
	Temp       string   // folder for what comes in slowly; the system's
	Side       *kv.Side // where idempotency keys are kept; nil: none are taken
	Now        func() time.Time
}

// Server answers the verbs.
type Server struct {
	o         Options
	mux       *http.ServeMux
	routes    map[string]*route // by "METHOD /v1/path", as the mux has them
	pages     *page.Templates
	once      *once
	described func() ([]byte, error) // OpenAPI and the page, made when they are asked for first
	written   func() manual
	composing chan struct{} // a place for each message that is made of JSON
	everybody bool          // callers may be anybody: who they say they are is not believed
}

// New returns a Server; it is an http.Handler.
func New(o Options) *Server {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxMessage <= 0 {
		o.MaxMessage = 50 << 20
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := &Server{o: o, mux: http.NewServeMux(), routes: make(map[string]*route), pages: page.Parse(manuals, nil), composing: make(chan struct{}, 2)}
	s.described, s.written = sync.OnceValues(s.OpenAPI), sync.OnceValue(s.manualText)
	s.once = &once{log: o.Logger, side: o.Side, now: o.Now, running: make(map[string]bool)}
	s.directory()
	s.finds()
	s.appPasswords()
	s.clientCertificates()
	s.passkeys()
	s.accounts()
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
	s.machine()
	s.audit()
	s.directoryFile()
	s.webhooks()
	s.tokens()
	s.own()
	s.sends()
	s.addy()
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
	list(s, "GET /v1/domains", seen|directory, "Lists the domains of the house.", h.Domains)
	take(s, "PUT /v1/domains", directory, "Makes a domain, or changes what it stands for and its catch-all.", h.AddDomain)
	name(s, "DELETE /v1/domains/{name}", directory, "Removes a domain that nothing uses.", nothing(h.RemoveDomain))
	list(s, "GET /v1/accounts", seen|directory, "Lists the accounts, without their secrets.", h.Accounts)
	take(s, "POST /v1/accounts", directory, "Makes an account with its mailboxes.", h.AddAccount)
	name(s, "GET /v1/accounts/{name}", seen|directory, "Shows an account; it is named by any of its addresses, or its login name.", h.Account)
	both(s, "PATCH /v1/accounts/{name}", directory, "Changes an account: what is left out stays.", s.setAccount)
	both(s, "PUT /v1/accounts/{name}/password", directory, "Sets the password of an account, or the hash of one from another server.", func(ctx context.Context, user string, p password) (struct{}, error) {
		if p.Hash != "" {
			return struct{}{}, h.SetPasswordHash(ctx, user, p.Hash)
		}
		return struct{}{}, h.SetPassword(ctx, user, p.Password)
	})
	name(s, "DELETE /v1/accounts/{name}", directory, "Removes an account with its mail.", nothing(h.RemoveAccount))
	list(s, "GET /v1/aliases", seen|directory, "Lists the aliases.", h.Aliases)
	take(s, "PUT /v1/aliases", directory, "Makes or changes an alias.", h.AddAlias)
	name(s, "DELETE /v1/aliases/{name}", directory, "Removes an alias.", nothing(h.RemoveAlias))
}

// setAccount keeps a token that may not do everything from making somebody who may.
func (s *Server) setAccount(ctx context.Context, user string, c admin.Change) (admin.Account, error) {
	if b, ok := bearerOf(ctx); ok && c.Operator != nil && b.Token.Scopes&everything == 0 {
		return admin.Account{}, &denied{status: http.StatusForbidden, text: "to make operators needs a token for everything"}
	}
	return s.o.House.SetAccount(ctx, user, c)
}

// queue is the mail that waits.
func (s *Server) queue() {
	h := s.o.House
	list(s, "GET /v1/queue", seen|queue, "Lists the mail that waits to leave.", h.Queue)
	name(s, "GET /v1/queue/{name}", seen|queue, "Shows one message that waits, with each recipient.", h.QueueEntry)
	both(s, "POST /v1/queue/{name}", queue, "Does something with mail that waits: the name is retry, hold, release, cancel or drop, the body the ids.", func(ctx context.Context, action string, ids []string) (int, error) {
		return h.QueueAction(ctx, action, ids)
	})
}

// house is the process itself.
func (s *Server) house() {
	list(s, "GET /v1/status", seen, "Shows how the house stands.", offered(s.o.Status))
	list(s, "GET /v1/vitals", seen, "Shows how the house does: connections, queue, memory, disk.", offered(s.o.Vitals))
	list(s, "POST /v1/reload", everything, "Reads the settings again.", offered(s.o.Reload))
	list(s, "POST /v1/restart", everything, "Starts the house anew without closing its doors.", offered(s.o.Restart))
	take(s, "POST /v1/check", everything, "Checks the store, and repairs it where that is asked for.", s.o.House.CheckStore)
	s.raw("POST /v1/messages", nobody, "Takes a message of a program of this machine.").
		asks("from", "string", "envelope sender").asks("to", "array", "envelope recipients").asks("header", "string", "1: the header names recipients too").
		asks("name", "string", "full name of the sender").asks("user", "string", "who hands it in").takes("message/rfc822").gives(receipt{}).by(s.submit)
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

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.mux.ServeHTTP(w, r) }

// problem is an RFC 9457 document.
type problem struct {
	Title  string      `json:"title"`
	Status int         `json:"status"`
	Detail string      `json:"detail"`
	Class  admin.Class `json:"class"`
	// Message is Detail once more, for programs that know another API than ours (addy.io's).
	Message string `json:"message,omitempty"`
}

// answer writes the result, or the error with its class; it is the one place that turns classes into status codes.
func (s *Server) answer(w http.ResponseWriter, r *http.Request, out any, err error) {
	x := routeOf(r.Context())
	if err == nil {
		if v := reflect.ValueOf(out); v.Kind() == reflect.Slice && v.IsNil() {
			out = []none{} // a list without entries is none the less a list
		}
		s.write(w, r, cmp.Or(x.Status, http.StatusOK), "application/json", out)
		return
	}
	p := problem{Class: admin.Internal, Detail: err.Error()}
	var known *admin.Error
	var refused *denied
	switch {
	case errors.As(err, &refused):
		p.Class, p.Status = admin.Refused, refused.status
		refused.header(w.Header())
	case errors.As(err, &known):
		p.Class = known.Class
	}
	p.Status = cmp.Or(p.Status, statusOf(p.Class))
	p.Title = http.StatusText(p.Status)
	s.o.Logger.WarnContext(r.Context(), logx.AdminError, "method", r.Method, "path", r.URL.Path, "class", string(p.Class), "error", err)
	if r.Context().Value(routeKey{}) != nil && p.Class == admin.Internal { // by token: the log is for operators
		p.Detail = "this did not work; the reason is in the log of the house"
	}
	if p.Status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "5")
	}
	if x.plain {
		p.Message = p.Detail
	}
	s.write(w, r, p.Status, "application/problem+json", p)
}

func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, media string, out any) {
	w.Header().Set("Content-Type", media)
	w.WriteHeader(status)
	if err := json.NewEncoder(w).Encode(out); err != nil {
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
