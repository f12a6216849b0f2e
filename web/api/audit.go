package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// audit is who changed what.
func (s *Server) audit() {
	s.raw("GET /v1/audit", everything, "Lists the changes of the house, the newest first.").
		asks("since", "string", "RFC 3339").asks("who", "string", "name of who made them").asks("object", "string", "what was changed, or a domain").
		asks("before", "integer", "numbers below: next of the page before").asks("limit", "integer", "of a page, up to 1000").
		gives(admin.AuditPage{}).by(func(w http.ResponseWriter, r *http.Request) {
		f, err := auditFilter(r.URL.Query())
		if err != nil {
			s.answer(w, r, nil, &admin.Error{Class: admin.Invalid, Message: err.Error()})
			return
		}
		out, err := s.o.House.Audit(r.Context(), f)
		s.answer(w, r, out, err)
	})
	take(s, "POST /v1/audit/undo", everything, "Takes a change back.", s.o.House.Undo)
}

func auditFilter(q url.Values) (f admin.AuditFilter, err error) {
	f.Who, f.Object = q.Get("who"), q.Get("object")
	if text := q.Get("since"); text != "" {
		if f.Since, err = time.Parse(time.RFC3339, text); err != nil {
			return f, err
		}
	}
	if text := q.Get("before"); text != "" {
		if f.Before, err = strconv.ParseUint(text, 10, 64); err != nil {
			return f, err
		}
	}
	if text := q.Get("limit"); text != "" {
		f.Limit, err = strconv.Atoi(text)
	}
	return f, err
}

// Audit is the verb of the same name.
func (c *Client) Audit(ctx context.Context, f admin.AuditFilter) (admin.AuditPage, error) {
	q := url.Values{"who": {f.Who}, "object": {f.Object}, "limit": {strconv.Itoa(f.Limit)}}
	if !f.Since.IsZero() {
		q.Set("since", f.Since.Format(time.RFC3339))
	}
	if f.Before > 0 {
		q.Set("before", strconv.FormatUint(f.Before, 10))
	}
	return call[admin.AuditPage](ctx, c, http.MethodGet, "/v1/audit?"+q.Encode(), nil)
}

// Undo is the verb of the same name.
func (c *Client) Undo(ctx context.Context, u admin.Undo) (admin.AuditEntry, error) {
	return call[admin.AuditEntry](ctx, c, http.MethodPost, "/v1/audit/undo", u)
}
