package api

import (
	"context"
	"net/http"
	"strconv"

	"github.com/posthouse-mail/posthouse/web/admin"
)

// clientCertificates is what programs of accounts show instead of a password.
func (s *Server) clientCertificates() {
	h := s.o.House
	name(s, "GET /v1/accounts/{name}/certificates", seen|directory, "Lists the certificates that programs of an account log in with.", h.ClientCertificates)
	both(s, "POST /v1/accounts/{name}/certificates", directory, "Registers a certificate of a program; one with a key that is registered already renews it.", h.AddCertificate)
	s.raw("DELETE /v1/accounts/{name}/certificates/{number}", directory, "Takes a certificate back.").gives(admin.ClientCertificate{}).by(func(w http.ResponseWriter, r *http.Request) {
		n, err := strconv.ParseUint(r.PathValue("number"), 10, 32)
		if err != nil {
			s.answer(w, r, nil, &admin.Error{Class: admin.Invalid, Message: "a certificate is named by its number"})
			return
		}
		out, err := h.RemoveCertificate(r.Context(), r.PathValue("name"), uint32(n))
		s.answer(w, r, out, err)
	})
}

func certificatesOf(user string) string { return one("/v1/accounts", user) + "/certificates" }

func (c *Client) ClientCertificates(ctx context.Context, user string) ([]admin.ClientCertificate, error) {
	return call[[]admin.ClientCertificate](ctx, c, http.MethodGet, certificatesOf(user), nil)
}

func (c *Client) AddCertificate(ctx context.Context, user string, in admin.NewClientCertificate) (admin.ClientCertificate, error) {
	return call[admin.ClientCertificate](ctx, c, http.MethodPost, certificatesOf(user), in)
}

func (c *Client) RemoveCertificate(ctx context.Context, user string, number uint32) (admin.ClientCertificate, error) {
	return call[admin.ClientCertificate](ctx, c, http.MethodDelete, certificatesOf(user)+"/"+strconv.FormatUint(uint64(number), 10), nil)
}
