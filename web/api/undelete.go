package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// deleted is the mail that was expunged and is still kept, and the quotas.
func (s *Server) deleted() {
	h := s.o.House
	both(s, "POST /v1/accounts/{name}/deleted", everything, "Lists mail that was deleted and can be brought back.", h.Deleted)
	both(s, "POST /v1/accounts/{name}/undelete", everything, "Brings deleted mail back.", h.Undelete)
	name(s, "POST /v1/accounts/{name}/recount", directory, "Counts again what an account uses.", h.Recount)
	name(s, "GET /v1/domains/{name}/quota", seen|directory, "Shows how much the accounts of a domain may have together.", h.DomainQuota)
	both(s, "PUT /v1/domains/{name}/quota", directory, "Sets how much the accounts of a domain may have together.", h.SetDomainQuota)
}

func (c *Client) Deleted(ctx context.Context, user string, f admin.DeletedFilter) (admin.Deleted, error) {
	return call[admin.Deleted](ctx, c, http.MethodPost, one("/v1/accounts", user)+"/deleted", f)
}

func (c *Client) Undelete(ctx context.Context, user string, in admin.Undelete) (admin.Undeleted, error) {
	return call[admin.Undeleted](ctx, c, http.MethodPost, one("/v1/accounts", user)+"/undelete", in)
}

func (c *Client) Recount(ctx context.Context, user string) (admin.Recounted, error) {
	return call[admin.Recounted](ctx, c, http.MethodPost, one("/v1/accounts", user)+"/recount", nil)
}

func (c *Client) DomainQuota(ctx context.Context, domain string) (admin.DomainQuota, error) {
	return call[admin.DomainQuota](ctx, c, http.MethodGet, one("/v1/domains", domain)+"/quota", nil)
}

func (c *Client) SetDomainQuota(ctx context.Context, domain string, q admin.Amount) (admin.DomainQuota, error) {
	return call[admin.DomainQuota](ctx, c, http.MethodPut, one("/v1/domains", domain)+"/quota", q)
}
