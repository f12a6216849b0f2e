package api

import (
	"context"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/posthouse-mail/posthouse/store/history"
	"github.com/posthouse-mail/posthouse/store/story"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// machine is the process with its connections, certificates and settings, and lists in parts.
func (s *Server) machine() {
	h := s.o.House
	s.raw("GET /v1/connections", seen, "Lists the open connections, the oldest first.").
		asks("service", "string", "of this door").asks("text", "string", "a part of who has logged in, or of the address").
		gives([]admin.Connection{}).by(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		out, err := h.Connections(r.Context(), admin.ConnectionFilter{Service: q.Get("service"), Text: q.Get("text")})
		s.answer(w, r, out, err)
	})
	name(s, "DELETE /v1/connections/{name}", everything, "Ends an open connection.", nothing(h.EndConnection))
	list(s, "GET /v1/certificates", seen, "Lists the certificates, and the names that wait for one.", h.Certificates)
	name(s, "POST /v1/certificates/{name}/renew", everything, "Asks for a new certificate of a name now.", nothing(h.RenewCertificate))
	list(s, "GET /v1/settings", everything, "Lists every setting with its documentation.", h.Settings)
	list(s, "GET /v1/settings/file", everything, "Shows the settings file.", h.SettingsFile)
	take(s, "POST /v1/settings/check", everything, "Says what is wrong with a text for the settings file.", func(ctx context.Context, in admin.SettingsText) (struct{}, error) {
		return struct{}{}, h.CheckSettings(ctx, in)
	})
	take(s, "PUT /v1/settings/file", everything, "Puts a new text into the settings file, when nothing is wrong with it.", h.SetSettingsFile)
	take(s, "POST /v1/settings/restore", everything, "Puts the text back that was there before the last change.", h.RestoreSettingsFile)
	list(s, "GET /v1/backups/made", seen, "Lists the backups of the house, and the work on them.", h.Backups)
	list(s, "POST /v1/backups/start", everything, "Begins to make a backup where the settings say.", func(ctx context.Context) (struct{}, error) {
		return struct{}{}, h.StartBackup(ctx)
	})
	name(s, "POST /v1/backups/{name}/check", everything, "Begins to read a backup back.", nothing(h.StartBackupCheck))
	s.raw("GET /v1/history", seen, "Tells how much happened in each hour or day.").
		asks("hours", "integer", "the last hours, up to 240").asks("days", "integer", "the last days, up to 400").gives([]history.Span{}).by(func(w http.ResponseWriter, r *http.Request) {
		var in admin.HistoryRequest
		out, err := []history.Span(nil), whole(r.URL.Query(), map[string]*int{"hours": &in.Hours, "days": &in.Days})
		if err == nil {
			out, err = h.History(r.Context(), in)
		}
		s.answer(w, r, out, err)
	})
	s.parts()
}

// parts are lists that may be long, a page at a time.
func (s *Server) parts() {
	h := s.o.House
	s.raw("GET /v1/queue-pages", seen|queue, "Lists a part of the mail that waits.").
		asks("domain", "string", "of the recipients").asks("address", "string", "a part of an address").asks("state", "string", "tried, held or scheduled").
		asks("after", "string", "next of the page before").asks("limit", "integer", "up to 500").gives(admin.QueuePage{}).by(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		f := admin.QueueFilter{Domain: q.Get("domain"), Address: q.Get("address"), State: q.Get("state"), After: q.Get("after")}
		var out admin.QueuePage
		err := whole(q, map[string]*int{"limit": &f.Limit})
		if err == nil {
			out, err = h.FindQueue(r.Context(), f)
		}
		s.answer(w, r, out, err)
	})
	s.raw("GET /v1/stories", everything, "Lists messages that came or went, the newest first.").
		asks("text", "string", "an id, a Message-ID or an address").asks("before", "string", "RFC 3339").asks("limit", "integer", "up to 100").
		gives([]story.Message{}).by(func(w http.ResponseWriter, r *http.Request) {
		q := r.URL.Query()
		f := admin.StoryFilter{Text: q.Get("text")}
		var out []story.Message
		err := whole(q, map[string]*int{"limit": &f.Limit})
		if text := q.Get("before"); err == nil && text != "" {
			if f.Before, err = time.Parse(time.RFC3339Nano, text); err != nil {
				err = &admin.Error{Class: admin.Invalid, Message: "before: " + err.Error()}
			}
		}
		if err == nil {
			out, err = h.FindStories(r.Context(), f)
		}
		s.answer(w, r, out, err)
	})
}

// whole reads numbers out of a query.
func whole(q url.Values, into map[string]*int) (err error) {
	for name, n := range into {
		if text := q.Get(name); text != "" && err == nil {
			if *n, err = strconv.Atoi(text); err != nil {
				err = &admin.Error{Class: admin.Invalid, Message: name + ": " + text + " is no whole number"}
			}
		}
	}
	return err
}

// The client's side; each is the verb of the same name.

func (c *Client) Connections(ctx context.Context, f admin.ConnectionFilter) ([]admin.Connection, error) {
	return call[[]admin.Connection](ctx, c, http.MethodGet, "/v1/connections?"+url.Values{"service": {f.Service}, "text": {f.Text}}.Encode(), nil)
}

func (c *Client) FindQueue(ctx context.Context, f admin.QueueFilter) (admin.QueuePage, error) {
	q := url.Values{"domain": {f.Domain}, "address": {f.Address}, "state": {f.State}, "after": {f.After}, "limit": {strconv.Itoa(f.Limit)}}
	return call[admin.QueuePage](ctx, c, http.MethodGet, "/v1/queue-pages?"+q.Encode(), nil)
}

func (c *Client) EndConnection(ctx context.Context, id string) error {
	_, err := call[struct{}](ctx, c, http.MethodDelete, "/v1/connections/"+url.PathEscape(id), nil)
	return err
}

func (c *Client) Certificates(ctx context.Context) ([]admin.Certificate, error) {
	return call[[]admin.Certificate](ctx, c, http.MethodGet, "/v1/certificates", nil)
}

func (c *Client) RenewCertificate(ctx context.Context, name string) error {
	_, err := call[struct{}](ctx, c, http.MethodPost, "/v1/certificates/"+url.PathEscape(name)+"/renew", nil)
	return err
}

func (c *Client) Settings(ctx context.Context) (admin.SettingsShown, error) {
	return call[admin.SettingsShown](ctx, c, http.MethodGet, "/v1/settings", nil)
}

func (c *Client) SettingsFile(ctx context.Context) (admin.SettingsFile, error) {
	return call[admin.SettingsFile](ctx, c, http.MethodGet, "/v1/settings/file", nil)
}

func (c *Client) SetSettingsFile(ctx context.Context, in admin.SettingsText) (admin.SettingsFile, error) {
	return call[admin.SettingsFile](ctx, c, http.MethodPut, "/v1/settings/file", in)
}

func (c *Client) RestoreSettingsFile(ctx context.Context, in admin.SettingsText) (admin.SettingsFile, error) {
	return call[admin.SettingsFile](ctx, c, http.MethodPost, "/v1/settings/restore", in)
}
