package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// records is what the world must find of a domain.
func (s *Server) records() {
	name(s, "GET /v1/domains/{name}/records", seen|directory, "Lists the DNS records that a domain should have.", s.o.House.DomainRecords)
}

// DomainRecords is the verb of the same name.
func (c *Client) DomainRecords(ctx context.Context, domain string) (admin.Records, error) {
	return call[admin.Records](ctx, c, http.MethodGet, one("/v1/domains", domain)+"/records", nil)
}
