// Package autoconfig tells mail programs what to connect to, in the form that each of them asks for: Thunderbird and its kin
// (thunderbird.go), Outlook (outlook.go), Apple's Mail (apple.go).
//
// What is told depends on the domain of the address only, never on whether there is such an account: nobody learns who has one.
package autoconfig

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net/http"
	"time"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/page"
)

// Options of the room.
type Options struct {
	Logger   *slog.Logger
	Now      func() time.Time
	Programs page.Programs
	// Local tells whether a domain is one of ours.
	Local func(context.Context, mail.Domain) (bool, error)
	// Signer signs profiles for Apple's programs; nil: they are not signed, and shown as such.
	Signer func() *tls.Certificate
}

type room struct {
	o     Options
	pages *page.Templates
}

// Rooms are the paths that programs ask for.
func Rooms(o Options) []page.Room {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	m := &room{o: o, pages: page.Parse(nil, nil)}
	var all []page.Room
	for path, h := range map[string]page.Handler{
		"/mail/config-v1.1.xml":                        m.thunderbird, // autoconfig.DOMAIN
		"/.well-known/autoconfig/mail/config-v1.1.xml": m.thunderbird,
		"/autodiscover/":                               m.outlook,
		"/Autodiscover/":                               m.outlook,
		"/AutoDiscover/":                               m.outlook,
		"/email.mobileconfig":                          m.apple,
	} {
		all = append(all, page.Room{Path: path, Handler: m.pages.Handle(o.Logger, h)})
	}
	return all
}

// The problems of this room; programs show the text to nobody, but people try the addresses in a browser.
var (
	errNoAddress = &page.Problem{Status: http.StatusBadRequest, Title: "An address is needed", Text: "Ask with the mail address that is to be set up, such as ?emailaddress=you@example.org."}
	errNotOurs   = &page.Problem{Status: http.StatusNotFound, Title: "Not a domain of this server", Text: "This server has no mail of that domain. Look whether the address is written rightly."}
)

// asked is the address that a program asks for; its domain must be one of ours.
func (m *room) asked(ctx context.Context, text string) (mail.Address, error) {
	a, err := mail.ParseAddress(text)
	if err != nil {
		return mail.Address{}, errNoAddress
	}
	ours, err := m.o.Local(ctx, a.Domain)
	if err != nil {
		return mail.Address{}, err
	}
	if !ours {
		return mail.Address{}, errNotOurs
	}
	return a, nil
}

// answer sends what a program asked for. It may keep it for some minutes: a wrong answer should not last.
func answer(w http.ResponseWriter, kind string, text []byte) {
	w.Header().Set("Content-Type", kind)
	w.Header().Set("Cache-Control", "private, max-age=300")
	_, _ = w.Write(text) // the program has gone: nobody to tell
}
