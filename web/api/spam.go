package api

import (
	"context"
	"net/http"
	"net/url"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// spam is how mail from outside is judged.
func (s *Server) spam() {
	h := s.o.House
	list(s, "GET /v1/spam", seen, "Shows what the junk filter has learned.", h.SpamStats)
	take(s, "POST /v1/spam/explain", everything, "Explains how a message would be judged.", h.ExplainSpam)
	name(s, "GET /v1/accounts/{name}/spam", seen|directory, "Shows an account's junk settings.", h.SpamSettings)
	both(s, "PATCH /v1/accounts/{name}/spam", directory, "Changes an account's junk settings.", h.SetSpam)
	name(s, "GET /v1/accounts/{name}/spam/refused", directory, "Lists mail that was refused as junk, and why.", h.SpamRefused)
	name(s, "GET /v1/accounts/{name}/spam/senders", seen|directory, "Lists the senders that an account lets in or keeps out.", h.SpamSenders)
	both(s, "PUT /v1/accounts/{name}/spam/senders", directory, "Lets a sender in, or keeps him out.", h.SetSpamSender)
	s.raw("DELETE /v1/accounts/{name}/spam/senders/{sender}", directory, "Forgets what was said of a sender.").by(func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, struct{}{}, h.RemoveSpamSender(r.Context(), r.PathValue("name"), r.PathValue("sender")))
	})
	both(s, "POST /v1/accounts/{name}/spam/train", directory, "Teaches the filter with the mail of an account.", func(ctx context.Context, user string, t training) (admin.SpamTrained, error) {
		return h.TrainSpam(ctx, user, t.Anew)
	})
}

type training struct {
	Anew bool `json:"anew,omitempty"`
}

func spamOf(user string) string { return one("/v1/accounts", user) + "/spam" }

func (c *Client) SpamStats(ctx context.Context) (admin.SpamStats, error) {
	return call[admin.SpamStats](ctx, c, http.MethodGet, "/v1/spam", nil)
}

func (c *Client) ExplainSpam(ctx context.Context, q admin.SpamQuestion) (admin.SpamExplained, error) {
	return call[admin.SpamExplained](ctx, c, http.MethodPost, "/v1/spam/explain", q)
}

func (c *Client) SpamSettings(ctx context.Context, user string) (admin.SpamSettings, error) {
	return call[admin.SpamSettings](ctx, c, http.MethodGet, spamOf(user), nil)
}

func (c *Client) SetSpam(ctx context.Context, user string, s admin.SpamChange) (admin.SpamSettings, error) {
	return call[admin.SpamSettings](ctx, c, http.MethodPatch, spamOf(user), s)
}

func (c *Client) SpamRefused(ctx context.Context, user string) ([]admin.Refusal, error) {
	return call[[]admin.Refusal](ctx, c, http.MethodGet, spamOf(user)+"/refused", nil)
}

func (c *Client) SpamSenders(ctx context.Context, user string) ([]admin.SpamSender, error) {
	return call[[]admin.SpamSender](ctx, c, http.MethodGet, spamOf(user)+"/senders", nil)
}

func (c *Client) SetSpamSender(ctx context.Context, user string, s admin.SpamSender) (admin.SpamSender, error) {
	return call[admin.SpamSender](ctx, c, http.MethodPut, spamOf(user)+"/senders", s)
}

func (c *Client) RemoveSpamSender(ctx context.Context, user, sender string) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, spamOf(user)+"/senders/"+url.PathEscape(sender), nil)
	return err
}

func (c *Client) TrainSpam(ctx context.Context, user string, anew bool) (admin.SpamTrained, error) {
	return call[admin.SpamTrained](ctx, c, http.MethodPost, spamOf(user)+"/train", training{anew})
}
