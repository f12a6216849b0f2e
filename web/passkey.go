package web

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/auth/passkey"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/page"
)

// passkeysAt is where a browser thinks it is, when passkeys may be made and used there: names of this house over TLS, and
// localhost, which browsers take for safe in clear. A passkey belongs to one host: who asks by another name has none.
func (s *Server) passkeysAt(r *http.Request, v *page.Visit) passkey.Where {
	host := strings.ToLower(hostOnly(r.Host))
	if host == "" || len(host) > 253 || strings.HasSuffix(host, ".") { // RFC 1035 section 2.3.4
		return passkey.Where{}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return passkey.Where{} // WebAuthn section 5.1.3: only names
	}
	local := host == "localhost" || strings.HasSuffix(host, ".localhost")
	if !local && (!v.Secure || !s.named(r, host)) {
		return passkey.Where{}
	}
	if v.Secure {
		return passkey.Where{Host: host, Origin: "https://" + strings.TrimSuffix(strings.ToLower(r.Host), ":443")}
	}
	return passkey.Where{Host: host, Origin: "http://" + strings.TrimSuffix(strings.ToLower(r.Host), ":80")}
}

// named tells whether a host is this house's, or stands in a domain of ours.
func (s *Server) named(r *http.Request, host string) bool {
	if strings.EqualFold(host, s.o.Hostname) {
		return true
	}
	for name, more := host, true; more; _, name, more = strings.Cut(name, ".") {
		if ours, err := s.o.Directory.IsLocal(r.Context(), mail.Domain(name)); err == nil && ours {
			return true
		}
	}
	return false
}

func passkeyCookie(secure bool) string { return cookieName(secure) + "-passkey" }

// asking is what a question to who is not signed in is bound to: a cookie, which is made when there is none.
func (s *Server) asking(w http.ResponseWriter, r *http.Request, v *page.Visit) (bound string, asked bool) {
	name := passkeyCookie(v.Secure)
	if c, err := r.Cookie(name); err == nil && len(c.Value) == 43 {
		return "visitor " + c.Value, true
	}
	var secret [32]byte
	_, _ = rand.Read(secret[:]) // never fails (crypto/rand)
	value := base64.RawURLEncoding.EncodeToString(secret[:])
	http.SetCookie(w, &http.Cookie{
		Name: name, Value: value, Path: "/", MaxAge: int(time.Hour / time.Second), Secure: v.Secure, HttpOnly: true, SameSite: http.SameSiteStrictMode,
	})
	return "visitor " + value, false
}

// askPasskey is the question for a passkey in place of everything else, for the script of the sign-in form.
func (s *Server) askPasskey(w http.ResponseWriter, r *http.Request) error {
	v := page.VisitOf(r.Context())
	bound, _ := s.asking(w, r, v)
	question, err := s.o.Directory.AskPasskey(v.At, bound)
	words := wordsOfPasskey(err)
	if err != nil && words == "" {
		return err
	}
	page.Question(w, question, words)
	return nil
}

// usePasskey signs in with the answer.
func (s *Server) usePasskey(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "credential", "back")
	if err != nil {
		return err
	}
	v := page.VisitOf(r.Context())
	bound, asked := s.asking(w, r, v)
	if !asked {
		return s.again(w, r, f, wordsOfPasskey(passkey.ErrLate))
	}
	id, number, err := s.o.Directory.LoginPasskey(r.Context(), s.client(r, v), v.At, bound, f.Value("credential"))
	if words := wordsOfPasskey(err); words != "" {
		return s.again(w, r, f, words)
	}
	if err != nil {
		return err
	}
	http.SetCookie(w, forgotten(passkeyCookie(v.Secure), v.Secure))
	return s.enter(w, r, id, proof{strong: true, passkey: number}, f.Value("back"))
}

// again shows the sign-in form with what was wrong with a passkey.
func (s *Server) again(w http.ResponseWriter, r *http.Request, f *page.Form, words string) error {
	f.Reject("passkey", words)
	return s.showSignIn(w, r, page.View{Status: http.StatusUnauthorized, Form: f}, signInPage{Back: f.Value("back")})
}

// boundHalf is what a question for a second factor is bound to.
func boundHalf(key [sha256.Size]byte) string { return "half " + hex.EncodeToString(key[:]) }

// askSecond is the question for a passkey after the password.
func (s *Server) askSecond(w http.ResponseWriter, r *http.Request) error {
	v := page.VisitOf(r.Context())
	key, id, ok := s.half(r)
	if !ok {
		page.Question(w, nil, tooLate)
		return nil
	}
	question, err := s.o.Directory.AskSecondPasskey(r.Context(), id.Account, v.At, boundHalf(key))
	words := wordsOfPasskey(err)
	if err != nil && words == "" {
		return err
	}
	page.Question(w, question, words)
	return nil
}

// proveSecond ends the second half of a sign-in with a passkey.
func (s *Server) proveSecond(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "credential", "back")
	if err != nil {
		return err
	}
	v := page.VisitOf(r.Context())
	key, id, ok := s.half(r)
	if !ok {
		return s.startOver(w, r, f, tooLate)
	}
	err = s.o.Directory.ProvePasskey(r.Context(), id.Account, v.At, boundHalf(key), f.Value("credential"))
	if words := wordsOfPasskey(err); words != "" {
		if s.halves.wrong(key) {
			return s.startOver(w, r, f, "Too many tries: please enter your password again.")
		}
		f.Reject("passkey", words)
		return s.askCode(w, r, id, page.View{Form: f, Status: http.StatusUnauthorized}, f.Value("back"))
	}
	if err != nil {
		return err
	}
	return s.finish(w, r, key, id, f)
}

// wordsOfPasskey is what is wrong with a passkey, for its owner; empty: nothing, or nothing of his.
func wordsOfPasskey(err error) string {
	switch {
	case errors.Is(err, passkey.ErrLate):
		return "That took too long, or was sent twice. Please try again."
	case errors.Is(err, passkey.ErrUnknown):
		return "This passkey opens no account here; it may have been removed. Sign in with your password, and make a new one."
	case errors.Is(err, passkey.ErrUnverified):
		return "Your device did not ask for your finger, face or PIN. Give it one in its settings, or sign in with your password."
	case errors.Is(err, passkey.ErrCopied):
		return "Somebody has used a copy of this passkey, so it is not taken any more. Sign in with your password, remove it, and look at your sign-ins."
	case errors.Is(err, passkey.ErrRefused):
		return "What your device answered proves nothing here. Please try again, or sign in with your password."
	case errors.Is(err, passkey.ErrNowhere):
		return "Passkeys cannot be used at this address. Use the name of this server, with https."
	case errors.Is(err, auth.ErrDoorClosed):
		return "This account may not use the web pages. Ask the operator of this server."
	case errors.Is(err, auth.ErrNeedTLS):
		return "A sign-in is not taken over this connection, because others could read it. Use the address that begins with https."
	}
	return ""
}
