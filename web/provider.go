package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/oidc"
	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// Provider is who signs people in beside us.
type Provider struct {
	OIDC     *oidc.Provider
	Button   string // what its button says
	Password bool   // passwords are taken beside it; else from where operators are only
	// Noted writes down that it let somebody in; that it cannot ends the sign-in. nil: nobody does.
	Noted func(context.Context, auth.Identity, oidc.Person) error
}

// providerPath is the way to it; ProviderBack, where it leads back to, is config.OIDCPath.
const (
	providerPath = "/sign-in/provider"
	ProviderBack = providerPath + "/back"
)

func providerCookie(secure bool) string { return cookieName(secure) + "-provider" }

// openProvider lays the way to the provider; without one there is none.
func (s *Server) openProvider() {
	if s.o.Provider == nil {
		return
	}
	s.sessions.provider = s.o.Provider.OIDC.Stamp()
	s.mux.Handle("GET "+providerPath, s.pages.Handle(s.log, s.toProvider))
	s.mux.Handle("GET "+ProviderBack, s.pages.Handle(s.log, s.fromProvider))
}

// takesPassword tells whether a visitor may sign in with a password.
func (s *Server) takesPassword(v *page.Visit) bool {
	return s.o.Provider == nil || s.o.Provider.Password || s.operatorsPlace(v)
}

// toProvider leads to the provider. The way back leads to one address only, and to the browser's cookie there: who asks at another of our
// names is led there first.
func (s *Server) toProvider(w http.ResponseWriter, r *http.Request) error {
	v := page.VisitOf(r.Context())
	q := r.URL.Query()
	to := q.Get("back")
	if !ours(to) {
		to = ""
	}
	there, err := url.Parse(s.o.Provider.OIDC.Redirect())
	if err != nil {
		return err
	}
	if r.Host != there.Host || v.Secure != (there.Scheme == "https") {
		if q.Has("led") {
			return s.providerFailed(w, r, to, http.StatusServiceUnavailable, "This sign-in works at "+there.Scheme+"://"+there.Host+" only, and that address leads elsewhere. Tell the operator of this server.")
		}
		led := url.URL{Scheme: there.Scheme, Host: there.Host, Path: providerPath, RawQuery: url.Values{"back": {to}, "led": {"1"}}.Encode()}
		http.Redirect(w, r, led.String(), http.StatusSeeOther)
		return nil
	}
	at, secret, err := s.o.Provider.OIDC.Begin(r.Context(), to)
	if err != nil {
		return s.providerRefused(w, r, to, err)
	}
	// Lax: the provider's page leads back here, and Strict would keep the cookie from that.
	http.SetCookie(w, &http.Cookie{
		Name: providerCookie(v.Secure), Value: secret, Path: "/", MaxAge: int(10 * time.Minute / time.Second), Secure: v.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	})
	w.Header().Set("Cache-Control", "no-store")
	http.Redirect(w, r, at, http.StatusSeeOther)
	return nil
}

// fromProvider takes who comes back.
func (s *Server) fromProvider(w http.ResponseWriter, r *http.Request) error {
	v := page.VisitOf(r.Context())
	secret := ""
	if c, err := r.Cookie(providerCookie(v.Secure)); err == nil {
		secret = c.Value
		http.SetCookie(w, forgotten(providerCookie(v.Secure), v.Secure))
	}
	w.Header().Set("Cache-Control", "no-store")
	who, to, err := s.o.Provider.OIDC.Finish(r.Context(), secret, r.URL.Query())
	if err != nil {
		return s.providerRefused(w, r, to, err)
	}
	id, err := s.o.Directory.LoginProvider(r.Context(), s.client(r, v), who.Address, who.Strong)
	if err != nil {
		return s.providerRefused(w, r, to, err)
	}
	if s.o.Provider.Noted != nil {
		by := admin.Actor{Name: id.Main.String(), Door: admin.DoorWeb, Remote: v.From()}
		if err := s.o.Provider.Noted(admin.As(r.Context(), by), id, who); err != nil {
			return err
		}
	}
	by := s.o.Provider.OIDC.Stamp()
	if !who.Strong {
		second, err := s.o.Directory.SecondFactor(r.Context(), id.Account)
		if err != nil {
			return err
		}
		if second.On {
			// Shown at once: a strict cookie does not come with a redirect that begins at another site.
			http.SetCookie(w, s.halves.begin(id, v.Secure, by))
			return s.askCode(w, r, id, page.View{}, to)
		}
	}
	return s.enter(w, r, id, proof{strong: who.Strong, vouched: who.Strong, provider: by}, to)
}

// providerRefused says what went wrong; the log has the reason.
func (s *Server) providerRefused(w http.ResponseWriter, r *http.Request, to string, err error) error {
	status, words := wordsOfProvider(err)
	if words == "" {
		return err
	}
	s.log.WarnContext(r.Context(), logx.WebProviderFailed, "issuer", s.o.Provider.OIDC.Issuer(), "remote", page.VisitOf(r.Context()).From(), "error", err)
	return s.providerFailed(w, r, to, status, words)
}

func (s *Server) providerFailed(w http.ResponseWriter, r *http.Request, to string, status int, words string) error {
	f := page.Filled(nil)
	f.Reject("provider", words)
	return s.showSignIn(w, r, page.View{Status: status, Form: f}, signInPage{Back: to})
}

// wordsOfProvider is what the visitor is told; empty: it is a fault of ours.
func wordsOfProvider(err error) (status int, words string) {
	switch {
	case errors.Is(err, oidc.ErrDown):
		return http.StatusServiceUnavailable, "Your organisation's sign-in cannot be reached now. Try again in a minute."
	case errors.Is(err, oidc.ErrLate):
		return http.StatusBadRequest, "That took too long, or was sent twice, or began in another browser. Please try again."
	case errors.Is(err, oidc.ErrDenied):
		return http.StatusForbidden, "Your organisation's sign-in let nobody in. Please try again."
	case errors.Is(err, oidc.ErrRefused):
		return http.StatusForbidden, "What your organisation's sign-in answered proves nothing here. Please try again; if it stays so, tell the operator of this server."
	case errors.Is(err, oidc.ErrAddress):
		return http.StatusForbidden, "Your organisation's sign-in does not say which mail address is yours, or has not verified it. Verify it there, or ask its operator."
	case errors.Is(err, auth.ErrNoAccount), errors.Is(err, auth.ErrCredentials):
		return http.StatusForbidden, "There is no account here with the mail address that your organisation's sign-in names. Ask the operator of this server."
	case errors.Is(err, auth.ErrDoorClosed):
		return http.StatusForbidden, "This account may not use the web pages. Ask the operator of this server."
	case errors.Is(err, auth.ErrNeedTLS):
		return http.StatusForbidden, "A sign-in is not taken over this connection, because others could read it. Use the address that begins with https."
	}
	return 0, ""
}
