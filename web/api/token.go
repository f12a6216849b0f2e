package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// tokens is the secrets by which programs come to this table, and to the mail.
func (s *Server) tokens() {
	h := s.o.House
	s.raw("GET /v1/tokens", everything, "Lists the tokens of all accounts and of the house, or of one account.").asks("account", "string", "only its tokens").gives([]admin.Token{}).by(
		func(w http.ResponseWriter, r *http.Request) {
			out, err := h.Tokens(r.Context(), r.URL.Query().Get("account"))
			s.answer(w, r, out, err)
		})
	take(s, "POST /v1/tokens", everything, "Makes a token; its secret is told this once.", h.AddToken)
	s.raw("DELETE /v1/tokens/{number}", everything, "Revokes a token; what was opened with it ends.").gives(admin.Token{}).by(
		func(w http.ResponseWriter, r *http.Request) {
			n, err := strconv.ParseUint(r.PathValue("number"), 10, 32)
			if err != nil {
				s.answer(w, r, nil, &admin.Error{Class: admin.Invalid, Message: "a token is named by its number"})
				return
			}
			out, err := h.RemoveToken(r.Context(), "", uint32(n))
			s.answer(w, r, out, err)
		})
}

// own is what the account whose token is shown may do with itself.
func (s *Server) own() {
	h := s.o.House
	mine(s, "GET /v1/me", anyOwn, "Shows the account whose token it is, and what the token may do.", s.me)
	mine(s, "GET /v1/me/masks", ownMasks, "Lists the account's masked addresses.", h.Masks)
	own(s, "POST /v1/me/masks", ownMasks, "Makes a masked address.", h.AddMask)
	own(s, "PATCH /v1/me/masks", ownMasks, "Switches a masked address on or off, removes it, or changes its note.", h.SetMask)
	mine(s, "GET /v1/me/forward", ownAccount, "Shows where the account's mail goes on to.", h.Forwarding)
	own(s, "PUT /v1/me/forward", ownAccount, "Sets where the account's mail goes on to.", h.SetForwarding)
	mine(s, "GET /v1/me/spam", ownAccount, "Shows the account's junk settings.", h.SpamSettings)
	own(s, "PATCH /v1/me/spam", ownAccount, "Changes the account's junk settings.", h.SetSpam)
	mine(s, "GET /v1/me/spam/refused", ownAccount, "Lists mail that was refused as junk, and why.", h.SpamRefused)
	mine(s, "GET /v1/me/spam/senders", ownAccount, "Lists the senders that the account lets in or keeps out.", h.SpamSenders)
	own(s, "PUT /v1/me/spam/senders", ownAccount, "Lets a sender in, or keeps him out.", h.SetSpamSender)
	mine(s, "GET /v1/me/limits", ownAccount|ownSend, "Shows how much the account may send, and has sent.", h.AccountLimits)
	own(s, "POST /v1/me/deleted", ownMail, "Lists mail that was deleted and can be brought back.", h.Deleted)
	own(s, "POST /v1/me/undelete", ownMail, "Brings deleted mail back.", h.Undelete)
}

// Me is the account whose token is shown.
type Me struct {
	admin.Account
	Token  string   `json:"token"` // its name
	Scopes []string `json:"scopes"`
}

func (s *Server) me(ctx context.Context, user string) (Me, error) {
	a, err := s.o.House.Account(ctx, user)
	b, _ := bearerOf(ctx)
	return Me{Account: a, Token: b.Token.Name, Scopes: b.Token.Scopes.Names()}, err
}

// Tokens is the verb of the same name.
func (c *Client) Tokens(ctx context.Context, user string) ([]admin.Token, error) {
	return call[[]admin.Token](ctx, c, http.MethodGet, "/v1/tokens?"+url.Values{"account": {user}}.Encode(), nil)
}

// AddToken is the verb of the same name.
func (c *Client) AddToken(ctx context.Context, in admin.NewToken) (admin.MadeToken, error) {
	return call[admin.MadeToken](ctx, c, http.MethodPost, "/v1/tokens", in)
}

// RemoveToken revokes one of the house's, whosever it is: who speaks over the socket may.
func (c *Client) RemoveToken(ctx context.Context, _ string, number uint32) (admin.Token, error) {
	return call[admin.Token](ctx, c, http.MethodDelete, "/v1/tokens/"+strconv.FormatUint(uint64(number), 10), nil)
}
