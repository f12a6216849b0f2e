package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// trace is what happened to messages. Their subjects are mail, and a code to sign in somewhere often stands in one: reading is not enough.
func (s *Server) trace() {
	s.raw("GET /v1/trace/{name}", everything, "Tells what happened to messages, by transaction id, Message-ID or address.").asks("limit", "integer", "of stories").gives([]admin.Traced{}).by(func(w http.ResponseWriter, r *http.Request) {
		limit := 20
		if text := r.URL.Query().Get("limit"); text != "" {
			limit, _ = strconv.Atoi(text) // 0 is refused by the verb
		}
		out, err := s.o.House.Trace(r.Context(), r.PathValue("name"), limit)
		s.answer(w, r, out, err)
	})
}

func (c *Client) Trace(ctx context.Context, what string, limit int) ([]admin.Traced, error) {
	return call[[]admin.Traced](ctx, c, http.MethodGet, one("/v1/trace", what)+"?limit="+strconv.Itoa(limit), nil)
}
