package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// webhooks is who is told of events.
func (s *Server) webhooks() {
	h := s.o.House
	list(s, "GET /v1/webhooks", everything, "Lists the webhooks, and how they do.", h.Webhooks)
	take(s, "POST /v1/webhooks", everything, "Makes a webhook; its secret is told this once.", h.AddWebhook)
	name(s, "DELETE /v1/webhooks/{name}", everything, "Removes a webhook with what waits for it.", nothing(h.RemoveWebhook))
	name(s, "POST /v1/webhooks/{name}/secret", everything, "Gives a webhook a new secret, which is told this once; for a day the former one signs too.", h.RotateWebhook)
	name(s, "POST /v1/webhooks/{name}/test", everything, "Sends a webhook a test event, now.", h.TestWebhook)
}

// Webhooks is the verb of the same name.
func (c *Client) Webhooks(ctx context.Context) ([]admin.Webhook, error) {
	return call[[]admin.Webhook](ctx, c, http.MethodGet, "/v1/webhooks", nil)
}

// AddWebhook is the verb of the same name.
func (c *Client) AddWebhook(ctx context.Context, in admin.NewWebhook) (admin.MadeWebhook, error) {
	return call[admin.MadeWebhook](ctx, c, http.MethodPost, "/v1/webhooks", in)
}

// RemoveWebhook is the verb of the same name.
func (c *Client) RemoveWebhook(ctx context.Context, id string) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, one("/v1/webhooks", id), nil)
	return err
}

// TestWebhook is the verb of the same name.
func (c *Client) TestWebhook(ctx context.Context, id string) (admin.WebhookTest, error) {
	return call[admin.WebhookTest](ctx, c, http.MethodPost, one("/v1/webhooks", id)+"/test", nil)
}

// RotateWebhook is the verb of the same name.
func (c *Client) RotateWebhook(ctx context.Context, id string) (admin.MadeWebhook, error) {
	return call[admin.MadeWebhook](ctx, c, http.MethodPost, one("/v1/webhooks", id)+"/secret", nil)
}
