package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// lists is mailing lists, masked addresses and forwarding.
func (s *Server) lists() {
	h := s.o.House
	list(s, "GET /v1/lists", seen|directory, "Lists the mailing lists.", h.Lists)
	take(s, "POST /v1/lists", directory, "Makes a mailing list.", h.AddList)
	name(s, "GET /v1/lists/{name}", seen|directory, "Shows a mailing list with its members.", h.List)
	both(s, "PATCH /v1/lists/{name}", directory, "Changes a mailing list.", h.SetList)
	name(s, "DELETE /v1/lists/{name}", directory, "Removes a mailing list.", nothing(h.RemoveList))
	both(s, "POST /v1/lists/{name}/members", directory, "Adds, removes, pauses or resumes members of a list.", h.ChangeMembers)
	name(s, "GET /v1/accounts/{name}/masks", seen|directory, "Lists the masked addresses of an account.", h.Masks)
	both(s, "POST /v1/accounts/{name}/masks", directory, "Makes a masked address for an account.", h.AddMask)
	both(s, "PATCH /v1/accounts/{name}/masks", directory, "Switches a masked address on or off, removes it, or changes its note.", h.SetMask)
	name(s, "GET /v1/accounts/{name}/forward", seen|directory, "Shows where an account's mail goes on to.", h.Forwarding)
	both(s, "PUT /v1/accounts/{name}/forward", directory, "Sets where an account's mail goes on to.", h.SetForwarding)
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
