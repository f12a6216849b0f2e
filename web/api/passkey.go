package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// passkeys is what opens the web pages without a password. Making one needs the device, and the pages.
func (s *Server) passkeys() {
	h := s.o.House
	name(s, "GET /v1/accounts/{name}/passkeys", seen|directory, "Lists the passkeys of an account.", h.Passkeys)
	s.raw("DELETE /v1/accounts/{name}/passkeys/{number}", directory, "Removes a passkey; what was opened with it ends.").gives(admin.Passkey{}).by(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseUint(r.PathValue("number"), 10, 32)
		if err != nil {
			s.answer(w, r, nil, &admin.Error{Class: admin.Invalid, Message: "a passkey is named by its number"})
			return
		}
		out, err := h.RemovePasskey(r.Context(), r.PathValue("name"), uint32(n))
		s.answer(w, r, out, err)
	})
}

func (c *Client) Passkeys(ctx context.Context, user string) ([]admin.Passkey, error) {
	return call[[]admin.Passkey](ctx, c, http.MethodGet, one("/v1/accounts", user)+"/passkeys", nil)
}

func (c *Client) RemovePasskey(ctx context.Context, user string, number uint32) (admin.Passkey, error) {
	return call[admin.Passkey](ctx, c, http.MethodDelete, one("/v1/accounts", user)+"/passkeys/"+strconv.FormatUint(uint64(number), 10), nil)
}
