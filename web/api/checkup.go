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
	take(s, "POST /v1/checkup/client", seen, "Tries what a mail program does for an address, and says what fails and who can mend it.", s.o.House.CheckClient)
}

// CheckUp is the verb of the same name.
func (c *Client) CheckUp(ctx context.Context, r admin.CheckupRequest) (check.Report, error) {
	return call[check.Report](ctx, c, http.MethodPost, "/v1/checkup", r)
}

// CheckClient is the verb of the same name.
func (c *Client) CheckClient(ctx context.Context, r admin.ClientCheck) (admin.ClientReport, error) {
	return call[admin.ClientReport](ctx, c, http.MethodPost, "/v1/checkup/client", r)
}
