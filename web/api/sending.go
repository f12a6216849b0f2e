package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// sending is how much may leave, and to whom.
func (s *Server) sending() {
	h := s.o.House
	name(s, "GET /v1/accounts/{name}/limits", h.AccountLimits)
	both(s, "PATCH /v1/accounts/{name}/limits", h.SetAccountLimits)
	both(s, "PUT /v1/accounts/{name}/sending", h.SetSending)
	name(s, "GET /v1/domains/{name}/limits", h.DomainLimits)
	both(s, "PATCH /v1/domains/{name}/limits", h.SetDomainLimits)
	s.mux.HandleFunc("GET /v1/suppressions", func(w http.ResponseWriter, r *http.Request) {
		out, err := h.Suppressions(r.Context(), r.URL.Query().Get("watched") == "1")
		s.answer(w, r, out, err)
	})
	take(s, "PUT /v1/suppressions", h.AddSuppression)
	name(s, "DELETE /v1/suppressions/{name}", nothing(h.RemoveSuppression))
}

func (c *Client) AccountLimits(ctx context.Context, user string) (admin.Sending, error) {
	return call[admin.Sending](ctx, c, http.MethodGet, one("/v1/accounts", user)+"/limits", nil)
}

func (c *Client) SetAccountLimits(ctx context.Context, user string, change admin.SendChange) (admin.Sending, error) {
	return call[admin.Sending](ctx, c, http.MethodPatch, one("/v1/accounts", user)+"/limits", change)
}

func (c *Client) SetSending(ctx context.Context, user string, s admin.SendSwitch) (admin.Sending, error) {
	return call[admin.Sending](ctx, c, http.MethodPut, one("/v1/accounts", user)+"/sending", s)
}

func (c *Client) DomainLimits(ctx context.Context, name string) (admin.Sending, error) {
	return call[admin.Sending](ctx, c, http.MethodGet, one("/v1/domains", name)+"/limits", nil)
}

func (c *Client) SetDomainLimits(ctx context.Context, name string, change admin.SendChange) (admin.Sending, error) {
	return call[admin.Sending](ctx, c, http.MethodPatch, one("/v1/domains", name)+"/limits", change)
}

func (c *Client) Suppressions(ctx context.Context, watched bool) ([]admin.Suppression, error) {
	path := "/v1/suppressions"
	if watched {
		path += "?watched=1"
	}
	return call[[]admin.Suppression](ctx, c, http.MethodGet, path, nil)
}

func (c *Client) AddSuppression(ctx context.Context, in admin.Suppress) (admin.Suppression, error) {
	return call[admin.Suppression](ctx, c, http.MethodPut, "/v1/suppressions", in)
}

func (c *Client) RemoveSuppression(ctx context.Context, address string) error {
	_, err := call[none](ctx, c, http.MethodDelete, one("/v1/suppressions", address), nil)
	return err
}
