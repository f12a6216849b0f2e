package housetest

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strings"
	"testing"

	"github.com/posthouse-mail/posthouse/web/admin"
	"github.com/posthouse-mail/posthouse/web/api"
)

func (h *house) data() string { return filepath.Join(h.dir, "data") }

// TestSendmail: programs of the machine hand in mail over the socket; without a house it waits in the spool.
func TestSendmail(t *testing.T) {
	h := newStreet(t).build("[limits]\nmessage_size = \"1MiB\"", "alice@one.test", "bob@one.test")
	c, err := api.Dial(t.Context(), h.data())
	if err != nil {
		t.Fatal(err)
	}
	bob := h.reader("bob@one.test")
	receipt, err := c.Submit(t.Context(), api.Message{From: "alice@one.test", FromHeader: true, User: "root", Name: "Alice"},
		strings.NewReader("To: bob@one.test\nBcc: alice@one.test\nSubject: from cron\n\nIt ran.\n"))
	if err != nil || receipt == "" {
		t.Fatalf("%q, %v", receipt, err)
	}
	text := bob.body(bob.awaits(1, "from cron")[0])
	for _, want := range []string{"From: Alice <alice@one.test>\r\n", "\r\n\r\nIt ran.\r\n", "Message-ID: <", "Date: "} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	if strings.Contains(text, "Bcc") {
		t.Errorf("Bcc is shown:\n%s", text)
	}
	h.reader("alice@one.test").awaits(1, "from cron")

	// A bare name, as cron writes it: nobody's here, so the postmaster reads it.
	if _, err := c.Submit(t.Context(), api.Message{Recipients: []string{"root"}, User: "root"}, strings.NewReader("Subject: for root\n\nx\n")); err != nil {
		t.Error(err)
	}
	h.reader("alice@one.test").awaits(1, "for root")

	large := strings.NewReader("Subject: large\n\n" + strings.Repeat(strings.Repeat("x", 70)+"\n", 2<<20/71))
	if _, err := c.Submit(t.Context(), api.Message{From: "alice@one.test", Recipients: []string{"bob@one.test"}}, large); err == nil {
		t.Error("2 MiB were taken where 1 MiB is the limit")
	}
	var refused *admin.Error
	for _, m := range []api.Message{
		{From: "alice@one.test", Recipients: []string{"nobody@one.test"}},
		{From: "alice@one.test", Recipients: []string{"a b@one.test"}},
		{From: "alice@one.test", FromHeader: true}, // the header names nobody
	} {
		if r, err := c.Submit(t.Context(), m, strings.NewReader("Subject: x\n\nx\n")); !errors.As(err, &refused) || refused.Class == admin.Internal {
			t.Errorf("%v: %q, %v", m, r, err)
		}
	}

	h.stop()
	if _, err := api.Spool(h.data(), api.Message{From: "alice@one.test", Recipients: []string{"bob@one.test"}}, strings.NewReader("Subject: spooled\r\n\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Spool(h.data(), api.Message{From: "alice@one.test", Recipients: []string{"nobody@one.test"}}, strings.NewReader("Subject: refused\r\n\r\nx\r\n")); err != nil {
		t.Fatal(err)
	}
	h.start()
	h.reader("bob@one.test").awaits(1, "spooled")

	// The sender of the one that the house refused hears of it.
	alice := h.reader("alice@one.test")
	text = alice.body(alice.awaits(1, "Not sent")[0])
	for _, want := range []string{
		"From: Mail Delivery System <MAILER-DAEMON@", "report-type=delivery-status", "No such address here: nobody@one.test\r\n",
		"Final-Recipient: rfc822; nobody@one.test\r\nAction: failed\r\n", "\r\nSubject: refused\r\n", "Auto-Submitted: auto-replied\r\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	kept, err := filepath.Glob(filepath.Join(h.data(), "spool", api.FailedName, "*"))
	if err != nil || len(kept) != 1 {
		t.Errorf("kept aside: %v %v", kept, err)
	}
}

// TestTrustedDevice: a printer submits without a password as its own sender, and as nobody else, and never on port 25.
func TestTrustedDevice(t *testing.T) {
	s := newStreet(t)
	h := s.build("[submission]\ntrusted = [{networks = [\"127.0.0.0/8\"], senders = [\"printer@one.test\"]}]", "printer@one.test", "alice@one.test")
	for _, x := range []struct{ service, from, want string }{
		{"submission", "printer@one.test", "250 "},
		{"submission", "alice@one.test", "5"},
	} {
		c := speak(t, h.dial(x.service))
		c.want("220 ")
		c.say("EHLO printer")
		c.want("250 ")
		c.say("MAIL FROM:<%s>", x.from)
		c.want(x.want)
		if x.want != "250 " {
			continue
		}
		c.say("RCPT TO:<alice@one.test>")
		c.want("250 ")
		c.say("DATA")
		c.want("354 ")
		c.say("From: %s\r\nSubject: a scan\r\n\r\nx\r\n.", x.from)
		c.want("250 ")
	}
	h.reader("alice@one.test").awaits(1, "a scan")
}

// TestLMTP takes a message with an answer for each recipient.
func TestLMTP(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "lmtp")
	h := newStreet(t).build(fmt.Sprintf("lmtp = %q", socket), "alice@one.test", "bob@one.test")
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	c := speak(t, conn)
	c.want("220 ")
	c.say("LHLO front.test")
	c.want("250 ")
	c.say("MAIL FROM:<x@elsewhere.test>")
	c.want("250 ")
	for to, want := range map[string]string{"alice@one.test": "250 ", "bob@one.test": "250 ", "nobody@one.test": "550 "} {
		c.say("RCPT TO:<%s>", to)
		c.want(want)
	}
	c.say("DATA")
	c.want("354 ")
	c.say("Subject: by LMTP\r\n\r\nx\r\n.")
	c.want("250 ")
	c.want("250 ")
	c.say("QUIT")
	c.want("221 ")
	h.reader("alice@one.test").awaits(1, "by LMTP")
	h.reader("bob@one.test").awaits(1, "by LMTP")
}

// TestOpenSocket: what every user of the machine may open takes messages and nothing else.
func TestOpenSocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "sendmail.sock")
	h := newStreet(t).build(fmt.Sprintf("[submission]\nsocket = %q", socket), "alice@one.test")
	info, err := os.Stat(socket)
	if err != nil || info.Mode().Perm() != 0o666 {
		t.Fatalf("%v %v", info, err)
	}
	c, err := api.DialMailbox(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Submit(t.Context(), api.Message{From: "alice@one.test", Recipients: []string{"alice@one.test"}, User: "somebody else"}, strings.NewReader("Subject: open\n\nx\n")); err != nil {
		t.Error(err)
	}
	me, err := user.Current()
	if err != nil {
		t.Fatal(err)
	}
	r := h.reader("alice@one.test")
	if text := r.body(r.awaits(1, "open")[0]); strings.Contains(text, "somebody else") || !strings.Contains(text, "Received: from "+me.Username) {
		t.Errorf("the system knows that it was %s:\n%s", me.Username, text)
	}
	if list, err := c.Accounts(t.Context()); err == nil {
		t.Errorf("accounts are shown to everybody: %v", list)
	}
	if err := c.RemoveAccount(t.Context(), "alice@one.test"); err == nil {
		t.Error("everybody may remove accounts")
	}
}
