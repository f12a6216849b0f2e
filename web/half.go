package web

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/page"
)

// A half session is what a password gives where a second factor is asked for: it opens the page that asks for the code, and nothing
// else. It is kept in memory only; who is half way in when the house restarts types the password again.
const (
	halfLife  = 10 * time.Minute
	maxHalves = 4096
	maxCodes  = 10 // wrong codes of one half session
)

// half is one, by the hash of the secret in its cookie.
type half struct {
	id     auth.Identity
	begun  time.Time
	secure bool
	wrong  int

	provider string // that opened it instead of a password
}

type halves struct {
	now func() time.Time

	mu  sync.Mutex
	all map[[32]byte]*half // guarded by mu
}

func halfCookie(secure bool) string { return cookieName(secure) + "-half" }

// begin makes one and its cookie.
func (h *halves) begin(id auth.Identity, secure bool, provider string) *http.Cookie {
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	now := h.now()
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.all == nil {
		h.all = make(map[[32]byte]*half)
	}
	if len(h.all) >= maxHalves {
		h.makeRoom(now)
	}
	h.all[sha256.Sum256(secret[:])] = &half{id: id, begun: now, secure: secure, provider: provider}
	return &http.Cookie{
		Name: halfCookie(secure), Value: base64.RawURLEncoding.EncodeToString(secret[:]), Path: "/", MaxAge: int(halfLife / time.Second),
		Secure: secure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	}
}

// makeRoom forgets those that are over, or all but any when none is: they cost a password each.
func (h *halves) makeRoom(now time.Time) {
	var any [32]byte
	for key, x := range h.all {
		if any = key; now.Sub(x.begun) > halfLife {
			delete(h.all, key)
		}
	}
	if len(h.all) >= maxHalves {
		delete(h.all, any)
	}
}

// of is the half session of a request; ok is false when it has none.
func (h *halves) of(r *http.Request, secure bool) (key [32]byte, id auth.Identity, ok bool) {
	c, err := r.Cookie(halfCookie(secure))
	if err != nil {
		return key, id, false
	}
	secret, err := base64.RawURLEncoding.DecodeString(c.Value)
	if err != nil || len(secret) != 32 {
		return key, id, false
	}
	key = sha256.Sum256(secret)
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.all[key]
	if x == nil || x.secure != secure || h.now().Sub(x.begun) > halfLife {
		delete(h.all, key)
		return key, id, false
	}
	return key, x.id, true
}

// tooLate is what is said of a half session that is over.
const tooLate = "It took too long, or the account has changed meanwhile: please enter your password again."

// half is that of a request, whose account stands as it did when the password was typed: not gone, not suspended, with the same password.
func (s *Server) half(r *http.Request) (key [32]byte, id auth.Identity, ok bool) {
	key, id, ok = s.halves.of(r, page.VisitOf(r.Context()).Secure)
	if ok && ended(s.o.Directory.Standing(r.Context(), id, auth.DoorWeb)) {
		s.halves.end(key)
		ok = false
	}
	return key, id, ok
}

func (h *halves) end(key [32]byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.all, key)
}

// provider is what opened a half session instead of a password.
func (h *halves) provider(key [32]byte) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x := h.all[key]; x != nil {
		return x.provider
	}
	return ""
}

// wrong counts a wrong code; ended tells that it was one too many.
func (h *halves) wrong(key [32]byte) (ended bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x := h.all[key]
	if x == nil {
		return true
	}
	if x.wrong++; x.wrong >= maxCodes {
		delete(h.all, key)
		return true
	}
	return false
}

// enterCode is what the page that asks for the code shows.
type enterCode struct {
	Back          string
	User          string
	Authenticator bool // its codes do; else recovery codes only
	Passkeys      bool // the account has some that work here
}

// askCode shows that page.
func (s *Server) askCode(w http.ResponseWriter, r *http.Request, id auth.Identity, v page.View, to string) error {
	second, err := s.o.Directory.SecondFactor(r.Context(), id.Account)
	if err != nil {
		return err
	}
	visit := page.VisitOf(r.Context())
	keys, err := s.o.Directory.Passkeys(r.Context(), id.Account)
	if err != nil {
		return err
	}
	here := slices.ContainsFunc(keys, func(k auth.Passkey) bool { return k.Host == visit.At.Host })
	v.Page, v.Title, v.Data = "code", "Second factor", enterCode{Back: to, User: id.Main.String(), Authenticator: second.Authenticator, Passkeys: here}
	s.pages.Render(s.log, w, r, v)
	return nil
}

// proveCode is the second half of a sign-in.
func (s *Server) proveCode(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "code", "back")
	if err != nil {
		return err
	}
	key, id, ok := s.half(r)
	if !ok {
		return s.startOver(w, r, f, tooLate)
	}
	err = s.o.Directory.ProveFactor(r.Context(), id.Account, f.Value("code"))
	switch {
	case errors.Is(err, auth.ErrCode):
		if s.halves.wrong(key) {
			return s.startOver(w, r, f, "Too many wrong codes: please enter your password again.")
		}
		f.Reject("code", "This is not a code that is valid now. Wait for the next one, and see that the clock of the device is right.")
		return s.askCode(w, r, id, page.View{Form: f, Status: http.StatusUnauthorized}, f.Value("back"))
	case errors.Is(err, auth.ErrSlowDown):
		w.Header().Set("Retry-After", "60")
		f.Reject("code", "Too many wrong codes: wait some minutes, or use a recovery code.")
		return s.askCode(w, r, id, page.View{Form: f, Status: http.StatusTooManyRequests}, f.Value("back"))
	case err != nil:
		return err
	}
	return s.finish(w, r, key, id, f)
}

// finish makes a session of a half one.
func (s *Server) finish(w http.ResponseWriter, r *http.Request, key [sha256.Size]byte, id auth.Identity, f *page.Form) error {
	v := page.VisitOf(r.Context())
	by := s.halves.provider(key)
	s.halves.end(key)
	http.SetCookie(w, forgotten(halfCookie(v.Secure), v.Secure))
	err := s.enter(w, r, id, proof{strong: true, provider: by}, f.Value("back"))
	if errors.Is(err, auth.ErrCredentials) || errors.Is(err, auth.ErrDoorClosed) || errors.Is(err, auth.ErrNoAccount) {
		return s.startOver(w, r, f, "The account has changed meanwhile: please sign in again.")
	}
	return err
}

// startOver shows the sign-in form with a reason.
func (s *Server) startOver(w http.ResponseWriter, r *http.Request, f *page.Form, why string) error {
	f.Reject("password", why)
	return s.showSignIn(w, r, page.View{Status: http.StatusUnauthorized, Form: f}, signInPage{Back: f.Value("back")})
}

// leaveHalf is the way back from the code to another password.
func (s *Server) leaveHalf(w http.ResponseWriter, r *http.Request) error {
	v := page.VisitOf(r.Context())
	if key, _, ok := s.half(r); ok {
		s.halves.end(key)
	}
	http.SetCookie(w, forgotten(halfCookie(v.Secure), v.Secure))
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

// forgotten takes a cookie away.
func forgotten(name string, secure bool) *http.Cookie {
	return &http.Cookie{Name: name, Path: "/", MaxAge: -1, Secure: secure, HttpOnly: true, SameSite: http.SameSiteLaxMode}
}
