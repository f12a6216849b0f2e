package accountui

import (
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// certificates is what programs show that have a key of their own.
type certificates struct {
	All      []admin.ClientCertificate
	Asked    bool // anybody is asked for one
	Most     int
	Services []service
	Ends     []choice
}

// certificateRoutes is the pages about certificates.
func (m *room) certificateRoutes() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/certificates":         m.certificates,
		"POST /account/certificates":        m.addCertificate,
		"POST /account/certificates/remove": m.removeCertificate,
	}
}

func (m *room) certificates(w http.ResponseWriter, r *http.Request) error {
	return m.showCertificates(w, r, nil)
}

func (m *room) showCertificates(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	all, err := m.o.House.ClientCertificates(r.Context(), user(r))
	if err != nil {
		return err
	}
	a, err := m.o.House.Account(r.Context(), user(r))
	if err != nil {
		return err
	}
	for i := range all {
		for j, d := range all[i].Doors {
			all[i].Doors[j] = serviceLabel(d)
		}
		if l := all[i].Last; l != nil {
			l.Door = serviceLabel(l.Door)
		}
	}
	slices.Reverse(all)
	p := certificates{All: all, Asked: m.o.Directory.CertificatesAsked() != 0, Most: auth.MaxCertificates, Ends: ends(f.Value("ends"))}
	p.Ends[0].Label = "when the certificate does"
	p.Services = services(func(name string) bool { return f == nil && slices.Contains(a.Doors, name) || f.Value(name) != "" })
	return m.answer(w, r, page.View{Page: "certificates", Title: "Certificates", Form: f, Data: p})
}

// readCertificate reads the form with the file that may have come in it: its text takes the place of what was typed.
func readCertificate(w http.ResponseWriter, r *http.Request) (*page.Form, error) {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err == nil && kind == "multipart/form-data" {
		r.Body = http.MaxBytesReader(w, r.Body, page.MaxForm)
		err := r.ParseMultipartForm(page.MaxForm)
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return nil, page.ErrTooLarge
		}
		if err == nil {
			if files := r.MultipartForm.File["file"]; len(files) == 1 && files[0].Size > 0 {
				f, err := files[0].Open()
				if err != nil {
					return nil, err
				}
				defer f.Close()
				text, err := io.ReadAll(f)
				if err != nil {
					return nil, err
				}
				r.PostForm.Set("pem", string(text))
			}
		}
	}
	return page.Read(w, r, "name", "imap", "pop3", "submission", "ends", "pem", "password")
}

func (m *room) addCertificate(w http.ResponseWriter, r *http.Request) error {
	f, err := readCertificate(w, r)
	if err != nil {
		return err
	}
	in := admin.NewClientCertificate{PEM: f.Value("pem")}
	in.Name, in.Expires = ofProgram(f)
	for _, s := range services(f.Is) {
		if s.On {
			in.Doors = append(in.Doors, s.Name)
		}
	}
	if len(in.Doors) == 0 {
		f.Reject("doors", "Choose what the program may do.")
	}
	if in.PEM == "" {
		f.Reject("pem", "Paste the certificate, or choose its file.")
	}
	if err := m.again(r, f); err != nil {
		return err
	}
	if f.Ok() {
		if _, err := m.o.House.AddCertificate(r.Context(), user(r), in); err != nil {
			if err := f.Refused("pem", err); err != nil {
				return err
			}
		}
	}
	if !f.Ok() {
		return m.showCertificates(w, r, f)
	}
	page.Done(w, r, "/account/certificates", "certificate-added")
	return nil
}

func (m *room) removeCertificate(w http.ResponseWriter, r *http.Request) error {
	n, err := number(w, r)
	if err != nil {
		return err
	}
	if _, err := m.o.House.RemoveCertificate(r.Context(), user(r), n); err != nil {
		return err
	}
	page.Done(w, r, "/account/certificates", "certificate-removed")
	return nil
}
