package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// accounts is what an account's own pages show, for the operator and for the account's own programs.
func (s *Server) accounts() {
	h := s.o.House
	name(s, "GET /v1/accounts/{name}/names", seen|directory, "Lists every name under which mail reaches an account.", h.MailNames)
	name(s, "GET /v1/accounts/{name}/space", seen|directory, "Tells what takes how much of an account, by mailbox.", h.Space)
	name(s, "GET /v1/accounts/{name}/devices", directory, "Lists what has logged in to an account, or tried to.", h.Devices)
	s.raw("DELETE /v1/accounts/{name}/devices/{id}", directory, "Takes a device out of the list of an account; it keeps nobody out.").gives(none{}).by(func(w http.ResponseWriter, r *http.Request) {
		s.answer(w, r, none{}, h.ForgetDevice(r.Context(), r.PathValue("name"), r.PathValue("id")))
	})
	name(s, "GET /v1/accounts/{name}/outbox", directory, "Lists what waits in the Outbox of an account.", h.Outbox)
	s.raw("POST /v1/accounts/{name}/outbox/{uid}", directory, "Lets a message go that waits in an Outbox.").gives(none{}).by(s.ofOutbox(h.SendWaiting))
	s.raw("DELETE /v1/accounts/{name}/outbox/{uid}", directory, "Takes a message back that waits in an Outbox: it is a draft then.").gives(none{}).by(s.ofOutbox(h.TakeBack))
	both(s, "POST /v1/accounts/{name}/password", directory, "Changes the password of an account, and ends its app passwords where that is asked for.", h.ChangePassword)
	both(s, "POST /v1/accounts/{name}/stories", everything, "Finds messages that an account sent or that were for it, as its user sees them.", h.OwnStories)
	both(s, "POST /v1/accounts/{name}/story", everything, "Tells what happened to one of them, as far as its user may know.", func(ctx context.Context, user string, in named) (admin.OwnTraced, error) {
		return h.OwnStory(ctx, user, in.ID)
	})
}

// named is a message by the id of its transaction.
type named struct {
	ID string `json:"id"`
}

func (s *Server) ofOutbox(do func(ctx context.Context, user string, uid uint32) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		uid, err := strconv.ParseUint(r.PathValue("uid"), 10, 32)
		if err != nil {
			s.answer(w, r, nil, &admin.Error{Class: admin.Invalid, Message: "a message that waits is named by its uid"})
			return
		}
		user := r.PathValue("name")
		if user == "" { // of a token
			if user, err = ownerOf(r.Context()); err != nil {
				s.answer(w, r, nil, err)
				return
			}
		}
		s.answer(w, r, none{}, do(r.Context(), user, uint32(uid)))
	}
}

// OwnStories finds messages that an account sent or that were for it.
func (c *Client) OwnStories(ctx context.Context, user string, q admin.OwnQuery) (admin.OwnStories, error) {
	return call[admin.OwnStories](ctx, c, http.MethodPost, one("/v1/accounts", user)+"/stories", q)
}

// OwnStory tells what happened to one of them.
func (c *Client) OwnStory(ctx context.Context, user, id string) (admin.OwnTraced, error) {
	return call[admin.OwnTraced](ctx, c, http.MethodPost, one("/v1/accounts", user)+"/story", named{id})
}

// MailNames lists every name under which mail reaches an account.
func (c *Client) MailNames(ctx context.Context, user string) (admin.MailNames, error) {
	return call[admin.MailNames](ctx, c, http.MethodGet, one("/v1/accounts", user)+"/names", nil)
}

// Space tells what takes how much of an account.
func (c *Client) Space(ctx context.Context, user string) (admin.Space, error) {
	return call[admin.Space](ctx, c, http.MethodGet, one("/v1/accounts", user)+"/space", nil)
}

// Devices lists what has logged in to an account, or tried to.
func (c *Client) Devices(ctx context.Context, user string) ([]admin.Device, error) {
	return call[[]admin.Device](ctx, c, http.MethodGet, one("/v1/accounts", user)+"/devices", nil)
}

// ForgetDevice takes one out of the list.
func (c *Client) ForgetDevice(ctx context.Context, user, id string) error {
	_, err := call[none](ctx, c, http.MethodDelete, one("/v1/accounts", user)+"/devices/"+url.PathEscape(id), nil)
	return err
}

// Outbox lists what waits in an account's Outbox.
func (c *Client) Outbox(ctx context.Context, user string) ([]admin.OutboxMessage, error) {
	return call[[]admin.OutboxMessage](ctx, c, http.MethodGet, one("/v1/accounts", user)+"/outbox", nil)
}

// SendWaiting lets a message that waits go now.
func (c *Client) SendWaiting(ctx context.Context, user string, uid uint32) error {
	_, err := call[none](ctx, c, http.MethodPost, one("/v1/accounts", user)+"/outbox/"+strconv.FormatUint(uint64(uid), 10), nil)
	return err
}

// TakeBack takes a message that waits back.
func (c *Client) TakeBack(ctx context.Context, user string, uid uint32) error {
	_, err := call[none](ctx, c, http.MethodDelete, one("/v1/accounts", user)+"/outbox/"+strconv.FormatUint(uint64(uid), 10), nil)
	return err
}

// ChangePassword changes an account's password, and ends its app passwords where that is asked for.
func (c *Client) ChangePassword(ctx context.Context, user string, in admin.NewPassword) (admin.ChangedPassword, error) {
	return call[admin.ChangedPassword](ctx, c, http.MethodPost, one("/v1/accounts", user)+"/password", in)
}
