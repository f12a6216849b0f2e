package adminui

import (
	"net/http"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// sendingPage is what an account sends and where its mail goes on to.
type sendingPage struct {
	admin.Account
	Main    string
	Version []field
	Refused int64

	Off, Limits, Forward []field
}

func (m *room) sending(w http.ResponseWriter, r *http.Request) error {
	return m.showSending(w, r, r.URL.Query().Get("who"), nil)
}

func (m *room) showSending(w http.ResponseWriter, r *http.Request, who string, f *page.Form) error {
	a, err := m.o.House.Account(r.Context(), who)
	if err != nil {
		return err
	}
	limits, err := m.o.House.AccountLimits(r.Context(), a.Addresses[0])
	if err != nil {
		return err
	}
	stored := storedAccount(a)
	limitTexts(stored, limits)
	f = filled(f, stored)
	p := sendingPage{
		Account: a, Main: a.Addresses[0], Version: about(a), Refused: limits.Refused,
		Off:    of(f, field{Name: "reason", Label: "Why", Hint: "Its owner reads this."}),
		Limits: limitFields(f, limits, "Empty: as for everybody; none: no limit."),
		Forward: of(f, field{Kind: "area", Name: "forward", Label: "Its mail goes on to", Hint: "One address a line. Empty: nowhere."},
			field{Kind: "box", Name: "keep", Label: "A copy stays here"}),
	}
	return m.show(w, r, page.View{Page: "sending", Title: titleOf(a), Status: statusOf(f), Form: f, Data: p})
}

// sendingDone leads back to the page, or shows it with the form that was refused.
func (m *room) sendingDone(w http.ResponseWriter, r *http.Request, a admin.Account, f *page.Form, word string) error {
	if !f.Ok() {
		return m.showSending(w, r, a.Addresses[0], f)
	}
	page.Done(w, r, accountPath("/sending", a), word)
	return nil
}

// switchSending keeps an account from sending, or lets it send again.
func (m *room) switchSending(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "who", "on", "reason")
	if err != nil {
		return err
	}
	a, err := m.accountOf(r.Context(), f)
	if err != nil {
		return err
	}
	if f.Ok() {
		_, err = m.o.House.SetSending(r.Context(), a.Addresses[0], admin.SendSwitch{On: f.Is("on"), Reason: f.Value("reason")})
		if err = refused(f, "reason", err); err != nil {
			return err
		}
	}
	word := "sending-off"
	if f.Is("on") {
		word = "sending-on"
	}
	return m.sendingDone(w, r, a, f, word)
}

func (m *room) setSendingLimits(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, append(limitNames(), "who", "version")...)
	if err != nil {
		return err
	}
	a, err := m.accountOf(r.Context(), f)
	if err != nil {
		return err
	}
	c := limitsOf(f)
	if f.Ok() {
		_, err = m.o.House.SetAccountLimits(seen(r, f), a.Addresses[0], c)
		if err = refused(f, limitNames()[0], err); err != nil {
			return err
		}
	}
	return m.sendingDone(w, r, a, f, "account-limits")
}

func (m *room) setForwarding(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "who", "version", "forward", "keep")
	if err != nil {
		return err
	}
	a, err := m.accountOf(r.Context(), f)
	if err != nil {
		return err
	}
	if f.Ok() {
		to := admin.Forwarding{To: lines(f.Value("forward")), Keep: f.Is("keep"), If: f.Value("version")}
		_, err = m.o.House.SetForwarding(r.Context(), a.Addresses[0], to)
		if err = refused(f, "forward", err); err != nil {
			return err
		}
	}
	return m.sendingDone(w, r, a, f, "account-forwarding")
}
