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
