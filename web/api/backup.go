package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/store/backup"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// backups are copies of the house, and what comes back out of them.
func (s *Server) backups() {
	h := s.o.House
	take(s, "POST /v1/backup", everything, "Makes a backup.", h.Backup)
	take(s, "POST /v1/restore", everything, "Brings back what one account had in a backup.", h.BringBack)
}

// Backup makes one; it is long in coming.
func (c *Client) Backup(ctx context.Context, in admin.BackupRequest) (backup.Report, error) {
	return call[backup.Report](ctx, c, http.MethodPost, "/v1/backup", in)
}

// BringBack restores what one account had.
func (c *Client) BringBack(ctx context.Context, in admin.BringBack) (admin.BroughtBack, error) {
	return call[admin.BroughtBack](ctx, c, http.MethodPost, "/v1/restore", in)
}
