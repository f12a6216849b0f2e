package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// lists is mailing lists, masked addresses and forwarding.
func (s *Server) lists() {
	h := s.o.House
	list(s, "GET /v1/lists", h.Lists)
	take(s, "POST /v1/lists", h.AddList)
	name(s, "GET /v1/lists/{name}", h.List)
	both(s, "PATCH /v1/lists/{name}", h.SetList)
	name(s, "DELETE /v1/lists/{name}", nothing(h.RemoveList))
	both(s, "POST /v1/lists/{name}/members", h.ChangeMembers)
	name(s, "GET /v1/accounts/{name}/masks", h.Masks)
	both(s, "POST /v1/accounts/{name}/masks", h.AddMask)
	both(s, "PATCH /v1/accounts/{name}/masks", h.SetMask)
	name(s, "GET /v1/accounts/{name}/forward", h.Forwarding)
	both(s, "PUT /v1/accounts/{name}/forward", h.SetForwarding)
}

func (c *Client) Lists(ctx context.Context) ([]admin.List, error) {
	return call[[]admin.List](ctx, c, http.MethodGet, "/v1/lists", nil)
}

func (c *Client) AddList(ctx context.Context, l admin.NewList) (admin.List, error) {
	return call[admin.List](ctx, c, http.MethodPost, "/v1/lists", l)
}

func (c *Client) List(ctx context.Context, addr string) (admin.ListDetail, error) {
	return call[admin.ListDetail](ctx, c, http.MethodGet, one("/v1/lists", addr), nil)
}

func (c *Client) SetList(ctx context.Context, addr string, change admin.ListChange) (admin.List, error) {
	return call[admin.List](ctx, c, http.MethodPatch, one("/v1/lists", addr), change)
}

func (c *Client) RemoveList(ctx context.Context, addr string) error {
	_, err := call[none](ctx, c, http.MethodDelete, one("/v1/lists", addr), nil)
	return err
}

func (c *Client) ChangeMembers(ctx context.Context, addr string, change admin.MemberChange) (admin.ListDetail, error) {
	return call[admin.ListDetail](ctx, c, http.MethodPost, one("/v1/lists", addr)+"/members", change)
}

func (c *Client) Masks(ctx context.Context, user string) ([]admin.Mask, error) {
	return call[[]admin.Mask](ctx, c, http.MethodGet, one("/v1/accounts", user)+"/masks", nil)
}

func (c *Client) AddMask(ctx context.Context, user string, m admin.NewMask) (admin.Mask, error) {
	return call[admin.Mask](ctx, c, http.MethodPost, one("/v1/accounts", user)+"/masks", m)
}

func (c *Client) SetMask(ctx context.Context, user string, change admin.MaskChange) (admin.Mask, error) {
	return call[admin.Mask](ctx, c, http.MethodPatch, one("/v1/accounts", user)+"/masks", change)
}

func (c *Client) Forwarding(ctx context.Context, user string) (admin.Forwarding, error) {
	return call[admin.Forwarding](ctx, c, http.MethodGet, one("/v1/accounts", user)+"/forward", nil)
}

func (c *Client) SetForwarding(ctx context.Context, user string, f admin.Forwarding) (admin.Forwarding, error) {
	return call[admin.Forwarding](ctx, c, http.MethodPut, one("/v1/accounts", user)+"/forward", f)
}
