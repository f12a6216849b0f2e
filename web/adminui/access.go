package adminui

import (
	"context"
	"net/http"
	"strconv"

	"github.com/posthouse-mail/posthouse/internal/mail"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// accessPage is how an account gets in: its password, app passwords, second factor and sign-ins.
type accessPage struct {
	admin.Account
	Main     string
	Own      bool
	This     string // the visitor's own session
	Password []field
	Apps     []admin.AppPassword
	Shown    []admin.ClientCertificate // what programs show instead
	Factor   admin.SecondFactor
	Passkeys []admin.Passkey
	Tokens   []admin.Token
	Devices  []admin.Device
	More     int // devices that are not shown
	SignIns  []Session
}

// devicesShown bounds how many of the devices that log in are shown, the last first.
const devicesShown = 20

func (m *room) access(w http.ResponseWriter, r *http.Request) error {
	return m.showAccess(w, r, r.URL.Query().Get("who"), nil)
}

func (m *room) showAccess(w http.ResponseWriter, r *http.Request, who string, f *page.Form) error {
	ctx := r.Context()
	a, err := m.o.House.Account(ctx, who)
	if err != nil {
		return err
	}
	p := accessPage{
		Account: a, Main: a.Addresses[0], Own: own(r, a), This: page.VisitOf(ctx).SignIn.Session,
		Password: of(f, field{Kind: "password", Name: "password", Label: "New password", Hint: "Empty: one is made, and shown once."}),
	}
	if p.Apps, err = m.o.House.AppPasswords(ctx, p.Main); err != nil {
		return err
	}
	if p.Shown, err = m.o.House.ClientCertificates(ctx, p.Main); err != nil {
		return err
	}
	if p.Factor, err = m.o.House.SecondFactor(ctx, p.Main); err != nil {
		return err
	}
	if p.Passkeys, err = m.o.House.Passkeys(ctx, p.Main); err != nil {
		return err
	}
	if p.Tokens, err = m.o.House.Tokens(ctx, p.Main); err != nil {
		return err
	}
	if p.Devices, err = m.o.House.Devices(ctx, p.Main); err != nil {
		return err
	}
	p.More = max(0, len(p.Devices)-devicesShown)
	p.Devices = p.Devices[:len(p.Devices)-p.More]
	if p.SignIns, err = m.o.Sessions.List(ctx, mail.AccountID(a.ID)); err != nil {
		return err
	}
	return m.show(w, r, page.View{Page: "access", Title: titleOf(a), Status: statusOf(f), Form: f, Data: p})
}

// setAccountPassword gives an account a new password; who uses the old one is asked for the new.
func (m *room) setAccountPassword(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "who", "password")
	if err != nil {
		return err
	}
	a, err := m.o.House.Account(r.Context(), f.Value("who"))
	if err != nil {
		return err
	}
	password := f.Secret("password")
	made := password == ""
	switch {
	case own(r, a):
		f.Reject("password", "This is your own account: change its password under My account.")
	case made:
		password = newPassword()
	case len([]rune(password)) < shortest:
		f.Reject("password", tooShort)
	}
	if f.Ok() {
		if err = refused(f, "password", m.o.House.SetPassword(r.Context(), a.Addresses[0], password)); err != nil {
			return err
		}
	}
	switch {
	case !f.Ok():
		return m.showAccess(w, r, a.Addresses[0], f)
	case made:
		return m.showSecret(w, r, "The new password", secret{a.Addresses[0], password, accountPath("/access", a)})
	}
	page.Done(w, r, accountPath("/access", a), "account-password")
	return nil
}

// accountOf is the account that a form is about.
func (m *room) accountOf(ctx context.Context, f *page.Form) (admin.Account, error) {
	return m.o.House.Account(ctx, f.Value("who"))
}

// revoke is a form that takes back one of the numbered things of an account.
func (m *room) revoke(word string, take func(ctx context.Context, user string, number uint32) error) page.Handler {
	return func(w http.ResponseWriter, r *http.Request) error {
		f, err := page.Read(w, r, "who", "number")
		if err != nil {
			return err
		}
		n, err := strconv.ParseUint(f.Value("number"), 10, 32)
		if err != nil {
			return page.ErrMissing
		}
		a, err := m.accountOf(r.Context(), f)
		if err == nil {
			err = take(r.Context(), a.Addresses[0], uint32(n))
		}
		if err != nil {
			return err
		}
		page.Done(w, r, accountPath("/access", a), word)
		return nil
	}
}

func (m *room) revokeApp(ctx context.Context, user string, number uint32) error {
	_, err := m.o.House.RemoveAppPassword(ctx, user, number)
	return err
}

func (m *room) revokeCertificate(ctx context.Context, user string, number uint32) error {
	_, err := m.o.House.RemoveCertificate(ctx, user, number)
	return err
}

func (m *room) revokePasskey(ctx context.Context, user string, number uint32) error {
	_, err := m.o.House.RemovePasskey(ctx, user, number)
	return err
}

func (m *room) revokeToken(ctx context.Context, user string, number uint32) error {
	_, err := m.o.House.RemoveToken(ctx, user, number)
	return err
}

func (m *room) askResetFactor(w http.ResponseWriter, r *http.Request) error {
	a, err := m.o.House.Account(r.Context(), r.URL.Query().Get("who"))
	if err != nil {
		return err
	}
	return m.ask(w, r, "Reset the second factor of "+titleOf(a), nil, ask{
		Text:   "For somebody who has lost the device and the recovery codes. From then on the password alone opens the account's pages. Make sure that it is really its owner who asks for it: do not answer a mail, call back.",
		Action: "/admin/account/second-factor", Button: "Reset the second factor", Back: accountPath("/access", a), Fields: []field{hidden("who", a.Addresses[0])},
	})
}

func (m *room) resetFactor(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "who")
	if err != nil {
		return err
	}
	a, err := m.accountOf(r.Context(), f)
	if err != nil {
		return err
	}
	if own(r, a) {
		return &page.Problem{Status: http.StatusConflict, Title: "This is your own account", Text: "Without a second factor you could not come back into these pages. Change it under My account."}
	}
	if _, err = m.o.House.RemoveSecondFactor(r.Context(), a.Addresses[0]); err != nil {
		return err
	}
	page.Done(w, r, accountPath("/access", a), "factor-reset")
	return nil
}

// endSignIns ends one sign-in, or all but the visitor's own.
func (m *room) endSignIns(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "who", "name")
	if err != nil {
		return err
	}
	a, err := m.accountOf(r.Context(), f)
	if err != nil {
		return err
	}
	id, which := mail.AccountID(a.ID), "one sign-in at the pages"
	if name := f.Value("name"); name != "" {
		err = m.o.Sessions.End(r.Context(), id, name)
	} else {
		which = "all sign-ins at the pages"
		err = m.o.Sessions.EndOthers(r.Context(), id, page.VisitOf(r.Context()).SignIn.Session)
	}
	if err == nil {
		err = m.o.House.SignedOut(r.Context(), a.Addresses[0], which)
	}
	if err != nil {
		return err
	}
	page.Done(w, r, accountPath("/access", a), "sign-ins-ended")
	return nil
}
