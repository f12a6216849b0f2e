package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// pulls is mail that is brought from other servers, in the background.
func (s *Server) pulls() {
	h := s.o.House
	list(s, "GET /v1/pulls", seen, "Lists the imports from other servers.", h.Pulls)
	take(s, "POST /v1/pulls", everything, "Begins to bring mail from another server.", h.StartPull)
	both(s, "POST /v1/pulls/{name}", everything, "Waits a little for news of an import.", func(ctx context.Context, id string, w watch) (admin.PullStatus, error) {
		return h.WatchPull(ctx, id, w.Revision)
	})
	name(s, "DELETE /v1/pulls/{name}", everything, "Ends an import.", nothing(h.StopPull))
}

type watch struct {
	Revision int `json:"revision"`
}

// StartPull begins to bring mail from another server; it goes on when the caller is gone.
func (c *Client) StartPull(ctx context.Context, in admin.Pull) (admin.PullStatus, error) {
	return call[admin.PullStatus](ctx, c, http.MethodPost, "/v1/pulls", in)
}

// WatchPull waits a little for news of it.
func (c *Client) WatchPull(ctx context.Context, id string, revision int) (admin.PullStatus, error) {
	return call[admin.PullStatus](ctx, c, http.MethodPost, one("/v1/pulls", id), watch{revision})
}

// Pulls lists all that run and the last that have ended.
func (c *Client) Pulls(ctx context.Context) ([]admin.PullStatus, error) {
	return call[[]admin.PullStatus](ctx, c, http.MethodGet, "/v1/pulls", nil)
}

// StopPull ends one.
func (c *Client) StopPull(ctx context.Context, id string) error {
	_, err := call[none](ctx, c, http.MethodDelete, one("/v1/pulls", id), nil)
	return err
}
