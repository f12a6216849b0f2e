package accountui

import (
	"encoding/base64"
	"errors"
	"html/template"
	"net/http"

	"rsc.io/qr"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// factor is the second factor as it is, or what is needed to set one up.
type factor struct {
	admin.SecondFactor
	Secret string
	Groups []string     // of the secret, for reading
	Image  template.URL // of the QR code, in the page: it is in no address and no cache
}

func (m *room) factor(w http.ResponseWriter, r *http.Request) error {
	return m.showFactor(w, r, nil)
}

func (m *room) showFactor(w http.ResponseWriter, r *http.Request, f *page.Form) error {
	user := who(r).Identity.Main.String()
	now, err := m.o.House.SecondFactor(r.Context(), user)
	if err != nil {
		return err
	}
	data := factor{SecondFactor: now}
	if !now.Authenticator {
		if data.Secret = f.Value("secret"); len(data.Secret) != len(auth.NewAuthenticator()) {
			data.Secret = auth.NewAuthenticator()
		}
		for i := 0; i < len(data.Secret); i += 4 {
			data.Groups = append(data.Groups, data.Secret[i:min(i+4, len(data.Secret))])
		}
		code, err := qr.Encode(auth.AuthenticatorURI(page.VisitOf(r.Context()).Site, user, data.Secret), qr.M)
		if err != nil {
			return err
		}
		data.Image = template.URL("data:image/png;base64," + base64.StdEncoding.EncodeToString(code.PNG()))
	}
	v := page.View{Page: "factor", Title: "Second factor", Form: f, Data: data}
	if f != nil && !f.Ok() {
		v.Status = http.StatusUnprocessableEntity
	}
	return m.show(w, r, v)
}

// startFactor begins with the authenticator whose code was entered. All sign-ins that were made without it end.
func (m *room) startFactor(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "secret", "code", "password")
	if err != nil {
		return err
	}
	if err := m.again(r, f); err != nil {
		return err
	}
	if !f.Ok() {
		return m.showFactor(w, r, f)
	}
	in := who(r)
	codes, err := m.o.House.StartSecondFactor(r.Context(), in.Identity.Main.String(), admin.Authenticator{Secret: f.Value("secret"), Code: f.Value("code")})
	if errors.Is(err, auth.ErrCode) {
		f.Reject("code", "This code does not fit. Wait for the next one, and see that the clock of the device is right.")
		return m.showFactor(w, r, f)
	}
	if err != nil {
		return err
	}
	if err := m.o.Sessions.EndOthers(r.Context(), in.Identity.Account, ""); err != nil {
		return err
	}
	in.Strong = true
	if err := m.o.Sessions.Renew(w, r, in.Identity); err != nil {
		return err
	}
	return m.showCodes(w, r, codes)
}

// renewCodes makes new recovery codes.
func (m *room) renewCodes(w http.ResponseWriter, r *http.Request) error {
	f, err := m.confirmed(w, r)
	if err != nil || !f.Ok() {
		return err
	}
	codes, err := m.o.House.RenewRecoveryCodes(r.Context(), who(r).Identity.Main.String())
	if err != nil {
		return err
	}
	return m.showCodes(w, r, codes)
}

func (m *room) showCodes(w http.ResponseWriter, r *http.Request, codes []string) error {
	return m.show(w, r, page.View{Page: "recovery", Title: "Recovery codes", Data: codes})
}

func (m *room) removeFactor(w http.ResponseWriter, r *http.Request) error {
	f, err := m.confirmed(w, r)
	if err != nil || !f.Ok() {
		return err
	}
	if _, err := m.o.House.RemoveSecondFactor(r.Context(), who(r).Identity.Main.String()); err != nil {
		return err
	}
	page.Done(w, r, "/account/second-factor", "factor-off")
	return nil
}

// confirmed reads a form that asks for the password again; where that is wrong the page was shown.
func (m *room) confirmed(w http.ResponseWriter, r *http.Request) (*page.Form, error) {
	f, err := page.Read(w, r, "password")
	if err == nil {
		err = m.again(r, f)
	}
	if err == nil && !f.Ok() {
		err = m.showFactor(w, r, f)
	}
	return f, err
}
