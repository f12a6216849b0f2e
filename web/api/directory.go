package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// maxDirectory bounds a directory file with its JSON.
const maxDirectory = 64 << 20

// directoryFile is the directory as a file, out and in.
func (s *Server) directoryFile() {
	h := s.o.House
	take(s, "POST /v1/directory/export", everything, "Writes domains, accounts, aliases and lists as a file.", h.ExportDirectory)
	s.raw("POST /v1/directory", everything, "Makes the directory like a file, all of it or nothing; or only says what that would change.").
		takes(admin.DirectoryApply{}).gives(admin.DirectoryApplied{}).by(func(w http.ResponseWriter, r *http.Request) {
		var in admin.DirectoryApply
		if err := readJSON(w, r, maxDirectory, &in); err != nil {
			s.answer(w, r, nil, err)
			return
		}
		out, err := h.ApplyDirectory(r.Context(), in)
		s.answer(w, r, out, err)
	})
}

// ExportDirectory is the verb of the same name.
func (c *Client) ExportDirectory(ctx context.Context, in admin.DirectoryExport) (admin.DirectoryText, error) {
	return call[admin.DirectoryText](ctx, c, http.MethodPost, "/v1/directory/export", in)
}

// ApplyDirectory is the verb of the same name.
func (c *Client) ApplyDirectory(ctx context.Context, in admin.DirectoryApply) (admin.DirectoryApplied, error) {
	return call[admin.DirectoryApplied](ctx, c, http.MethodPost, "/v1/directory", in)
}
