package admin

import (
	"context"
	"fmt"
	"time"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/store/kv"
)

// ClientCertificate is one that a program of an account shows instead of a password.
type ClientCertificate struct {
	Number  uint32    `json:"number"`
	Name    string    `json:"name"`
	Doors   []string  `json:"doors"`
	Key     string    `json:"key"` // SHA-256 of its public key, hex
	Subject string    `json:"subject,omitempty"`
	Created time.Time `json:"created"`
	Expires time.Time `json:"expires"`
	Expired bool      `json:"expired,omitempty"`
	Last    *LastUse  `json:"last_used,omitempty"`
}

// NewClientCertificate is what one is registered with; Doors nil: all that it may open, Expires nil: as long as it is valid.
type NewClientCertificate struct {
	Name    string     `json:"name"`
	Doors   []string   `json:"doors,omitempty"`
	Expires *time.Time `json:"expires,omitempty"`
	PEM     string     `json:"pem"`
}

// AddCertificate registers a certificate. These three are the user's own: a page calls them with the account that is signed in.
func (h *House) AddCertificate(ctx context.Context, user string, in NewClientCertificate) (ClientCertificate, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return ClientCertificate{}, translate(user, err)
	}
	shown, err := auth.ParseCertificate([]byte(in.PEM))
	if err != nil {
		return ClientCertificate{}, translate(user, err)
	}
	one := auth.Certificate{Name: in.Name, Doors: auth.DoorsApp}
	if len(in.Doors) > 0 {
		if one.Doors, err = parseDoors(in.Doors); err != nil {
			return ClientCertificate{}, err
		}
	}
	if in.Expires != nil {
		one.Expires = *in.Expires
	}
	c := &alteration{verb: "certificate add", on: part(a, OfAccount)}
	c.do = func(tx *kv.Tx) (err error) {
		one, err = h.o.Directory.AddCertificate(tx, a.ID, one, shown)
		c.note = fmt.Sprintf("certificate %d for %s, key %s", one.ID, one.Name, one.Fingerprint())
		return err
	}
	if err := h.change(ctx, c); err != nil {
		return ClientCertificate{}, translate(user, err)
	}
	h.done(ctx, "certificate add", fmt.Sprintf("%s number %d", user, one.ID))
	return showCertificate(one, auth.AppUse{}), nil
}

// ClientCertificates lists those of an account, oldest first.
func (h *House) ClientCertificates(ctx context.Context, user string) ([]ClientCertificate, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return nil, translate(user, err)
	}
	all, err := h.o.Directory.Certificates(ctx, a.ID)
	if err != nil {
		return nil, translate(user, err)
	}
	uses, err := h.o.CertificateUses.Uses(ctx, a.ID)
	if err != nil {
		return nil, translate(user, err)
	}
	out := make([]ClientCertificate, 0, len(all))
	for _, c := range all {
		out = append(out, showCertificate(c, uses[c.ID]))
	}
	return out, nil
}

// RemoveCertificate revokes one; what was opened with it ends at once.
func (h *House) RemoveCertificate(ctx context.Context, user string, number uint32) (ClientCertificate, error) {
	a, err := h.o.Directory.FindAccount(ctx, user)
	if err != nil {
		return ClientCertificate{}, translate(user, err)
	}
	var gone auth.Certificate
	c := &alteration{verb: "certificate remove", on: part(a, OfAccount)}
	c.do = func(tx *kv.Tx) (err error) {
		gone, err = h.o.Directory.RemoveCertificate(tx, a.ID, number)
		c.note = fmt.Sprintf("certificate %d for %s, key %s", number, gone.Name, gone.Fingerprint())
		return err
	}
	if err := h.change(ctx, c); err != nil {
		return ClientCertificate{}, translate(user, err)
	}
	h.done(ctx, "certificate remove", fmt.Sprintf("%s number %d", user, number))
	return showCertificate(gone, auth.AppUse{}), nil
}

func showCertificate(c auth.Certificate, u auth.AppUse) ClientCertificate {
	out := ClientCertificate{
		Number: c.ID, Name: c.Name, Doors: doorNames(c.Doors), Key: c.Fingerprint(), Subject: c.Subject, Created: c.Created, Expires: c.Expires,
		Expired: !time.Now().Before(c.Expires),
	}
	if !u.At.IsZero() {
		out.Last = &LastUse{At: u.At, Door: u.Door.String(), From: addressText(u.Remote)}
	}
	return out
}
