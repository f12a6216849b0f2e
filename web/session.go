package web

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
	"github.com/posthouse-mail/posthouse/web/page"
)

// tableSessions of side.db: account u32 | name 16 -> kept. The name is a hash of the secret in the cookie, so that who reads the file
// can sign in as nobody.
const tableSessions kv.Table = "E"

// Bounds of a session.
const (
	maxSessions = 50                  // of one account; the one unused for the longest time makes room
	longest     = 90 * 24 * time.Hour // whatever happens, a password is asked for after it
	noteEvery   = time.Minute         // how exactly it is known when a session was used last
	maxAgent    = 200                 // octets of what a browser calls itself
)

// The cookie over TLS has a name that browsers take from this host over TLS only.
const (
	cookieSecure = "__Host-posthouse"
	cookieClear  = "posthouse"
)

// kept is a session as it is stored.
type kept struct {
	Stamp   string     `json:"stamp"` // auth.Directory.Stamp
	Created time.Time  `json:"created"`
	Seen    time.Time  `json:"seen"`
	Agent   string     `json:"agent,omitempty"`
	Remote  netip.Addr `json:"remote"`
	Strong  bool       `json:"strong,omitempty"`
	Secure  bool       `json:"secure,omitempty"`
	Passkey uint32     `json:"passkey,omitempty"` // the passkey that opened it alone: without it the session is over

	Provider string `json:"provider,omitempty"` // the provider that opened it, oidc.Provider.Stamp: with another one the session is over
	Vouched  bool   `json:"vouched,omitempty"`  // it is strong because the provider says so
}

// Session is one sign-in as its owner sees it.
type Session struct {
	Name    string // for Directory.End; no secret
	Created time.Time
	Seen    time.Time
	Agent   string
	Remote  netip.Addr
	Strong  bool
}

// sessions keeps who is signed in, over restarts.
type sessions struct {
	side      *kv.Side
	directory *auth.Directory
	now       func() time.Time
	idle      time.Duration
	provider  string // oidc.Provider.Stamp; empty: there is none
}

// token is the value of a cookie: account u32 | secret 32.
type token [36]byte

func (t token) account() mail.AccountID { return mail.AccountID(binary.BigEndian.Uint32(t[:4])) }
func (t token) key() []byte {
	sum := sha256.Sum256(t[4:])
	return append(slices.Clone(t[:4]), sum[:16]...)
}

// tokenOf reads a cookie; ok is false for anything that we did not make.
func tokenOf(value string) (t token, ok bool) {
	p, err := base64.RawURLEncoding.DecodeString(value)
	if err != nil || len(p) != len(t) {
		return t, false
	}
	return token(p), true
}

func cookieName(secure bool) string {
	if secure {
		return cookieSecure
	}
	return cookieClear
}

// find is who is signed in with the request's cookie; nil: nobody. An error is one of the disk.
func (s *sessions) find(r *http.Request, secure bool) (*page.SignIn, error) {
	c, err := r.Cookie(cookieName(secure))
	if err != nil {
		return nil, nil
	}
	t, ok := tokenOf(c.Value)
	if !ok {
		return nil, nil
	}
	var k kept
	found := false
	err = s.side.View(r.Context(), func(tx *kv.Tx) error {
		if v := tx.Get(tableSessions, t.key()); v != nil {
			found = json.Unmarshal(v, &k) == nil
		}
		return nil
	})
	if err != nil || !found {
		return nil, err
	}
	now := s.now()
	if now.Sub(k.Seen) > s.idle || now.Sub(k.Created) > longest || k.Secure != secure {
		return nil, s.end(r.Context(), t.key())
	}
	if k.Provider != "" && k.Provider != s.provider {
		return nil, s.end(r.Context(), t.key())
	}
	id, err := s.directory.Resume(r.Context(), t.account(), k.Stamp, auth.DoorWeb)
	switch {
	case ended(err):
		return nil, s.end(r.Context(), t.key())
	case err != nil:
		return nil, err
	}
	second, err := s.directory.SecondFactor(r.Context(), id.Account)
	if err != nil {
		return nil, err
	}
	if second.On && !k.Strong { // begun before there was one
		return nil, s.end(r.Context(), t.key())
	}
	if k.Passkey != 0 {
		there, err := s.directory.HasPasskey(r.Context(), id.Account, k.Passkey)
		if err != nil {
			return nil, err
		}
		if !there {
			return nil, s.end(r.Context(), t.key())
		}
	}
	k.Strong = k.Strong && (second.On || k.Passkey != 0 || k.Vouched)
	if now.Sub(k.Seen) > noteEvery {
		s.used(t, r, now)
	}
	return s.signIn(r.Context(), id, t, k)
}

// ended: what Resume says of a session that is over.
func ended(err error) bool {
	return errors.Is(err, auth.ErrNoAccount) || errors.Is(err, auth.ErrDoorClosed) || errors.Is(err, auth.ErrCredentials)
}

// signIn is the value that rooms see.
func (s *sessions) signIn(ctx context.Context, id auth.Identity, t token, k kept) (*page.SignIn, error) {
	who, err := s.directory.Account(ctx, id.Account)
	if err != nil {
		return nil, err
	}
	set, err := s.directory.Settings(ctx, id.Account)
	if err != nil {
		return nil, err
	}
	return &page.SignIn{
		Identity: id, Name: cmp.Or(who.Name, id.Main.String()), Admin: set.Operator, Strong: k.Strong, Passkey: k.Passkey, Provider: k.Provider, Vouched: k.Vouched, Session: hex.EncodeToString(t.key()[4:]),
	}, nil
}

// used notes that a session was used now; losing that costs nothing.
func (s *sessions) used(t token, r *http.Request, now time.Time) {
	agent := clip(r.UserAgent())
	s.side.Later(func(tx *kv.Tx) error {
		v := tx.Get(tableSessions, t.key())
		var k kept
		if v == nil || json.Unmarshal(v, &k) != nil {
			return nil // it was ended meanwhile
		}
		k.Seen, k.Agent = now, agent
		return put(tx, t.key(), k)
	})
}

func put(tx *kv.Tx, key []byte, k kept) error {
	v, err := json.Marshal(k)
	if err == nil {
		tx.Put(tableSessions, key, v)
	}
	return err
}

// begin makes a session and its cookie.
func (s *sessions) begin(ctx context.Context, id auth.Identity, k kept) (*http.Cookie, error) {
	stamp, err := s.directory.Stamp(ctx, id, auth.DoorWeb)
	if err != nil {
		return nil, err
	}
	var t token
	binary.BigEndian.PutUint32(t[:4], uint32(id.Account))
	_, _ = rand.Read(t[4:]) // never fails (crypto/rand)
	k.Stamp, k.Created, k.Agent = stamp, k.Seen, clip(k.Agent)
	err = s.side.Update(ctx, func(tx *kv.Tx) error {
		s.makeRoom(tx, t[:4])
		return put(tx, t.key(), k)
	})
	if err != nil {
		return nil, err
	}
	return &http.Cookie{
		Name: cookieName(k.Secure), Value: base64.RawURLEncoding.EncodeToString(t[:]), Path: "/", MaxAge: int(longest / time.Second),
		Secure: k.Secure, HttpOnly: true, SameSite: http.SameSiteLaxMode,
	}, nil
}

// makeRoom ends what is too old, and the one unused for the longest time where there are too many.
func (s *sessions) makeRoom(tx *kv.Tx, account []byte) {
	type row struct {
		key  []byte
		seen time.Time
	}
	var all []row
	now := s.now()
	for key, v := range tx.Scan(tableSessions, account, following(account)) {
		var k kept
		if json.Unmarshal(v, &k) != nil || now.Sub(k.Seen) > s.idle || now.Sub(k.Created) > longest {
			k.Seen = time.Time{}
		}
		all = append(all, row{slices.Clone(key), k.Seen})
	}
	slices.SortFunc(all, func(a, b row) int { return a.seen.Compare(b.seen) })
	for i, x := range all {
		if !x.seen.IsZero() && len(all)-i < maxSessions {
			break
		}
		tx.Delete(tableSessions, x.key)
	}
}

// following is the first key behind those that begin with an account.
func following(account []byte) []byte {
	next := slices.Clone(account)
	binary.BigEndian.PutUint32(next, binary.BigEndian.Uint32(next)+1) // account ids never reach the last number
	return next
}

// list is the sessions of an account, the one used last first.
func (s *sessions) list(ctx context.Context, account mail.AccountID) (all []Session, err error) {
	own := accountKey(account)
	err = s.side.View(ctx, func(tx *kv.Tx) error {
		for key, v := range tx.Scan(tableSessions, own, following(own)) {
			var k kept
			if json.Unmarshal(v, &k) != nil || s.now().Sub(k.Seen) > s.idle || s.now().Sub(k.Created) > longest {
				continue
			}
			// A new password has ended those that were begun with the one before.
			_, err := s.directory.Resume(ctx, account, k.Stamp, auth.DoorWeb)
			switch {
			case ended(err):
				continue
			case err != nil:
				return err
			}
			all = append(all, Session{hex.EncodeToString(key[4:]), k.Created, k.Seen, k.Agent, k.Remote, k.Strong})
		}
		return nil
	})
	slices.SortFunc(all, func(a, b Session) int { return b.Seen.Compare(a.Seen) })
	return all, err
}

func accountKey(account mail.AccountID) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(account))
}

func (s *sessions) end(ctx context.Context, key []byte) error {
	return s.side.Update(ctx, func(tx *kv.Tx) error {
		tx.Delete(tableSessions, key)
		return nil
	})
}

// clip bounds what a browser calls itself.
func clip(agent string) string {
	return strings.ToValidUTF8(agent[:min(len(agent), maxAgent)], "")
}
