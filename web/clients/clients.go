// Package clients is the public pages that help to set up a mail program: one for each, with what to type, and a button that tries
// from here what the program would do.
//
// New makes the room; programs.go lists the programs. Like web/autoconfig it tells nobody whether there is an account: what is said of one is
// said to its owner only.
package clients

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

//go:embed *.html
var pages embed.FS

// Path is where the room is.
const Path = "/clients/"

// Options of the room.
type Options struct {
	Logger   *slog.Logger
	Now      func() time.Time
	Programs page.Programs
	// Local tells whether a domain is one of ours.
	Local func(context.Context, mail.Domain) (bool, error)
	// Check tries what a program does: admin.House.CheckClient.
	Check func(context.Context, admin.ClientCheck) (admin.ClientReport, error)
}

type room struct {
	o     Options
	log   *slog.Logger
	pages *page.Templates
	tests *tests
}

// New makes the room.
func New(o Options) page.Room {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &room{o: o, log: o.Logger, pages: page.Parse(pages, nil), tests: newTests(o.Now)}
	mux := http.NewServeMux()
	for pattern, h := range map[string]page.Handler{
		"GET /clients/{$}":             m.index,
		"GET /clients/{program}":       m.program,
		"POST /clients/{program}":      m.test,
		"/clients/{program}/{more...}": func(http.ResponseWriter, *http.Request) error { return page.ErrMissing },
	} {
		mux.Handle(pattern, m.pages.Handle(m.log, h))
	}
	return page.Room{Path: Path, Label: "Mail programs", For: page.Anyone, Handler: mux}
}

// guide is what a page shows.
type guide struct {
	page.Programs
	Program
	All     []Program
	Address string // as it is to be typed; empty: nobody has said
	Query   string // that keeps the address on the way to another page
	Receive page.Way
	Send    page.Way
	Profile string        // where Apple's programs get theirs; empty without an address
	QR      template.HTML // of Profile, or of this page
	Own     bool          // the address is the visitor's account's
	Safe    bool          // nobody reads a password on its way here
	Report  *admin.ClientReport
}

// asked is the address that a visitor means: the one he typed, or his own. What is wrong with it goes into the form.
func (m *room) asked(r *http.Request, text string, f *page.Form) (address string, own bool, err error) {
	v := page.VisitOf(r.Context())
	if text = strings.TrimSpace(text); text == "" {
		if v.SignIn == nil {
			return "", false, nil
		}
		return v.SignIn.Identity.Main.String(), true, nil
	}
	a, err := mail.ParseAddress(text)
	if err != nil {
		f.Reject("address", "This is no mail address. It looks like you@example.org.")
		return "", false, nil
	}
	ours, err := m.o.Local(r.Context(), a.Domain)
	if err != nil {
		return "", false, err
	}
	if !ours {
		f.Reject("address", "This server has no mail of "+string(a.Domain)+". Look whether the address is written rightly.")
		return "", false, nil
	}
	return a.String(), v.SignIn != nil && v.SignIn.Identity.Main.Key() == a.Key(), nil
}

// form is one with an address in it, as it came in the query or the body.
func form(address string) *page.Form { return page.Filled(map[string]string{"address": address}) }

func (m *room) index(w http.ResponseWriter, r *http.Request) error {
	return m.page(w, r, Program{Key: "index", Title: "Set up a mail program"}, form(r.URL.Query().Get("address")), nil)
}

func (m *room) program(w http.ResponseWriter, r *http.Request) error {
	p, ok := find(r.PathValue("program"))
	if !ok {
		return page.ErrMissing
	}
	return m.page(w, r, p, form(r.URL.Query().Get("address")), nil)
}

// page shows a program's page for the address in f.
func (m *room) page(w http.ResponseWriter, r *http.Request, p Program, f *page.Form, report *admin.ClientReport) error {
	v := page.VisitOf(r.Context())
	address, own, err := m.asked(r, f.Value("address"), f)
	if err != nil {
		return err
	}
	g := guide{Programs: m.o.Programs, Program: p, All: all(), Address: address, Own: own, Safe: safe(v), Report: report}
	base := "http://" + r.Host
	if v.Secure {
		base = "https://" + r.Host
	}
	if address != "" {
		g.Query = "?address=" + url.QueryEscape(address)
		if p.Apple {
			g.Profile = base + "/email.mobileconfig?email=" + url.QueryEscape(address)
		}
	}
	for _, way := range m.o.Programs.Ways() {
		switch {
		case way.Sends && g.Send.Port == 0:
			g.Send = way
		case !way.Sends && g.Receive.Port == 0:
			g.Receive = way
		}
	}
	switch {
	case g.Profile != "":
		g.QR, err = page.QR(g.Profile, "QR code of the profile's address; it is below as a link too")
	case p.Phone && address != "":
		g.QR, err = page.QR(base+Path+p.Key+g.Query, "QR code of this page's address")
	}
	if err != nil {
		g.QR = "" // too long for one: the link is there
	}
	status := http.StatusOK
	if !f.Ok() {
		status = http.StatusUnprocessableEntity
	}
	m.pages.Render(m.log, w, r, page.View{Page: p.Key, Title: p.Title, Status: status, Form: f, Data: g})
	return nil
}

// safe tells whether a password may be typed: over TLS, or on the machine itself.
func safe(v *page.Visit) bool { return v.Secure || v.Remote.IsLoopback() && !v.Behind }

// test tries what the program would do, and shows what came of it on the program's page.
func (m *room) test(w http.ResponseWriter, r *http.Request) error {
	p, ok := find(r.PathValue("program"))
	if !ok {
		return page.ErrMissing
	}
	f, err := page.Read(w, r, "address", "password")
	if err != nil {
		return err
	}
	address, own, err := m.asked(r, f.Value("address"), f)
	if err != nil {
		return err
	}
	if address == "" && f.Ok() {
		f.Reject("address", "Which address is it about?")
	}
	if !f.Ok() {
		return m.page(w, r, p, f, nil)
	}
	v := page.VisitOf(r.Context())
	if !m.tests.may(v.Remote) {
		w.Header().Set("Retry-After", "60")
		return &page.Problem{Status: http.StatusTooManyRequests, Title: "Too many tests", Text: "Your network has started many tests within a short time. Wait some minutes, and try again."}
	}
	from := auth.Client{Remote: v.Remote, Name: "test of settings", TLS: r.TLS}
	if from.TLS == nil && safe(v) {
		from.TLS = &tls.ConnectionState{} // at the proxy; or it never leaves this machine
	}
	report, err := m.o.Check(r.Context(), admin.ClientCheck{Address: address, Program: p.Key, Stranger: !own, Password: f.Secret("password"), From: from})
	var known *admin.Error
	if errors.As(err, &known) && known.Class == admin.Unavailable {
		return &page.Problem{Status: http.StatusServiceUnavailable, Title: "The test cannot be done now", Text: "The server has much to do right now, or cannot look at the network. Try again in a minute."}
	}
	if err != nil {
		return err
	}
	slices.SortStableFunc(report.Steps, func(a, b stepOf) int { return order(a) - order(b) })
	for i := range report.Steps {
		s := &report.Steps[i]
		s.Found, s.Advice = sentence(s.Found), sentence(s.Advice)
	}
	return m.page(w, r, p, form(address), &report)
}

// sentence ends a text.
func sentence(text string) string {
	if text == "" || strings.HasSuffix(text, "?") || strings.HasSuffix(text, ".") {
		return text
	}
	return text + "."
}
