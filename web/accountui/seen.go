package accountui

import (
	"net/http"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/page"
)

// user is the account of a request, as verbs name it: nothing that the request says can make it another one.
func user(r *http.Request) string { return who(r).Identity.Main.String() }

// answer shows a page with a form that was sent: what is wrong with it is not said with 200.
func (m *room) answer(w http.ResponseWriter, r *http.Request, v page.View) error {
	v.Status = v.Form.Status()
	return m.show(w, r, v)
}

// devicesSeen is the pages about what uses the account.
func (m *room) devicesSeen() map[string]page.Handler {
	return map[string]page.Handler{
		"GET /account/devices":         m.seen,
		"POST /account/devices/forget": m.forgetDevice,
	}
}

// seenDevice is a device in words.
type seenDevice struct {
	admin.Device
	Is    string // what it is called
	Uses  string // what it does
	Proof string // the password that it shows
	Why   string // the last login was refused
}

func (m *room) seen(w http.ResponseWriter, r *http.Request) error {
	list, err := m.o.House.Devices(r.Context(), user(r))
	if err != nil {
		return err
	}
	all := make([]seenDevice, 0, len(list))
	for _, d := range list {
		all = append(all, describe(d))
	}
	return m.show(w, r, page.View{Page: "seen", Title: "Devices", Data: all})
}

func describe(d admin.Device) seenDevice {
	s := seenDevice{Device: d, Is: d.Name, Uses: serviceLabel(d.Door), Proof: "your own password"}
	if d.Door == auth.DoorWeb.String() {
		s.Uses = "These pages"
	}
	if s.Is == "" {
		s.Is = "Without a name"
	}
	switch {
	case d.App != 0 && d.AppIs == "":
		s.Proof = "an app password that was taken back"
	case d.App != 0:
		s.Proof = "the app password “" + d.AppIs + "”"
	case d.Proof == auth.ProofCertificate:
		s.Proof = "a certificate"
	case d.Proof == auth.ProofToken:
		s.Proof = "a token"
	case d.Seen.IsZero():
		s.Proof = ""
	}
	s.Why = map[string]string{
		auth.FailedPassword:    "the password was wrong",
		auth.FailedCertificate: "its certificate was not one of yours",
		auth.FailedDoor:        "the password was right, and is not good for this",
		auth.FailedCode:        "the password was right, and the code of the second factor did not come",
	}[d.FailedWhy]
	return s
}

func (m *room) forgetDevice(w http.ResponseWriter, r *http.Request) error {
	f, err := page.Read(w, r, "device")
	if err != nil {
		return err
	}
	if err := m.o.House.ForgetDevice(r.Context(), user(r), f.Value("device")); err != nil {
		return err
	}
	page.Done(w, r, "/account/devices", "device-forgotten")
	return nil
}
