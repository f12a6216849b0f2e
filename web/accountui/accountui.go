// Package accountui is a user's own room of the web house: what he has, how programs connect, his password, where he is signed in.
//
// New makes the room. Each group of pages has a file with its routes: who may come in (password.go, apppasswords.go, factor.go,
// certificates.go, passkeys.go, devices.go, seen.go), addresses.go, mailbox.go, moving.go (import, export), messages.go, junk.go, sending.go. The account
// of every verb is the one that is signed in (user): no form names another.
package accountui

import (
	"context"
	"embed"
	"log/slog"
	"net/http"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

//go:embed *.html
var pages embed.FS

// Path is where the room is.
const Path = "/account/"

// Options of a Room.
type Options struct {
	Logger    *slog.Logger
	House     *admin.House
	Directory *auth.Directory
	Programs  page.Programs
	Sessions  Sessions
}

// Session is one sign-in.
type Session struct {
	Name    string
	Agent   string
	Remote  string
	Created time.Time
	Seen    time.Time
}

// Sessions is where accounts are signed in; the web house knows.
type Sessions struct {
	List func(context.Context, mail.AccountID) ([]Session, error)
	// End signs one out, EndOthers all but one.
	End       func(ctx context.Context, account mail.AccountID, name string) error
	EndOthers func(ctx context.Context, account mail.AccountID, but string) error
	// Renew keeps the session of a request going although its password has changed.
	Renew func(w http.ResponseWriter, r *http.Request, id auth.Identity) error
}

// room is the pages with what they need.
type room struct {
	o     Options
	log   *slog.Logger
	pages *page.Templates
}

// New makes the room.
func New(o Options) page.Room {
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	m := &room{o: o, log: o.Logger, pages: page.Parse(pages, map[string]string{
		"password":            "Your new password is valid from now on. Programs that know the old one ask for it.",
		"ended":               "That sign-in has ended.",
		"others":              "All other sign-ins have ended.",
		"app-removed":         "The app password is taken back. What was opened with it has ended.",
		"certificate-added":   "The certificate is registered: the program can log in with it now.",
		"certificate-removed": "The certificate is taken back. What was opened with it has ended.",
		"factor-on":           "These pages ask for a passkey after the password from now on.",
		"factor-off":          "The second factor has ended. These pages ask for the password only.",
		"passkey-added":       "The passkey is there. Next time you can sign in with it.",
		"passkey-removed":     "The passkey is removed. What was opened with it has ended.",
		"token-removed":       "The token is taken back. What was opened with it has ended.",
		"web-only":            "From now on programs need app passwords.",
		"web-open":            "Programs may use your own password again.",

		"password-alone":   "Your new password is valid from now on, and all app passwords are taken back.",
		"device-forgotten": "It is out of the list.",
		"mask-on":          "The address takes mail again.",
		"mask-off":         "Mail to that address is refused from now on.",
		"mask-note":        "Saved.",
		"mask-removed":     "That address is gone for ever.",
		"forwarding":       "Your mail goes from now on as it says below.",
		"import-stopped":   "The import stops. What it has brought stays; begun again, it goes on where it was.",
		"junk":             "Your mail is judged like this from now on.",
		"sender-in":        "Mail from there is let in from now on.",
		"sender-out":       "Mail from there is refused from now on.",
		"sender-gone":      "Nothing is said of that sender any more.",
		"taken-back":       "The message is a draft again.",
		"sent-now":         "The message leaves now.",
		"sending":          "Saved. It holds for the next message.",
	})}
	mux := http.NewServeMux()
	for _, routes := range []map[string]page.Handler{
		m.security(), m.passkeyRoutes(), m.tokenRoutes(), m.certificateRoutes(), m.devicesSeen(), m.addresses(), m.mailbox(), m.moving(), m.stories(), m.junkPages(), m.sendingPages(),
	} {
		for pattern, h := range routes {
			mux.Handle(pattern, m.pages.Handle(m.log, h))
		}
	}
	return page.Room{Path: Path, Label: "My account", For: page.Users, Handler: mux}
}

// security is the pages about who may come in, and the first page.
func (m *room) security() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/{$}":                   m.overview,
		"GET /account/password":              m.password,
		"POST /account/password":             m.setPassword,
		"GET /account/app-passwords":         m.appPasswords,
		"POST /account/app-passwords":        m.addAppPassword,
		"POST /account/app-passwords/remove": m.removeAppPassword,
		"POST /account/app-passwords/own":    m.setWebOnly,
		"GET /account/second-factor":         m.factor,
		"POST /account/second-factor":        m.startFactor,
		"POST /account/second-factor/codes":  m.renewCodes,
		"POST /account/second-factor/remove": m.removeFactor,
		"GET /account/sign-ins":              m.devices,
		"POST /account/sign-ins/end":         m.endSession,
		"POST /account/sign-ins/end-others":  m.endOthers,
		"/account/":                          func(http.ResponseWriter, *http.Request) error { return page.ErrMissing },
	}
}

// who is the visitor of a request; the web house lets nobody else in.
func who(r *http.Request) *page.SignIn { return page.VisitOf(r.Context()).SignIn }

func (m *room) show(w http.ResponseWriter, r *http.Request, v page.View) error {
	m.pages.Render(m.log, w, r, v)
	return nil
}
