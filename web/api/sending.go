package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// sending is how much may leave, and to whom.
func (s *Server) sending() {
	h := s.o.House
	name(s, "GET /v1/accounts/{name}/limits", seen|directory, "Shows how much an account may send.", h.AccountLimits)
	both(s, "PATCH /v1/accounts/{name}/limits", directory, "Changes how much an account may send.", h.SetAccountLimits)
	both(s, "PUT /v1/accounts/{name}/sending", directory, "Keeps an account from sending, or lets it send again.", h.SetSending)
	name(s, "GET /v1/domains/{name}/limits", seen|directory, "Shows how much a domain may send.", h.DomainLimits)
	both(s, "PATCH /v1/domains/{name}/limits", directory, "Changes how much a domain may send.", h.SetDomainLimits)
	s.raw("GET /v1/suppressions", seen|queue, "Lists the addresses that nothing is sent to.").asks("watched", "string", "1: those too that are only watched").gives([]admin.Suppression{}).by(func(w http.ResponseWriter, r *http.Request) {
		out, err := h.Suppressions(r.Context(), r.URL.Query().Get("watched") == "1")
		s.answer(w, r, out, err)
	})
	take(s, "PUT /v1/suppressions", queue, "Adds an address that nothing is sent to.", h.AddSuppression)
	name(s, "DELETE /v1/suppressions/{name}", queue, "Lets mail to an address leave again.", nothing(h.RemoveSuppression))
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
