package submission

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	gosmtp "github.com/emersion/go-smtp"

	"github.com/posthouse-mail/posthouse/auth"
	"github.com/posthouse-mail/posthouse/smtp"
	"github.com/posthouse-mail/posthouse/smtp/queue"
	"github.com/posthouse-mail/posthouse/smtp/scan"
)

// TestHelpers: what our users send is looked at, too, and what a helper does not want is refused; nothing else of it is changed.
func TestHelpers(t *testing.T) {
	for _, c := range []struct {
		name, answer string
		to           string
		code         int
	}{
		{name: "stays", answer: `{"action":"no action","milter":{"remove_headers":{"Subject":0}}}`, to: "bob@alpha.test"},
		{name: "leaves", answer: `{"action":"add header","score":9}`, to: "dora@away.test"},
		{name: "refused", answer: `{"action":"reject","messages":{"smtp_message":"virus"}}`, to: "bob@alpha.test", code: 550},
		{name: "refused on its way out", answer: `{"action":"reject"}`, to: "dora@away.test", code: 550},
		{name: "set aside", answer: `{"action":"quarantine"}`, to: "bob@alpha.test", code: 550},
		{name: "later", answer: `{"action":"soft reject"}`, to: "bob@alpha.test", code: 451},
	} {
		t.Run(c.name, func(t *testing.T) {
			var saw, user string
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				text, _ := io.ReadAll(r.Body)
				saw, user = string(text), r.Header.Get("User")
				io.WriteString(w, c.answer)
			}))
			defer srv.Close()
			panel, err := scan.New(scan.Options{Helpers: []scan.Helper{{Kind: scan.Rspamd, On: []scan.Way{scan.Submission}, Address: srv.Listener.Addr().String()}}})
			if err != nil {
				t.Fatal(err)
			}
			defer panel.Close()
			r := newRig(t)
			r.desk.o.Scan = panel
			id, err := r.desk.o.Directory.Login(t.Context(), auth.Client{Door: auth.DoorSubmission, Remote: netip.MustParseAddr("127.0.0.1")}, "alice@alpha.test", "posthouse")
			if err != nil {
				t.Fatal(err)
			}
			s := r.desk.Session(t.Context(), smtp.Peer{Hello: "c", Extended: true}, id)
			if err := errors.Join(s.Mail("alice@alpha.test", nil), s.Rcpt(c.to, nil)); err != nil {
				t.Fatal(err)
			}
			const body = "Größe, 8 bit\r\n"
			err = s.Data(strings.NewReader("From: alice@alpha.test\r\nBcc: carol@beta.test\r\nSubject: hello\r\n\r\n" + body))
			head, rest, _ := strings.Cut(saw, "\r\n\r\n")
			if !strings.HasPrefix(head, "Received: ") || !strings.HasSuffix(head, "\r\nSubject: hello") || strings.Contains(head, "Bcc") || rest != body || user != "alice@alpha.test" {
				t.Errorf("it saw %q of %q", saw, user)
			}
			if c.code != 0 {
				if said, ok := errors.AsType[*gosmtp.SMTPError](err); !ok || said.Code != c.code {
					t.Errorf("answered %v, want %d", err, c.code)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if c.to == "bob@alpha.test" {
				if text := r.newest(t, "bob"); !strings.Contains(text, "\r\nSubject: hello\r\n\r\n"+body) {
					t.Errorf("bob has %q", text)
				}
				return
			}
			if items, err := r.queue.List(t.Context(), queue.Filter{}); err != nil || len(items) != 1 {
				t.Errorf("%d leave, %v", len(items), err)
			}
		})
	}
}
