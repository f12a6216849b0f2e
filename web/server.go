// Package web is the web house: it knows who a request comes from and leads it to a room.
//
// Server is an http.Handler. headers.go says what every answer carries, session.go keeps who is signed in, signin.go is the way
// in and out, half.go the part of it that asks for a code. The rooms below web/ get a request with a page.Visit and know nothing of each other.
package web

import (
	"context"
	"log/slog"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/internal/metrics"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// Options of a Server.
type Options struct {
	Logger    *slog.Logger
	Metrics   *metrics.Set
	Now       func() time.Time
	Hostname  string // the house's, for titles
	Directory *auth.Directory
	Side      *kv.Side // where sessions are kept
	Rooms     []page.Room
	Proxies   []netip.Prefix // whose X-Forwarded-For and X-Forwarded-Proto are believed
	AdminFrom []netip.Prefix // from where the rooms of operators open; empty: loopback
	// Redirect: pages asked for in clear are answered with their address over TLS: at 443, or at TLSPort for who asks at another port
	// than 80, since nothing stands between him and us.
	Redirect bool
	TLSPort  int
	Idle     time.Duration // after which a session ends; 14 days

	Provider *Provider // who signs people in beside us; nil: nobody
}

// Server is the web house.
type Server struct {
	o        Options
	log      *slog.Logger
	pages    *page.Templates
	sessions *sessions
	halves   *halves
	mux      *http.ServeMux
	handler  http.Handler
}

// New makes the web house of its rooms.
func New(o Options) *Server {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Idle == 0 {
		o.Idle = 14 * 24 * time.Hour
	}
	if len(o.AdminFrom) == 0 {
		o.AdminFrom = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	}
	s := &Server{o: o, log: o.Logger, pages: page.Parse(pages, nil), mux: http.NewServeMux()}
	s.sessions = &sessions{side: o.Side, directory: o.Directory, now: o.Now, idle: o.Idle}
	s.openProvider()
	s.halves = &halves{now: o.Now}
	s.mux.Handle(page.AssetPath, s.pages.Assets())
	s.mux.Handle("GET /{$}", s.pages.Handle(s.log, s.front))
	s.mux.Handle("POST /sign-in", s.pages.Handle(s.log, s.signIn))
	s.mux.Handle("POST /sign-in/code", s.pages.Handle(s.log, s.proveCode))
	s.mux.Handle("POST /sign-in/code/ask", s.pages.Handle(s.log, s.askSecond))
	s.mux.Handle("POST /sign-in/code/passkey", s.pages.Handle(s.log, s.proveSecond))
	s.mux.Handle("POST /sign-in/passkey", s.pages.Handle(s.log, s.usePasskey))
	s.mux.Handle("POST /sign-in/passkey/ask", s.pages.Handle(s.log, s.askPasskey))
	s.mux.Handle("POST /sign-in/leave", s.pages.Handle(s.log, s.leaveHalf))
	s.mux.Handle("POST /sign-out", s.pages.Handle(s.log, s.signOut))
	s.mux.Handle("/", s.pages.Handle(s.log, func(http.ResponseWriter, *http.Request) error { return page.ErrMissing }))
	for _, room := range o.Rooms {
		s.mux.Handle(room.Path, s.guard(room))
	}
	answers := o.Metrics.Counters("web_requests_total", "Requests to the web house: for pages or by programs (api), by class of the answer.", "kind", "status")
	panics := o.Metrics.Counter("panics_total", "Connections ended by a fault of the program; the log has the stack.") // package serve's
	s.handler = s.counted(answers, panics, bounded(s.visited(s.mux)))
	return s
}

// ServeHTTP answers a request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.handler.ServeHTTP(w, r) }

// guard lets into a room those whom it is for.
func (s *Server) guard(room page.Room) http.Handler {
	return s.pages.Handle(s.log, func(w http.ResponseWriter, r *http.Request) error {
		v := page.VisitOf(r.Context())
		switch {
		case room.For == page.Anyone:
		case v.SignIn == nil:
			return s.front(w, r)
		case !s.mayEnter(room, v):
			return page.ErrMissing // who may not come in is not told what is there
		}
		v.Still = func(ctx context.Context) bool {
			now := *v
			in, err := s.sessions.find(r.WithContext(ctx), v.Secure)
			now.SignIn = in
			return err == nil && s.mayEnter(room, &now)
		}
		room.Handler.ServeHTTP(w, r)
		return nil
	})
}

func (s *Server) mayEnter(room page.Room, v *page.Visit) bool {
	switch room.For {
	case page.Anyone:
		return true
	case page.Users:
		return v.SignIn != nil
	}
	return s.operatorsPlace(v) && v.SignIn != nil && v.SignIn.Admin && v.SignIn.Strong
}

// operatorsPlace tells whether a visitor is where operators are.
func (s *Server) operatorsPlace(v *page.Visit) bool {
	return !v.Behind && slices.ContainsFunc(s.o.AdminFrom, func(p netip.Prefix) bool { return p.Contains(v.Remote) })
}

// visited finds out who comes, and what is true of every request.
func (s *Server) visited(next http.Handler) http.Handler {
	cross := http.NewCrossOriginProtection()
	cross.AddInsecureBypassPattern(apiPath) // it sees no session: a browser adds nothing by itself that it would take
	cross.SetDenyHandler(s.pages.Handle(s.log, func(_ http.ResponseWriter, r *http.Request) error {
		s.log.WarnContext(r.Context(), logx.WebForeign, "path", r.URL.Path, "origin", r.Header.Get("Origin"))
		return &page.Problem{Status: http.StatusForbidden, Title: "This came from another site", Text: "A page of another site tried to do something here in your name. Nothing was done. If it was you, go to the page here and do it there."}
	}))
	next = cross.Handler(next)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		v := s.arrival(r)
		secureHeaders(w.Header(), v.Secure)
		if s.o.Redirect && !v.Secure && !clearPath(r.URL.Path) && !strings.HasPrefix(r.URL.Path, apiPath) && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			if host := s.overTLS(r.Host); host != "" {
				http.Redirect(w, r, "https://"+host+r.URL.RequestURI(), http.StatusMovedPermanently) // the one that Outlook follows
				return
			}
		}
		r = r.WithContext(page.WithVisit(r.Context(), v))
		if !strings.HasPrefix(r.URL.Path, page.AssetPath) {
			in, err := s.sessions.find(r, v.Secure)
			if err != nil {
				s.pages.Fail(s.log, w, r, err)
				return
			}
			v.SignIn, v.At = in, s.passkeysAt(r, v)
			s.navigation(v)
			if in != nil {
				r = r.WithContext(admin.As(r.Context(), admin.Actor{Name: in.Identity.Main.String(), Door: admin.DoorWeb, Remote: v.From()}))
			}
		}
		next.ServeHTTP(w, r)
	})
}

// apiPath is where programs come with tokens. In clear they are told so there, and not led on: the next request would show the token again.
const apiPath = "/api/v1/"

// navigation lists the rooms that the visitor may enter.
func (s *Server) navigation(v *page.Visit) {
	if v.SignIn == nil {
		return
	}
	for _, room := range s.o.Rooms {
		if room.Label != "" && s.mayEnter(room, v) {
			v.Rooms = append(v.Rooms, page.Link{Path: room.Path, Label: room.Label})
		}
	}
}

// clearPath tells whether a path is answered in clear: what certificates come from, and what programs ask for that do not follow.
func clearPath(path string) bool {
	return strings.HasPrefix(path, "/.well-known/acme-challenge/") || strings.HasPrefix(path, "/.well-known/autoconfig/") || path == "/mail/config-v1.1.xml"
}
