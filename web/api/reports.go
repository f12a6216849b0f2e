package api

import (
	"context"
	"net/http"

	"github.com/posthouse-mail/posthouse/smtp/report"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// LetterRequest asks for the weekly letter.
type LetterRequest struct {
	Send bool `json:"send,omitempty"` // to those who get it each week; it does not replace the one that is due
}

// reports is what other hosts report, and the letter that tells of it.
func (s *Server) reports() {
	take(s, "POST /v1/reports/dmarc", seen, "Sums up the DMARC reports that other hosts sent.", s.o.House.DMARCReports)
	take(s, "POST /v1/reports/tls", seen, "Sums up the TLS reports that other hosts sent.", s.o.House.TLSReports)
	take(s, "POST /v1/reports/letter", everything, "Shows the weekly letter as it would be now, or sends it.", func(ctx context.Context, r LetterRequest) (admin.Letter, error) {
		if s.o.Letter == nil {
			return admin.Letter{}, &admin.Error{Class: admin.Unavailable, Message: "not offered here"}
		}
		return s.o.Letter(ctx, r.Send)
	})
}

// DMARCReports is the verb of the same name.
func (c *Client) DMARCReports(ctx context.Context, r admin.ReportsRequest) ([]report.DMARCDigest, error) {
	return call[[]report.DMARCDigest](ctx, c, http.MethodPost, "/v1/reports/dmarc", r)
}

// TLSReports is the verb of the same name.
func (c *Client) TLSReports(ctx context.Context, r admin.ReportsRequest) ([]report.TLSDigest, error) {
	return call[[]report.TLSDigest](ctx, c, http.MethodPost, "/v1/reports/tls", r)
}

// Letter shows the weekly letter as it would be now, and sends it when send is set.
func (c *Client) Letter(ctx context.Context, send bool) (admin.Letter, error) {
	return call[admin.Letter](ctx, c, http.MethodPost, "/v1/reports/letter", LetterRequest{send})
}
