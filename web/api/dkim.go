package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// dkim is the keys that sign mail of a domain.
func (s *Server) dkim() {
	h := s.o.House
	name(s, "GET /v1/domains/{name}/dkim", seen|directory, "Lists the DKIM keys of a domain, without their private half.", h.DKIMKeys)
	both(s, "POST /v1/domains/{name}/dkim", directory, "Makes a new DKIM key, or takes the next one into use.", h.RotateDKIM)
	s.raw("DELETE /v1/domains/{name}/dkim/{selector}", directory, "Removes a DKIM key that signs no more.").by(func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, struct{}{}, h.RemoveDKIM(r.Context(), r.PathValue("name"), r.PathValue("selector")))
	})
}

func (c *Client) DKIMKeys(ctx context.Context, domain string) ([]admin.DKIMKey, error) {
	return call[[]admin.DKIMKey](ctx, c, http.MethodGet, one("/v1/domains", domain)+"/dkim", nil)
}

func (c *Client) RotateDKIM(ctx context.Context, domain string, r admin.Rotate) ([]admin.DKIMKey, error) {
	return call[[]admin.DKIMKey](ctx, c, http.MethodPost, one("/v1/domains", domain)+"/dkim", r)
}

func (c *Client) RemoveDKIM(ctx context.Context, domain, selector string) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, one("/v1/domains", domain)+"/dkim/"+url.PathEscape(selector), nil)
	return err
}
