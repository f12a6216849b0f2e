package submission

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/internal/mail"
)

// TestHand: a message over the API is one of the account like any other: completed, delivered, left in the queue, and refused where a
// mail program would be.
func TestHand(t *testing.T) {
	r := newRig(t)
	id, err := r.desk.o.Directory.Login(t.Context(), auth.Client{Door: auth.DoorSubmission, Remote: netip.MustParseAddr("127.0.0.1")}, "alice@alpha.test", "posthouse")
	if err != nil {
		t.Fatal(err)
	}
	h := Handed{Identity: id, Remote: netip.MustParseAddr("192.0.2.9"), FromHeader: true}
	story, name, err := r.desk.Hand(t.Context(), h, strings.NewReader("To: bob@alpha.test\nBcc: dora@away.test\nSubject: over the API\n\nhi\n"))
	if err != nil || story == "" || !strings.HasPrefix(name, "<") {
		t.Fatalf("%q %q %v", story, name, err)
	}
	got := r.newest(t, "bob")
	for _, want := range []string{"From: ", "alice@alpha.test", "Message-ID: " + name, "Subject: over the API\r\n", "id " + story, "192.0.2.9"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in\n%s", want, got)
		}
	}
	if strings.Contains(got, "Bcc") || strings.Join(r.waiting(t), " ") != "dora@away.test" {
		t.Errorf("%v\n%s", r.waiting(t), got)
	}
	h.From, h.Recipients = address(t, "bob@alpha.test"), []mail.Address{address(t, "bob@alpha.test")}
	_, _, err = r.desk.Hand(t.Context(), h, strings.NewReader("Subject: x\n\n"))
	answers(t, err, 550, gosmtp.EnhancedCode{5, 7, 1}, "may not send as bob@alpha.test")
	h.From = mail.Address{}
	_, _, err = r.desk.Hand(t.Context(), h, strings.NewReader("From: bob@alpha.test\nSubject: x\n\n"))
	answers(t, err, 550, gosmtp.EnhancedCode{5, 7, 1}, "may not send as bob@alpha.test")
	h.Recipients = []mail.Address{address(t, "nobody@alpha.test")}
	_, _, err = r.desk.Hand(t.Context(), h, strings.NewReader("Subject: x\n\n"))
	answers(t, err, 550, gosmtp.EnhancedCode{5, 1, 1}, "")
	h.Recipients, h.At = []mail.Address{address(t, "dora@away.test")}, r.desk.o.Now().Add(time.Hour)
	if _, _, err = r.desk.Hand(t.Context(), h, strings.NewReader("Subject: later\n\n")); err != nil {
		t.Errorf("for later: %v", err)
	}
	if err := r.desk.o.Directory.SetPassword(t.Context(), id.Account, "another one"); err != nil {
		t.Fatal(err)
	}
	_, _, err = r.desk.Hand(t.Context(), h, strings.NewReader("Subject: x\n\n"))
	answers(t, err, 421, gosmtp.EnhancedCode{4, 7, 0}, "log in again")
}
