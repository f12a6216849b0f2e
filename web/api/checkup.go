package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/check"
)

// checkup is what the machine and the domains should be, and whether they are.
func (s *Server) checkup() {
	take(s, "POST /v1/checkup", seen, "Looks at the machine and the domains: what is as it should be, and what to do.", s.o.House.CheckUp)
}

// CheckUp is the verb of the same name.
func (c *Client) CheckUp(ctx context.Context, r admin.CheckupRequest) (check.Report, error) {
	return call[check.Report](ctx, c, http.MethodPost, "/v1/checkup", r)
}
