package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// appPasswords is the passwords that accounts have for single programs, and the second factor.
func (s *Server) appPasswords() {
	h := s.o.House
	name(s, "GET /v1/accounts/{name}/app-passwords", seen|directory, "Lists the app passwords of an account.", h.AppPasswords)
	both(s, "POST /v1/accounts/{name}/app-passwords", directory, "Makes an app password; it is told this once.", h.AddAppPassword)
	name(s, "GET /v1/accounts/{name}/second-factor", seen|directory, "Tells whether an account has a second factor.", h.SecondFactor)
	name(s, "DELETE /v1/accounts/{name}/second-factor", directory, "Takes the second factor away from an account whose owner has lost it.", h.RemoveSecondFactor)
	s.raw("DELETE /v1/accounts/{name}/app-passwords/{number}", directory, "Takes an app password back.").gives(admin.AppPassword{}).by(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseUint(r.PathValue("number"), 10, 32)
		if err != nil {
			s.answer(w, r, nil, &admin.Error{Class: admin.Invalid, Message: "an app password is named by its number"})
			return
		}
		out, err := h.RemoveAppPassword(r.Context(), r.PathValue("name"), uint32(n))
		s.answer(w, r, out, err)
	})
}

func appsOf(user string) string { return one("/v1/accounts", user) + "/app-passwords" }

func (c *Client) AppPasswords(ctx context.Context, user string) ([]admin.AppPassword, error) {
	return call[[]admin.AppPassword](ctx, c, http.MethodGet, appsOf(user), nil)
}

func (c *Client) AddAppPassword(ctx context.Context, user string, in admin.NewAppPassword) (admin.MadeAppPassword, error) {
	return call[admin.MadeAppPassword](ctx, c, http.MethodPost, appsOf(user), in)
}

func (c *Client) RemoveAppPassword(ctx context.Context, user string, number uint32) (admin.AppPassword, error) {
	return call[admin.AppPassword](ctx, c, http.MethodDelete, appsOf(user)+"/"+strconv.FormatUint(uint64(number), 10), nil)
}

func (c *Client) SecondFactor(ctx context.Context, user string) (admin.SecondFactor, error) {
	return call[admin.SecondFactor](ctx, c, http.MethodGet, one("/v1/accounts", user)+"/second-factor", nil)
}

func (c *Client) RemoveSecondFactor(ctx context.Context, user string) (admin.SecondFactor, error) {
	return call[admin.SecondFactor](ctx, c, http.MethodDelete, one("/v1/accounts", user)+"/second-factor", nil)
}

func (c *Client) SetPasswordHash(ctx context.Context, user, hash string) error {
	_, err := call[none](ctx, c, http.MethodPut, one("/v1/accounts", user)+"/password", password{Hash: hash})
	return err
}
