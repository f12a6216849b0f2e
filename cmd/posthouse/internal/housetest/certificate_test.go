package housetest

import (
	"crypto/tls"
	"encoding/base64"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/auth/authtest"
	"github.com/posthouse-mail/posthouse/web/admin"
)

// showing is the TLS settings of a program with a certificate; asked tells whether the house wanted it.
func (h *house) showing(own tls.Certificate, asked *bool) *tls.Config {
	c := h.trust()
	c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { *asked = true; return &own, nil }
	return c
}

// entry is a door with how a program gets to TLS there and says EXTERNAL.
type entry struct {
	service      string
	before       []string // what is said in clear, with the beginning of its answer behind it
	offers, list string   // what asks for the mechanisms, and the last line of the answer
	auth, in     string
}

func entries() []entry {
	nobody := base64.StdEncoding.EncodeToString([]byte("alice@one.test"))
	return []entry{
		{"imaps", nil, "a CAPABILITY", "a OK", "b AUTHENTICATE EXTERNAL =", "b OK"},
		{"imap", []string{"s STARTTLS", "s OK"}, "a CAPABILITY", "a OK", "b AUTHENTICATE EXTERNAL " + nobody, "b OK"},
		{"pop3s", nil, "CAPA", ".", "AUTH EXTERNAL =", "+OK"},
		{"pop3", []string{"STLS", "+OK"}, "CAPA", ".", "AUTH EXTERNAL " + nobody, "+OK"},
		{"submissions", nil, "EHLO me", "250 ", "AUTH EXTERNAL =", "235"},
		{"submission", []string{"EHLO me", "250 ", "STARTTLS", "220"}, "EHLO me", "250 ", "AUTH EXTERNAL " + nobody, "235"},
	}
}

// open goes through the door up to the list of mechanisms.
func (e entry) open(h *house, with *tls.Config) (l *line, offered bool) {
	h.t.Helper()
	c := h.dial(e.service)
	if e.before != nil {
		l = speak(h.t, c)
		l.hear()
		for i := 0; i < len(e.before); i += 2 {
			l.say("%s", e.before[i])
			l.want(e.before[i+1])
		}
	}
	l = speak(h.t, tls.Client(c, with))
	if e.before == nil {
		l.hear()
	}
	l.say("%s", e.offers)
	for {
		s := l.hear()
		offered = offered || strings.Contains(s, "EXTERNAL")
		if strings.HasPrefix(s, e.list) {
			return l, offered
		}
	}
}

// TestCertificatesOff: no program is asked for a certificate, and EXTERNAL is nowhere, unless the settings say so.
func TestCertificatesOff(t *testing.T) {
	s := newStreet(t)
	h := s.build("", "alice@one.test")
	own := authtest.Certificate(t, nil, nil)
	for _, e := range entries() {
		asked := false
		if _, offered := e.open(h, h.showing(own, &asked)); asked || offered {
			t.Errorf("%s: asked %v, offered %v", e.service, asked, offered)
		}
	}
}

// TestCertificates: at each door a program logs in with its certificate, by TLS from the beginning and by STARTTLS; when it is taken
// back, what it opened ends. Port 25 never asks.
func TestCertificates(t *testing.T) {
	s := newStreet(t)
	h := s.build("[tls.clients]\nservices = [\"submission\", \"submissions\", \"imap\", \"imaps\", \"pop3\", \"pop3s\"]", "alice@one.test", "bob@one.test")
	own := authtest.Certificate(t, nil, nil)
	made, err := h.Daemon.House().AddCertificate(t.Context(), "alice@one.test", admin.NewClientCertificate{Name: "notebook", PEM: authtest.PEM(own)})
	if err != nil {
		t.Fatal(err)
	}
	var asked bool
	with := h.showing(own, &asked)
	with.ClientSessionCache = tls.NewLRUClientSessionCache(8)
	var open []*line
	for _, e := range entries() {
		for _, how := range []string{"first", "again"} {
			if e.service[:3] == "pop" && how == "again" {
				continue // one session of an account at a time may be the rule
			}
			l, offered := e.open(h, with)
			if !offered {
				t.Fatalf("%s: not offered", e.service)
			}
			l.say("%s", e.auth)
			l.want(e.in)
			if e.service == "imaps" {
				open = append(open, l)
			}
		}
	}
	if !asked {
		t.Error("nobody was asked")
	}
	none := false
	without := h.showing(tls.Certificate{}, &none)
	for _, e := range entries() {
		if _, offered := e.open(h, without); offered || !none {
			t.Errorf("%s: offered to who shows none", e.service)
		}
	}
	wrong := entries()[0]
	l, _ := wrong.open(h, h.showing(authtest.Certificate(t, nil, nil), &none))
	l.say("%s", wrong.auth)
	l.want("b NO")
	l, _ = wrong.open(h, with)
	l.say("b AUTHENTICATE EXTERNAL %s", base64.StdEncoding.EncodeToString([]byte("bob@one.test")))
	l.want("b NO")

	port25, asked25 := speak(t, h.dial("smtp")), false
	port25.hear()
	port25.say("EHLO me")
	port25.want("250 ")
	port25.say("STARTTLS")
	port25.want("220")
	port25 = speak(t, tls.Client(port25.c, h.showing(own, &asked25)))
	port25.say("NOOP")
	if port25.want("250"); asked25 {
		t.Error("port 25 asks")
	}

	if _, err := h.Daemon.House().RemoveCertificate(t.Context(), "alice@one.test", made.Number); err != nil {
		t.Fatal(err)
	}
	for _, l := range open {
		l.say("c NOOP")
		l.want("* BYE")
	}
	l, _ = wrong.open(h, with) // its session is resumed, and opens nothing any more
	l.say("%s", wrong.auth)
	l.want("b NO")
	if !strings.Contains(h.log.String(), "no account has registered the certificate") {
		t.Error("the log does not say why")
	}
}
