package web

import (
	"context"
	"crypto/tls"
	"embed"
	"encoding/hex"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/page"
)

//go:embed sign-in.html code.html
var pages embed.FS

// front is the first page: the sign-in form, or the first room of who is signed in. A room that needs a sign-in shows the form too,
// and leads back to itself.
func (s *Server) front(w http.ResponseWriter, r *http.Request) error {
	v := page.VisitOf(r.Context())
	if v.SignIn != nil && r.URL.Path == "/" && len(v.Rooms) > 0 {
		http.Redirect(w, r, v.Rooms[0].Path, http.StatusSeeOther)
		return nil
	}
	status := http.StatusOK
	if r.URL.Path != "/" {
		status = http.StatusUnauthorized
	}
	data := signInPage{Back: back(r.URL)}
	if r.Method != http.MethodGet && r.Method != http.MethodHead { // a form was sent: what it is sent to is no page
		data = signInPage{Back: cameFrom(r), Ended: true}
	}
	if _, id, ok := s.half(r); ok && v.SignIn == nil {
		return s.askCode(w, r, id, page.View{Status: status}, data.Back)
	}
	return s.showSignIn(w, r, page.View{Status: status}, data)
}

// showSignIn shows the form, with the ways in that there are for this visitor.
func (s *Server) showSignIn(w http.ResponseWriter, r *http.Request, v page.View, data signInPage) error {
	data.Password = s.takesPassword(page.VisitOf(r.Context()))
	if s.o.Provider != nil {
		data.Provider = s.o.Provider.Button
	}
	v.Page, v.Title, v.Data = "sign-in", "Sign in", data
	s.pages.Render(s.log, w, r, v)
	return nil
}

// signInPage is what the form shows.
type signInPage struct {
	Back  string // where the way leads after it
	User  string
	Ended bool // something was to be done in a session that is over

	Password bool   // it is taken
	Provider string // the name on its button; empty: there is none
}

// back is the page to return to: one of ours, and none that changes something.
func back(u *url.URL) string {
	if u.Path == "/" || u.Path == "" {
		return ""
	}
	return u.RequestURI()
}

// cameFrom is the page of ours on which a form was sent.
func cameFrom(r *http.Request) string {
	u, err := url.Parse(r.Referer())
	if err != nil || u.Host != r.Host {
		return ""
	}
	return back(u)
}

// ours tells whether an address leads to a page of this house.
func ours(to string) bool {
	u, err := url.Parse(to)
	return err == nil && u.Scheme == "" && u.Host == "" && u.User == nil && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") && !strings.Contains(to, `\`)
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "user", "password", "back")
	if err != nil {
		return err
	}
	v := page.VisitOf(r.Context())
	if !s.takesPassword(v) {
		f.Reject("provider", "Passwords are not taken here: use the button.")
		return s.showSignIn(w, r, page.View{Status: http.StatusForbidden, Form: f}, signInPage{Back: f.Value("back")})
	}
	id, err := s.o.Directory.Login(r.Context(), s.client(r, v), f.Value("user"), f.Secret("password"))
	if err != nil {
		return s.refuse(w, r, f, err)
	}
	second, err := s.o.Directory.SecondFactor(r.Context(), id.Account)
	if err != nil {
		return err
	}
	if second.On {
		http.SetCookie(w, s.halves.begin(id, v.Secure, ""))
		to := f.Value("back")
		if !ours(to) {
			to = "/"
		}
		http.Redirect(w, r, to, http.StatusSeeOther) // each page that needs a sign-in asks for the code now
		return nil
	}
	return s.enter(w, r, id, proof{}, f.Value("back"))
}

// client is who asks, as the keeper of accounts judges him.
func (s *Server) client(r *http.Request, v *page.Visit) auth.Client {
	c := auth.Client{Door: auth.DoorWeb, Remote: v.Remote, Name: page.Browser(r.UserAgent()), TLS: r.TLS}
	if c.TLS == nil && (v.Secure || v.Remote.IsLoopback() && !v.Behind) {
		c.TLS = &tls.ConnectionState{} // at the proxy; or it never leaves this machine, where nobody can listen
	}
	return c
}

// proof is what besides a password a session is begun with.
type proof struct {
	strong  bool   // a second factor, or what stands for both
	passkey uint32 // the one that opened it alone; 0: none

	provider string // that opened it; empty: none did
	vouched  bool   // it has asked for the second factor
}

// enter begins a session and leads on.
func (s *Server) enter(w http.ResponseWriter, r *http.Request, id auth.Identity, p proof, to string) error {
	v := page.VisitOf(r.Context())
	c, err := s.sessions.begin(r.Context(), id, kept{
		Seen: s.o.Now(), Agent: r.UserAgent(), Remote: v.Remote, Secure: v.Secure, Strong: p.strong, Passkey: p.passkey, Provider: p.provider, Vouched: p.vouched,
	})
	if err != nil {
		return err
	}
	s.o.Directory.Entered(id, auth.Client{Door: auth.DoorWeb, Remote: v.Remote, Name: page.Browser(r.UserAgent())})
	http.SetCookie(w, c)
	if !ours(to) {
		to = "/"
	}
	http.Redirect(w, r, to, http.StatusSeeOther)
	return nil
}

// refuse shows the form again, with what can be done.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, f *page.Form, err error) error {
	status := http.StatusUnauthorized
	switch {
	case errors.Is(err, auth.ErrCredentials):
		f.Reject("password", "User name and password do not fit together. The user name is your mail address.")
	case errors.Is(err, auth.ErrSlowDown):
		status = http.StatusTooManyRequests
		w.Header().Set("Retry-After", "60")
		f.Reject("password", "Too many wrong passwords: wait a minute, then try again.")
	case errors.Is(err, auth.ErrLater):
		status = http.StatusServiceUnavailable
		w.Header().Set("Retry-After", "60")
		f.Reject("password", "Whether the password is right cannot be known now, because the server that knows it does not answer. Try again in a minute.")
	case errors.Is(err, auth.ErrDoorClosed):
		status = http.StatusForbidden
		f.Reject("user", "This account may not use the web pages. Ask the operator of this server.")
	case errors.Is(err, auth.ErrNeedTLS):
		status = http.StatusForbidden
		f.Reject("password", "A password is not taken over this connection, because others could read it. Use the address that begins with https.")
	default:
		return err
	}
	return s.showSignIn(w, r, page.View{Status: status, Form: f}, signInPage{Back: f.Value("back"), User: f.Value("user")})
}

// Renew gives the visitor of a request a session in place of his own, which a new password ended.
func (s *Server) Renew(w http.ResponseWriter, r *http.Request, id auth.Identity) error {
	v := page.VisitOf(r.Context())
	k := kept{Seen: s.o.Now(), Agent: r.UserAgent(), Remote: v.Remote, Secure: v.Secure}
	if v.SignIn != nil {
		k.Strong, k.Passkey, k.Provider, k.Vouched = v.SignIn.Strong, v.SignIn.Passkey, v.SignIn.Provider, v.SignIn.Vouched
	}
	c, err := s.sessions.begin(r.Context(), id, k)
	if err != nil {
		return err
	}
	http.SetCookie(w, c)
	return nil
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) error {
	v := page.VisitOf(r.Context())
	name := cookieName(v.Secure)
	if c, err := r.Cookie(name); err == nil {
		if t, ok := tokenOf(c.Value); ok {
			if err := s.sessions.end(r.Context(), t.key()); err != nil {
				return err
			}
		}
	}
	http.SetCookie(w, forgotten(name, v.Secure))
	w.Header().Set("Clear-Site-Data", `"cache"`)
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// Sessions lists where an account is signed in, the one used last first.
func (s *Server) Sessions(ctx context.Context, account mail.AccountID) ([]Session, error) {
	return s.sessions.list(ctx, account)
}

// EndSession signs a session out; EndSessions all but one.
func (s *Server) EndSession(ctx context.Context, account mail.AccountID, name string) error {
	key, err := hex.DecodeString(name)
	if err != nil || len(key) != 16 {
		return page.ErrMissing
	}
	return s.sessions.end(ctx, append(accountKey(account), key...))
}

// EndSessions signs all sessions of an account out but the one named.
func (s *Server) EndSessions(ctx context.Context, account mail.AccountID, but string) error {
	own := accountKey(account)
	return s.sessions.side.Update(ctx, func(tx *kv.Tx) error {
		var gone [][]byte
		for key := range tx.Scan(tableSessions, own, following(own)) {
			if hex.EncodeToString(key[4:]) != but {
				gone = append(gone, slices.Clone(key))
			}
		}
		for _, key := range gone {
			tx.Delete(tableSessions, key)
		}
		return nil
	})
}
