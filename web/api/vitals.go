package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// Vitals asks how the house does.
func (c *Client) Vitals(ctx context.Context) (admin.Vitals, error) {
	return call[admin.Vitals](ctx, c, http.MethodGet, "/v1/vitals", nil)
}
