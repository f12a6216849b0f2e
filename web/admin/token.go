package admin

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// Token is a secret that a program shows instead of a password, to do what its scopes say.
type Token struct {
	Number  uint32     `json:"number"`
	Account string     `json:"account,omitempty"` // whose it is; empty: the house's
	Name    string     `json:"name"`
	Scopes  []string   `json:"scopes"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty"`
	Expired bool       `json:"expired,omitempty"`
	Last    *LastUse   `json:"last_used,omitempty"`
}

// NewToken is what one is made of. Account empty: one of the house, for operators' programs; Expires nil: never.
type NewToken struct {
	Account string     `json:"account,omitempty"`
	Name    string     `json:"name"`
	Scopes  []string   `json:"scopes"`
	Expires *time.Time `json:"expires,omitempty"`
}

// MadeToken is a new one with its secret, which is told this once.
type MadeToken struct {
	Token
	Secret string `json:"token"`
}

// AddToken makes a token. A page calls it with the account that is signed in.
func (h *House) AddToken(ctx context.Context, in NewToken) (MadeToken, error) {
	t := auth.Token{Name: in.Name}
	var err error
	if t.Scopes, err = auth.ParseScopes(in.Scopes); err != nil {
		return MadeToken{}, translate("token", err)
	}
	if in.Expires != nil {
		t.Expires = *in.Expires
	}
	owner := ""
	if in.Account != "" {
		a, err := h.o.Directory.FindAccount(ctx, in.Account)
		if err != nil {
			return MadeToken{}, translate(in.Account, err)
		}
		t.Account, owner = a.ID, a.Addresses[0].String()
	}
	secret := ""
	err = h.o.DB.Update(ctx, func(tx *kv.Tx) (err error) {
		if t, secret, err = h.o.Directory.AddToken(tx, t); err != nil {
			return err
		}
		return h.noteToken(ctx, tx, "token add", t)
	})
	if err != nil {
		return MadeToken{}, translate("token", err)
	}
	h.done(ctx, "token add", fmt.Sprintf("number %d, %s: %s", t.ID, t.Name, t.Scopes))
	return MadeToken{showToken(t, owner, auth.AppUse{}), secret}, nil
}

// Tokens lists the tokens of an account, or all of the house when user is empty; the newest first.
func (h *House) Tokens(ctx context.Context, user string) ([]Token, error) {
	all, err := h.o.Directory.Tokens(ctx)
	if err != nil {
		return nil, translate("tokens", err)
	}
	if user != "" {
		a, err := h.o.Directory.FindAccount(ctx, user)
		if err != nil {
			return nil, translate(user, err)
		}
		all = slices.DeleteFunc(all, func(t auth.Token) bool { return t.Account != a.ID })
	}
	out := make([]Token, 0, len(all))
	for _, t := range slices.Backward(all) {
		owner := ""
		if t.Account != 0 {
			a, err := h.o.Directory.Account(ctx, t.Account)
			if errors.Is(err, auth.ErrNoAccount) {
				continue // it goes this very moment
			}
			if err != nil {
				return nil, translate("tokens", err)
			}
			owner = a.Addresses[0].String()
		}
		uses, err := h.o.TokenUses.Uses(ctx, t.Account)
		if err != nil {
			return nil, translate("tokens", err)
		}
		out = append(out, showToken(t, owner, uses[t.ID]))
	}
	return out, nil
}

// RemoveToken revokes one; what was opened with it ends. user is whose it has to be; empty: anybody's.
func (h *House) RemoveToken(ctx context.Context, user string, number uint32) (Token, error) {
	all, err := h.Tokens(ctx, user)
	if err != nil {
		return Token{}, err
	}
	i := slices.IndexFunc(all, func(t Token) bool { return t.Number == number })
	if i < 0 {
		return Token{}, missing(fmt.Sprintf("there is no token %d", number))
	}
	err = h.o.DB.Update(ctx, func(tx *kv.Tx) (err error) {
		t, err := h.o.Directory.RemoveToken(tx, number)
		if err != nil {
			return err
		}
		return h.noteToken(ctx, tx, "token remove", t)
	})
	if err != nil {
		return Token{}, translate("token", err)
	}
	h.done(ctx, "token remove", fmt.Sprintf("number %d, %s", number, all[i].Name))
	return all[i], nil
}

// noteToken writes into the audit log what was made or taken back; the secret is nowhere.
func (h *House) noteToken(ctx context.Context, tx *kv.Tx, verb string, t auth.Token) error {
	_, err := h.note(ctx, tx, AuditEntry{
		Verb: verb, Kind: OfOther, Account: uint32(t.Account), Object: fmt.Sprintf("token %d", t.ID), Note: t.Name + ": " + t.Scopes.String(),
	})
	return err
}

func showToken(t auth.Token, owner string, u auth.AppUse) Token {
	out := Token{Number: t.ID, Account: owner, Name: t.Name, Scopes: t.Scopes.Names(), Created: t.Created}
	if !t.Expires.IsZero() {
		out.Expires, out.Expired = &t.Expires, !time.Now().Before(t.Expires)
	}
	if !u.At.IsZero() {
		out.Last = &LastUse{At: u.At, Door: u.Door.String()}
		if u.Remote.IsValid() {
			out.Last.From = u.Remote.String()
		}
	}
	return out
}
