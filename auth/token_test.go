package auth_test

import (
	"errors"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gosasl "github.com/emersion/go-sasl"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// token makes one, and fails the test where that is refused.
func (h *house) token(in auth.Token) (auth.Token, string) {
	h.t.Helper()
	if in.Name == "" {
		in.Name = "script"
	}
	var t auth.Token
	var secret string
	h.must(func(tx *kv.Tx) (err error) { t, secret, err = h.AddToken(tx, in); return err })
	return t, secret
}

// show tries a token at a door.
func (h *house) show(door auth.Door, user, secret string) error {
	_, err := h.LoginToken(h.t.Context(), over(door, "192.0.2.7"), user, secret, "test")
	return err
}

// TestToken: it opens what its scopes say, for its own account only, until it is revoked.
func TestToken(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("correct horse")
	if got := h.Mechanisms(over(auth.DoorIMAP, "192.0.2.7")); !slices.Equal(got, []string{"PLAIN", "LOGIN"}) {
		t.Errorf("without a token programs are offered %v", got)
	}
	_, masks := h.token(auth.Token{Account: 1, Scopes: auth.ScopeMasks})
	if got := h.Mechanisms(over(auth.DoorIMAP, "192.0.2.7")); len(got) != 2 {
		t.Errorf("with a token that programs cannot use: %v", got)
	}
	made, mail := h.token(auth.Token{Account: 1, Scopes: auth.ScopeMail})
	_, send := h.token(auth.Token{Account: 1, Scopes: auth.ScopeSend})
	if got := strings.Join(h.Mechanisms(over(auth.DoorIMAP, "192.0.2.7")), " "); got != "PLAIN LOGIN OAUTHBEARER XOAUTH2" {
		t.Errorf("with one: %s", got)
	}
	if !regexp.MustCompile("^"+auth.TokenPattern+"$").MatchString(mail) || !auth.IsToken(mail) || auth.IsToken(mail[:len(mail)-1]+"-") {
		t.Errorf("%q has not the form of a token", mail)
	}
	changed := []byte(mail)
	changed[len(auth.TokenPrefix)] ^= 1
	for _, c := range []struct {
		door         auth.Door
		user, secret string
		want         error
	}{
		{auth.DoorIMAP, "alice@alpha.test", mail, nil},
		{auth.DoorPOP3, "", mail, nil},
		{auth.DoorIMAP, "alice.liddell@one.test", mail, nil},
		{auth.DoorSubmission, "alice@alpha.test", mail, auth.ErrDoorClosed},
		{auth.DoorSubmission, "alice@alpha.test", send, nil},
		{auth.DoorIMAP, "alice@alpha.test", send, auth.ErrDoorClosed},
		{auth.DoorIMAP, "alice@alpha.test", masks, auth.ErrDoorClosed},
		{auth.DoorWeb, "", masks, nil},
		{auth.DoorIMAP, "bob@alpha.test", mail, auth.ErrCredentials},
		{auth.DoorIMAP, "nobody@alpha.test", mail, auth.ErrCredentials},
		{auth.DoorIMAP, "alice@alpha.test", string(changed), auth.ErrCredentials},
		{auth.DoorIMAP, "alice@alpha.test", "correct horse", auth.ErrCredentials},
	} {
		if err := h.show(c.door, c.user, c.secret); !errors.Is(err, c.want) {
			t.Errorf("%v as %q: %v, want %v", c.door, c.user, err, c.want)
		}
	}
	if _, err := h.Login(t.Context(), over(auth.DoorIMAP, "192.0.2.7"), "alice", mail); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("a token as a password: %v", err)
	}
	if _, err := h.LoginToken(t.Context(), auth.Client{Door: auth.DoorIMAP, Remote: netip.MustParseAddr("192.0.2.7")}, "", mail, "test"); !errors.Is(err, auth.ErrNeedTLS) {
		t.Errorf("in clear: %v", err)
	}
	b, err := h.LoginToken(t.Context(), over(auth.DoorIMAP, "192.0.2.7"), "", mail, "test")
	if err != nil || b.Identity.Account != 1 || b.Token.ID != made.ID {
		t.Fatalf("%+v, %v", b, err)
	}
	if err := h.Standing(t.Context(), b.Identity, auth.DoorIMAP); err != nil {
		t.Error(err)
	}
	h.must(func(tx *kv.Tx) error { _, err := h.RemoveToken(tx, made.ID); return err })
	if err := h.Standing(t.Context(), b.Identity, auth.DoorIMAP); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("revoked, its session goes on: %v", err)
	}
	if err := h.show(auth.DoorIMAP, "", mail); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("revoked: %v", err)
	}
	if err := h.update(func(tx *kv.Tx) error { _, err := h.RemoveToken(tx, made.ID); return err }); !errors.Is(err, auth.ErrNoToken) {
		t.Error(err)
	}
	if again, _ := h.token(auth.Token{Account: 1, Scopes: auth.ScopeMail}); again.ID <= made.ID {
		t.Errorf("number %d is given twice", again.ID)
	}
	h.must(func(tx *kv.Tx) error { return h.RemoveAccount(tx, 1) })
	if err := h.show(auth.DoorWeb, "", masks); !errors.Is(err, auth.ErrCredentials) {
		t.Errorf("of an account that is gone: %v", err)
	}
	if all, err := h.Tokens(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%v, %v", all, err)
	}
}

// TestTokenScopes: who may give what.
func TestTokenScopes(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	operator := func(on bool) {
		h.must(func(tx *kv.Tx) error {
			return h.Configure(tx, 2, func(s *auth.AccountSettings) error { s.Operator = on; return nil })
		})
	}
	operator(true)
	for name, in := range map[string]auth.Token{
		"no scope":               {Account: 1},
		"unknown scope":          {Account: 1, Scopes: 1 << 30},
		"operator's by a user":   {Account: 1, Scopes: auth.ScopeRead},
		"mail without account":   {Scopes: auth.ScopeMail},
		"no such account":        {Account: 9, Scopes: auth.ScopeMail},
		"name":                   {Account: 1, Scopes: auth.ScopeMail, Name: "a\x00"},
		"has expired already":    {Account: 1, Scopes: auth.ScopeMail, Expires: time.Now().Add(-time.Hour)},
		"mail with the operator": {Scopes: auth.ScopeMail | auth.ScopeEverything},
	} {
		if in.Name == "" {
			in.Name = "x"
		}
		if err := h.update(func(tx *kv.Tx) error { _, _, err := h.AddToken(tx, in); return err }); err == nil {
			t.Errorf("%s: taken", name)
		}
	}
	_, house := h.token(auth.Token{Scopes: auth.ScopeRead})
	_, own := h.token(auth.Token{Account: 2, Scopes: auth.ScopeEverything | auth.ScopeMail})
	if err := errors.Join(h.show(auth.DoorWeb, "", house), h.show(auth.DoorWeb, "", own)); err != nil {
		t.Fatal(err)
	}
	if err := h.show(auth.DoorIMAP, "", house); !errors.Is(err, auth.ErrDoorClosed) {
		t.Errorf("the house has no mail: %v", err)
	}
	if operator(false); h.show(auth.DoorWeb, "", own) == nil {
		t.Error("no operator any more, and the token works")
	}
	for i := 0; ; i++ {
		if i > auth.MaxTokens {
			t.Fatal("no end of tokens")
		}
		if h.update(func(tx *kv.Tx) error {
			_, _, err := h.AddToken(tx, auth.Token{Account: 1, Name: "x", Scopes: auth.ScopeMail})
			return err
		}) != nil {
			break
		}
	}
	if s, err := auth.ParseScopes([]string{"Mail", " queue"}); err != nil || s != auth.ScopeMail|auth.ScopeQueue || s.String() != "mail queue" {
		t.Errorf("%v, %v", s, err)
	}
	if _, err := auth.ParseScopes([]string{"root"}); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Error(err)
	}
}

// TestTokenEnds: at its end a token opens nothing, and what it opened is rung for.
func TestTokenEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHouse(t, auth.Options{})
		h.people("")
		_, secret := h.token(auth.Token{Account: 1, Scopes: auth.ScopeMail, Expires: time.Now().Add(time.Hour)})
		b, err := h.LoginToken(t.Context(), over(auth.DoorIMAP, "192.0.2.7"), "", secret, "test")
		if err != nil {
			t.Fatal(err)
		}
		rung := 0
		defer h.Watch(func(mail.AccountID) { rung++ })()
		time.Sleep(2 * time.Hour)
		synctest.Wait()
		if rung != 1 {
			t.Errorf("rung %d times", rung)
		}
		if err := h.Standing(t.Context(), b.Identity, auth.DoorIMAP); !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("expired: %v", err)
		}
	})
}

// TestTokenUse: the last use is noted, where and when.
func TestTokenUse(t *testing.T) {
	side, err := kv.OpenSide(kv.SideOptions{Path: filepath.Join(t.TempDir(), "side.db")})
	if err != nil {
		t.Fatal(err)
	}
	defer side.Close()
	book := auth.NewTokenBook(side)
	h := newHouse(t, auth.Options{TokenUses: book})
	h.people("")
	made, secret := h.token(auth.Token{Account: 1, Scopes: auth.ScopeMail})
	if err := errors.Join(h.show(auth.DoorIMAP, "", secret), side.Flush(t.Context())); err != nil {
		t.Fatal(err)
	}
	all, err := book.Uses(t.Context(), 1)
	if u := all[made.ID]; err != nil || u.Door != auth.DoorIMAP || u.Remote.String() != "192.0.2.7" {
		t.Errorf("%+v, %v", all, err)
	}
}

// TestTokenMechanisms: both of them end in a login, and a wrong token is told before the exchange fails.
func TestTokenMechanisms(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("")
	if _, err := h.SASL(t.Context(), over(auth.DoorIMAP, "192.0.2.7"), "XOAUTH2", nil); !errors.Is(err, auth.ErrMechanism) {
		t.Errorf("without any token: %v", err)
	}
	_, secret := h.token(auth.Token{Account: 1, Scopes: auth.ScopeMail})
	for mechanism, message := range map[string]string{
		"OAUTHBEARER": "n,a=alice@alpha.test,\x01auth=Bearer TOKEN\x01\x01",
		"XOAUTH2":     "user=alice@alpha.test\x01auth=Bearer TOKEN\x01\x01",
	} {
		var id auth.Identity
		begin := func() gosasl.Server {
			m, err := h.SASL(t.Context(), over(auth.DoorIMAP, "192.0.2.7"), mechanism, func(got auth.Identity) { id = got })
			if err != nil {
				t.Fatal(err)
			}
			return m
		}
		if _, done, err := begin().Next([]byte(strings.Replace(message, "TOKEN", secret, 1))); err != nil || !done || id.Account != 1 || id.Mechanism != mechanism {
			t.Errorf("%s: %+v, %v", mechanism, id, err)
		}
		id = auth.Identity{}
		m := begin()
		if challenge, done, err := m.Next([]byte(strings.Replace(message, "TOKEN", "wrong", 1))); err != nil || done || !strings.Contains(string(challenge), "status") {
			t.Errorf("%s: %q, %v", mechanism, challenge, err)
		}
		if _, done, err := m.Next([]byte{1}); done || !errors.Is(err, auth.ErrCredentials) || id.Account != 0 {
			t.Errorf("%s: %v", mechanism, err)
		}
	}
}

// TestWrongTokensShutNobodyOut: a page of another site has its visitors' browsers show wrong tokens, and they read their mail all the same.
func TestWrongTokensShutNobodyOut(t *testing.T) {
	h := newHouse(t, auth.Options{})
	h.people("correct horse")
	for i := range 9 {
		if err := h.show(auth.DoorWeb, "", strings.Repeat("x", i+1)); !errors.Is(err, auth.ErrCredentials) {
			t.Errorf("wrong token %d: %v", i, err)
		}
	}
	if _, err := h.Login(t.Context(), over(auth.DoorIMAP, "192.0.2.7"), "alice@alpha.test", "correct horse"); err != nil {
		t.Errorf("the password from the same address: %v", err)
	}
}
