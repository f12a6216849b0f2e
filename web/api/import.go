package api

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strconv"

	"github.com/posthouse-mail/posthouse/internal/logx"
	"github.com/posthouse-mail/posthouse/store/importer"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// moving is mail in and out: streams of messages, which the caller reads from and writes to files of his own.
func (s *Server) moving() {
	take(s, "PUT /v1/import/place", everything, "Finds or makes a mailbox to import into.", s.o.House.ImportPlace)
	s.raw("GET /v1/import/{name}/{source}", everything, "Gives the ledger of an import, by account and number of the source.").gives(octets).by(s.imported)
	in := s.raw("POST /v1/import/{name}", everything, "Takes a stream of messages into an account.").takes(octets).gives(importer.Taken{})
	in.slow = true
	in.by(s.imports)
	s.raw("GET /v1/export/{name}", everything, "Gives the messages of an account as a stream.").asks("mailbox", "string", "only this one").gives(octets).by(s.export)
}

// octets is the media type of streams in a form of our own.
const octets = "application/octet-stream"

func (s *Server) imported(w http.ResponseWriter, r *http.Request) {
	source, err := strconv.ParseUint(r.PathValue("source"), 16, 64)
	if err != nil {
		s.answer(w, r, nil, &admin.Error{Class: admin.Invalid, Message: "no number of a source: " + r.PathValue("source")})
		return
	}
	s.stream(w, r, func(w io.Writer) error { return s.o.House.Imported(r.Context(), r.PathValue("name"), source, w) })
}

// imports takes a stream of messages. What is left of it after an error is read too: a caller that still writes would lose the answer.
func (s *Server) imports(w http.ResponseWriter, r *http.Request) {
	taken, err := s.o.House.Import(r.Context(), r.PathValue("name"), r.Body)
	if _, drain := io.Copy(io.Discard, r.Body); drain != nil && err == nil {
		err = drain
	}
	s.answer(w, r, taken, err)
}

func (s *Server) export(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, func(w io.Writer) error {
		return s.o.House.Export(r.Context(), r.PathValue("name"), r.URL.Query().Get("mailbox"), w)
	})
}

// stream answers with octets. An error before the first of them is a problem document; one behind it cuts the stream off, and the
// reader sees that its end is missing.
func (s *Server) stream(w http.ResponseWriter, r *http.Request, fn func(io.Writer) error) {
	out := page.NewDownload(w, octets)
	err := fn(out)
	if err := out.End(err, func() { s.cut(r, err) }); err != nil {
		s.answer(w, r, nil, err)
	}
}

// cut tells the log of an answer that is not whole.
func (s *Server) cut(r *http.Request, err error) {
	s.o.Logger.WarnContext(r.Context(), logx.AdminError, "method", r.Method, "path", r.URL.Path, "error", err)
}

// ImportPlace finds or makes a mailbox to import into.
func (c *Client) ImportPlace(ctx context.Context, p importer.Place) (importer.Placed, error) {
	return call[importer.Placed](ctx, c, http.MethodPut, "/v1/import/place", p)
}

// Import sends a stream of messages.
func (c *Client) Import(ctx context.Context, account string, r io.Reader) (importer.Taken, error) {
	return send[importer.Taken](ctx, c, http.MethodPost, one("/v1/import", account), r)
}

// Imported copies the ledger of a source to w.
func (c *Client) Imported(ctx context.Context, account string, source uint64, w io.Writer) error {
	return c.copy(ctx, one("/v1/import", account)+"/"+strconv.FormatUint(source, 16), w)
}

// Export copies the stream of an account's messages to w.
func (c *Client) Export(ctx context.Context, account, mailbox string, w io.Writer) error {
	return c.copy(ctx, one("/v1/export", account)+"?"+url.Values{"mailbox": {mailbox}}.Encode(), w)
}

// copy reads an answer of octets.
func (c *Client) copy(ctx context.Context, path string, w io.Writer) (err error) {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://posthouse"+path, nil)
	if err != nil {
		return err
	}
	a, err := c.http.Do(r)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, a.Body.Close()) }()
	if a.StatusCode/100 != 2 {
		return refusal(a)
	}
	_, err = io.CopyBuffer(struct{ io.Writer }{w}, a.Body, make([]byte, 128<<10))
	return err
}
